import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { OverlaySnapshotter } from "./overlay.ts";
import { layerOf } from "./snapshotter.suite.ts";

const POINTS = ["snapshots.rename.begun", "snapshots.rename.durable", "snapshots.rename.child"];

it("loses no snapshot to a crash while its parents get other names", { timeout: 60_000 }, async () => {
  for (const point of POINTS) {
    const root = mkdtempSync(join(tmpdir(), "gantry-rename-"));
    try {
      const snapshots = new OverlaySnapshotter({ root });
      await snapshots.apply("base", undefined, layerOf(["a"]));
      await snapshots.apply("top", "base", layerOf(["b"]));
      await snapshots.apply("other", "base", layerOf(["c"]));
      await snapshots.prepare("key", "top");
      const script = fileURLToPath(new URL("rename.fixture.ts", import.meta.url));
      const end = spawnSync(process.execPath, [script, root], {
        env: { ...process.env, GANTRY_FAILPOINTS: `${point}=kill` },
        timeout: 20_000,
      });
      assert.equal(end.signal, "SIGKILL", `${point}: ${end.stderr}`);
      // Twice: what the first start has put right is on the disk.
      for (let start = 0; start < 2; start++) {
        const after = new OverlaySnapshotter({ root });
        await after.recover(new Set(["key"]));
        const named = (one: string) => (after.has(one) ? one : `new-${one}`);
        assert.equal(after.list().length, 4, point);
        assert.equal(after.info("key")?.parent, named("top"), point);
        assert.equal(after.info(named("top"))?.parent, named("base"), point);
        assert.equal(after.info("other")?.parent, named("base"), point);
        assert.equal(after.describe("key").LowerDir?.split(":").length, 2);
      }
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  }
});
