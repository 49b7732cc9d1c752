import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Worker } from "node:worker_threads";
import { fstatat } from "../kernel/path.ts";
import { archiveMembers } from "./pack-tree.ts";

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "gantry-pack-tree-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "nodev", "tmpfs", folder]);
});
after(() => {
  execFileSync("umount", [folder]);
  rmSync(folder, { recursive: true, force: true });
});

test("a file that is a device now and then is packed when it is a file, and else left out", async () => {
  writeFileSync(join(folder, "file"), "text");
  // Of a driver that there is: opening it is refused by the mount alone.
  execFileSync("mknod", [join(folder, "other"), "c", "1", "5"]);
  const dir = openSync(folder, "r");
  const swap = `
    const { workerData } = require("node:worker_threads");
    import(workerData.at).then(({ exchangeat }) => {
      for (;;) exchangeat(workerData.dir, "file", workerData.dir, "other");
    });`;
  const at = new URL("../kernel/at.ts", import.meta.url).href;
  const swapping = new Worker(swap, { eval: true, workerData: { dir, at } });
  const seen = new Set<string>();
  try {
    for (let round = 0; round < 20_000 && (round < 4_000 || seen.size < 2); round++) {
      for await (const { entry } of archiveMembers({ dir, base: ".", stat: fstatat(dir, ".") }, { name: "" })) {
        if (entry.type !== "directory") seen.add(entry.type);
      }
    }
  } finally {
    await swapping.terminate();
    closeSync(dir);
  }
  assert.deepEqual([...seen].sort(), ["character", "file"]);
});
