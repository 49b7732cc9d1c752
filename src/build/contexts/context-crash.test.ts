import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ContextStore } from "./context-store.ts";
import { FakeSession, folderRoots } from "./fake-session.fixture.ts";

const FIXTURE = fileURLToPath(new URL("crash.fixture.ts", import.meta.url));
const POINTS = ["opened", "removed", "placed", "written"].map((name) => `build.contexts.${name}`);
const REQUEST = { name: "context", include: [], exclude: [], followPaths: [] };

function contents(folder: string): Record<string, string> {
  const names = (readdirSync(folder, { recursive: true }) as string[]).sort();
  return Object.fromEntries(
    names.map((name) => [name, lstatSync(join(folder, name)).isFile() ? readFileSync(join(folder, name), "utf8") : ""]),
  );
}

for (const point of POINTS) {
  test(`an engine that dies at ${point} leaves a folder that is whole, or nothing of it`, async () => {
    const root = mkdtempSync(join(tmpdir(), "gantry-context-crash-"));
    try {
      const [folder, kept] = [join(root, "client"), join(root, "contexts")];
      mkdirSync(join(folder, "gone"), { recursive: true });
      for (const name of ["same", "changed", "gone/x"]) writeFileSync(join(folder, name), "old");
      const run = (failpoints: string) =>
        spawnSync(process.execPath, [FIXTURE, kept, folder], {
          env: { ...process.env, GANTRY_FAILPOINTS: failpoints },
        });
      assert.equal(run("").status, 0);
      const before = contents(folder);
      writeFileSync(join(folder, "changed"), "new and longer");
      writeFileSync(join(folder, "added"), "added");
      rmSync(join(folder, "gone"), { recursive: true });
      assert.equal(run(`${point}=kill`).signal, "SIGKILL");

      const store = new ContextStore({ root: kept, roots: folderRoots(), boot: "boot" });
      await store.recover();
      const entries = readdirSync(kept);
      const states = entries.flatMap((id) =>
        readdirSync(join(kept, id)).flatMap((name) => (name === "entry.json" ? [] : [join(kept, id, name)])),
      );
      for (const state of states) {
        assert.deepEqual(readdirSync(state).sort(), ["index", "tree"]);
        const found = contents(join(state, "tree"));
        assert.ok([before, contents(folder)].some((one) => JSON.stringify(one) === JSON.stringify(found)));
      }
      const session = new FakeSession({ context: folder });
      await using synced = await store.sync(session, REQUEST, new AbortController().signal);
      assert.deepEqual(contents(synced.folder ?? ""), contents(folder));
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
}
