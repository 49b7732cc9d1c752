import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { OverlaySnapshotter } from "./overlay.ts";
import { layerOf } from "./snapshotter.suite.ts";

const env = { PATH: "/usr/sbin:/sbin:/usr/bin:/bin" };
const skip = spawnSync("mkfs.ext4", ["-V"], { env }).status !== 0 && "mkfs.ext4 is not installed";
const TEXT = "a step's text\n".repeat(10_000);

it("what has got another name is whole after a power loss, with all below it", { skip, timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-power-"));
  const disk = join(folder, "disk");
  const before = join(folder, "before");
  const after = join(folder, "after");
  const target = join(folder, "target");
  try {
    for (const path of [before, after, target]) mkdirSync(path);
    execFileSync("truncate", ["-s", "64M", disk]);
    execFileSync("mkfs.ext4", ["-q", "-F", disk], { env });
    execFileSync("mount", ["-o", "loop", disk, before]);
    const root = join(before, "snapshots");
    const snapshots = new OverlaySnapshotter({ root });
    await snapshots.apply("base", undefined, layerOf(["a"]));
    const step = async (name: string, parent: string) => {
      await snapshots.prepare("key", parent);
      await snapshots.mount("key", target, { volatile: true });
      writeFileSync(join(target, name), TEXT);
      await snapshots.unmount(target);
      await snapshots.commit(name, "key", { durable: false });
    };
    await step("below", "base");
    await step("top", "below");
    await snapshots.rename("top", "named");
    // What has come to the disk by now is all that a power loss leaves.
    execFileSync("cp", ["--sparse=always", disk, `${disk}.after`]);
    execFileSync("mount", ["-o", "loop", `${disk}.after`, after]);
    const left = new OverlaySnapshotter({ root: join(after, "snapshots") });
    await left.recover(new Set());
    await left.mount("named", target);
    try {
      for (const name of ["below", "top"]) assert.equal(readFileSync(join(target, name), "utf8"), TEXT, name);
    } finally {
      await left.unmount(target);
    }
  } finally {
    for (const path of [target, before, after]) spawnSync("umount", ["-q", path]);
    rmSync(folder, { recursive: true, force: true });
  }
});
