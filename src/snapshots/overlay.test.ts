import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { OverlaySnapshotter } from "./overlay.ts";
import { snapshotterSuite } from "./snapshotter.suite.ts";

snapshotterSuite("overlay2", (root) => new OverlaySnapshotter({ root }));

test("a folder that is in the upper layer, but as it was, is no change unless something in it is", async () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-overlay-"));
  const target = join(root, "target");
  mkdirSync(target);
  const snapshots = new OverlaySnapshotter({ root: join(root, "snapshots") });
  try {
    await snapshots.prepare("base", undefined, { bare: true });
    const { UpperDir } = snapshots.describe("base");
    mkdirSync(join(UpperDir!, "run/lock/deep"), { recursive: true });
    for (const path of ["run/lock", "run"]) utimesSync(join(UpperDir!, path), 0, 0);
    await snapshots.commit("layer", "base");
    await snapshots.prepare("key", "layer");
    await snapshots.mount("key", target);
    for (const path of ["run/lock", "run"]) {
      mkdirSync(join(target, path, "stub"));
      rmdirSync(join(target, path, "stub"));
      assert.notEqual(await tarNames(snapshots, "key"), "");
      utimesSync(join(target, path), 0, 0);
    }
    assert.equal(await tarNames(snapshots, "key"), "");
    writeFileSync(join(target, "run/lock/deep/file"), "");
    assert.match(await tarNames(snapshots, "key"), /^run\/ run\/lock\/ run\/lock\/deep\/ run\/lock\/deep\/file$/);
  } finally {
    await snapshots.unmount(target);
    rmSync(root, { recursive: true });
  }
});

async function tarNames(snapshots: OverlaySnapshotter, key: string): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of snapshots.diff(key)) parts.push(part);
  const tar = Buffer.concat(parts);
  const names: string[] = [];
  for (let at = 0; at < tar.length && tar[at] !== 0; at += 512) {
    const name = tar.toString("latin1", at, tar.indexOf(0, at));
    if (/^[a-z/]+$/.test(name)) names.push(name);
  }
  return names.join(" ");
}
