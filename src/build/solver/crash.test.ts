import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { listMounts, MNT, unmount } from "../../kernel/mount.ts";
import { openSqlite } from "../../state/sqlite.ts";
import { GraphMaker, TestSolver } from "./solver.fixture.ts";

const FIXTURE = fileURLToPath(new URL("./crash.fixture.ts", import.meta.url));

/** Each place between two steps of making, keeping and naming a result, and what is whole by then. */
const POINTS: readonly (readonly [point: string, whole: number])[] = [
  ["build.step.prepared", 0],
  ["build.step.mounted", 0],
  ["build.step.unmounted", 0],
  ["snapshots.commit.renamed", 0],
  ["build.step.committed", 0],
  ["build.cache.add", 0],
  ["build.cache.added", 1],
  ["build.cache.synced", 2],
  ["build.cache.settled", 2],
  ["build.cache.renaming", 2],
  ["snapshots.rename.begun", 2],
  ["build.cache.renamed", 2],
];

describe("a crash while a build runs", () => {
  for (const [point, whole] of POINTS) {
    it(`at ${point} leaves nothing, and the next build goes on from ${whole} whole steps`, async () => {
      const root = mkdtempSync(join(tmpdir(), "gantry-solver-"));
      try {
        const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", FIXTURE, root], {
          env: { ...process.env, GANTRY_FAILPOINTS: `${point}=kill` },
          stdio: ["ignore", "ignore", "inherit"],
        });
        const [, signal] = await once(child, "exit");
        assert.equal(signal, "SIGKILL");
        assert.equal(existsSync(join(root, "done")), false);

        const store = openSqlite(join(root, "gantry.db"));
        const test = new TestSolver(8, root, store);
        assert.deepEqual(listMounts(root), []);
        assert.deepEqual(readdirSync(join(root, "places")), []);
        await test.snapshots.recover(new Set());
        assert.equal(test.cache.count, whole);
        const needed = new Set(test.cache.snapshots());
        for (const { id } of test.snapshots.list().toReversed()) {
          // As the images' store collects what nobody keeps.
          if (!needed.has(id)) await test.snapshots.remove(id);
        }
        const maker = new GraphMaker();
        let last = maker.image("sha256:base");
        for (const name of ["one", "two"]) last = maker.run(last, name);
        const solved = await test.solve(maker.graph());
        assert.deepEqual(solved.files, ["one", "two"]);
        assert.deepEqual(test.ran, ["one", "two"].slice(whole));
        assert.deepEqual(
          test.snapshots.list().map(({ kind }) => kind),
          ["committed", "committed"],
        );
        await test.cache.settle();
        store.close();
      } finally {
        for (const { target } of listMounts(root).toReversed()) unmount(target, MNT.DETACH | MNT.NOFOLLOW);
        rmSync(root, { recursive: true, force: true });
      }
    });
  }
});
