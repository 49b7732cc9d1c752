import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gather } from "../../images/image-store.fixture.ts";
import { openSqlite } from "../../state/sqlite.ts";
import { openResults, outputOf } from "./results.fixture.ts";

const SCRIPT = fileURLToPath(new URL("crash.fixture.ts", import.meta.url));
const YOUNG = { type: "file", mtime: { seconds: 100, nanoseconds: 0 } } as const;
const POINTS = [
  "content.synced",
  "images.assemble.packed",
  "snapshots.apply.extracted",
  "images.assemble.renamed",
  "snapshots.rename.durable",
  "images.assemble.named",
  "images.assemble.stored",
  "images.assemble.added",
  "images.index.stored",
  "images.remove.recorded",
];

test("leaves an image whole or not at all when it is killed, and nothing else", { timeout: 120_000 }, async (t) => {
  for (const point of POINTS) {
    const root = mkdtempSync(join(tmpdir(), "gantry-crash-"));
    t.after(() => rmSync(root, { recursive: true, force: true }));
    const names = await openResults({ after: () => {} }, { root }).steps({ a: YOUNG }, { b: YOUNG });
    const end = spawnSync(process.execPath, [SCRIPT, root, ...names], {
      env: { ...process.env, GANTRY_FAILPOINTS: `${point}=kill` },
      timeout: 30_000,
    });
    assert.equal(end.signal, "SIGKILL", `${point}: ${end.stderr}`);
    const store = openSqlite(join(root, "state.db"));
    const kept = new Set(names);
    const after = openResults(t, { root, store, keep: () => kept });
    after.content.recover();
    await after.snapshots.recover(new Set());
    await after.images.recover();
    const images = await after.images.list({ all: true });
    const all = after.snapshots.list();
    const needed = new Set([...after.images.chains(), ...kept, ...all.map(({ parent }) => parent)]);
    for (const { id } of all) assert.ok(needed.has(id), `${point}: ${id} is nobody's`);
    for (const { Id } of images) {
      // Its archive holds every blob, each verified, and its snapshots are there to the bottom.
      assert.ok((await gather(after.images.save([Id]))).length > 0);
      assert.ok(after.snapshots.isIntact(after.images.resolve(Id).chainId!), point);
    }
    // Of an index on its way to be or to go there is nothing, but for what the images before it have.
    if (point.startsWith("images.index") || point.startsWith("images.remove")) {
      assert.equal(after.images.count(), 2, point);
      assert.equal(
        images.find(({ RepoTags }) => RepoTags.includes("both:latest")),
        undefined,
        point,
      );
      const needed = images.flatMap(({ Id }) => [
        Id,
        ...(after.images.base(Id)?.layers ?? []).map(({ blob }) => blob.digest),
      ]);
      assert.equal((await after.content.list()).length, new Set(needed).size + images.length, point);
    }
    if (images.length === 0) assert.deepEqual(await after.content.list(), [], point);
    const again = await after.steps({ a: "1" });
    const { imageId } = await after.export([after.target(again)], [outputOf("image", { name: "made" })]);
    assert.equal(after.images.resolve("made").id, imageId);
    store.close();
  }
});
