import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, it } from "node:test";
import { isKind, messageOf } from "../base/errors.ts";
import { sha256Of } from "../oci/digest.ts";
import { ContentStore } from "./content-store.ts";

const hello = Buffer.from("hello");
const helloDigest = sha256Of(hello);

describe("the content store", () => {
  let root: string;
  let store: ContentStore;
  const left = (): string[] => readdirSync(join(root, "ingest"));
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "gantry-content-"));
    store = new ContentStore({ root });
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it("keeps blobs in the OCI image layout", async () => {
    assert.deepEqual(await store.writeBytes(hello), { digest: helloDigest, size: 5 });
    assert.deepEqual(readFileSync(join(root, "blobs/sha256", helloDigest.slice(7))), hello);
    assert.deepEqual(JSON.parse(readFileSync(join(root, "oci-layout"), "utf8")), { imageLayoutVersion: "1.0.0" });
    assert.equal(store.has(helloDigest), true);
    assert.equal(store.size(helloDigest), 5);
    assert.deepEqual(await buffer(store.open(helloDigest, { verify: true })), hello);
    assert.deepEqual(await store.readBlob(helloDigest, 5), hello);
    assert.deepEqual(await store.list(), [{ digest: helloDigest, size: 5 }]);
    assert.deepEqual(left(), []);
    await store.delete(helloDigest);
    assert.equal(store.has(helloDigest), false);
    assert.throws(
      () => store.open(helloDigest),
      (error) => isKind(error, "not-found"),
    );
  });

  it("moves large blobs in batches and reports how far it is", async () => {
    const bytes = randomBytes(5_000_000);
    const seen: number[] = [];
    const chunks = Array.from({ length: 50 }, (_, at) => bytes.subarray(at * 100_000, (at + 1) * 100_000));
    const blob = await store.write(Readable.from(chunks), {
      digest: sha256Of(bytes),
      size: bytes.length,
      onProgress: (n) => seen.push(n),
    });
    assert.equal(seen.at(-1), bytes.length);
    assert.ok(seen.length < 10);
    assert.deepEqual(await buffer(store.open(blob.digest)), bytes);
  });

  it("refuses bytes that are not those promised, and keeps nothing of them", async () => {
    for (const [options, message] of [
      [{ digest: sha256Of("other") }, `filesystem layer verification failed for digest ${sha256Of("other")}`],
      [
        { digest: sha256Of("other"), role: "config" },
        `image config verification failed for digest ${sha256Of("other")}`,
      ],
      [{ size: 4 }, "unexpected commit size 5, expected 4"],
      [{ size: 6 }, "unexpected commit size 5, expected 6"],
    ] as const)
      await assert.rejects(
        store.writeBytes(hello, options),
        (error) => isKind(error, "invalid") && messageOf(error) === message,
      );
    assert.deepEqual([left(), await store.list()], [[], []]);
  });

  it("writes once however many ask, and lets the next one try when the first fails", async () => {
    let reads = 0;
    const source = (fails: boolean) =>
      (async function* () {
        reads++;
        yield hello.subarray(0, 2);
        await new Promise(setImmediate);
        if (fails) throw new Error("line went dead");
        yield hello.subarray(2);
      })();
    const all = await Promise.allSettled([
      store.write(source(true), { digest: helloDigest }),
      store.write(source(false), { digest: helloDigest }),
      store.write(source(false), { digest: helloDigest }),
    ]);
    assert.deepEqual(
      all.map((one) => one.status),
      ["rejected", "fulfilled", "fulfilled"],
    );
    assert.equal(reads, 2);
    assert.deepEqual(left(), []);
  });

  it("ends promptly on an abort: while it reads, and while it waits for another writer", async () => {
    const stuck = new Readable({ read() {} });
    stuck.push(hello.subarray(0, 2));
    const [first, second] = [new AbortController(), new AbortController()];
    const writing = store.write(stuck, { digest: helloDigest, signal: first.signal });
    const waiting = store.write(Readable.from([hello]), { digest: helloDigest, signal: second.signal });
    second.abort();
    await assert.rejects(waiting, (error) => isKind(error, "cancelled"));
    first.abort();
    await assert.rejects(writing, (error) => isKind(error, "cancelled"));
    assert.equal(stuck.destroyed, true);
    assert.deepEqual(left(), []);
    assert.deepEqual(await store.writeBytes(hello, { digest: helloDigest }), { digest: helloDigest, size: 5 });
  });

  it("notices a blob that the disk has changed", async () => {
    await store.writeBytes(hello);
    writeFileSync(join(root, "blobs/sha256", helloDigest.slice(7)), "hullo");
    await assert.rejects(store.readBlob(helloDigest, 100), (error) => isKind(error, "invalid"));
    await assert.rejects(buffer(store.open(helloDigest, { verify: true })), (error) => isKind(error, "invalid"));
    await assert.rejects(store.readBlob(helloDigest, 4), /longer than 4 bytes/);
  });

  it("collects what nothing refers to, but nothing that came after the mark", async () => {
    const kept = await store.writeBytes(Buffer.from("kept"));
    const gone = await store.writeBytes(Buffer.from("gone"));
    assert.deepEqual(await store.collect(new Set([kept.digest]), { writtenBefore: Date.now() - 60_000 }), {
      deleted: [],
      bytes: 0,
    });
    assert.deepEqual(await store.collect(new Set([kept.digest])), { deleted: [gone.digest], bytes: 4 });
    assert.equal(store.has(kept.digest), true);
  });

  it("leaves nothing visible when it dies before the rename, and recover empties the ingest folder", async () => {
    const code = `import { ContentStore } from ${JSON.stringify(join(import.meta.dirname, "content-store.ts"))};
      await new ContentStore({ root: ${JSON.stringify(root)} }).writeBytes(Buffer.from("hello"));`;
    const { signal } = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
      env: { ...process.env, GANTRY_FAILPOINTS: "content.synced=kill" },
    });
    assert.equal(signal, "SIGKILL");
    assert.equal(left().length, 1);
    store.recover();
    assert.deepEqual([left(), await store.list()], [[], []]);
  });

  it("says so when the disk is full, and leaves nothing", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", root]);
    try {
      const small = new ContentStore({ root });
      await assert.rejects(small.writeBytes(randomBytes(3_000_000)), /no space left on device/);
      assert.deepEqual(left(), []);
      await small.writeBytes(hello);
    } finally {
      execFileSync("umount", [root]);
    }
  });
});
