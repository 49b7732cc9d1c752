import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { GantryError } from "../base/errors.ts";
import { mknodat } from "../kernel/path.ts";
import { getXattr, setXattr } from "../kernel/xattr.ts";
import { type CopyTreeOptions, copyTree } from "./copy-tree.ts";

function scratch(t: TestContext): { readonly from: string; readonly to: string } {
  const root = mkdtempSync(join(tmpdir(), "gantry-copy-tree-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, "from"));
  mkdirSync(join(root, "to"));
  return { from: join(root, "from"), to: join(root, "to") };
}

async function copy(from: string, to: string, options?: CopyTreeOptions) {
  const [source, target] = [from, to].map((path) => openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)) as [
    number,
    number,
  ];
  try {
    return await copyTree(source, target, options);
  } finally {
    closeSync(source);
    closeSync(target);
  }
}

test("keeps owners, modes, times, attributes, links, devices and holes", async (t) => {
  const { from, to } = scratch(t);
  mkdirSync(join(from, "in/deep"), { recursive: true });
  writeFileSync(join(from, "in/deep/file"), "content");
  setXattr(join(from, "in/deep/file"), "user.note", Buffer.from("kept"));
  setXattr(join(from, "in"), "trusted.note", Buffer.from("also"));
  chownSync(join(from, "in/deep/file"), 1234, 5678);
  chmodSync(join(from, "in/deep/file"), 0o4751);
  utimesSync(join(from, "in/deep/file"), 1_000_000.25, 2_000_000.5);
  linkSync(join(from, "in/deep/file"), join(from, "zzz"));
  symlinkSync("/etc/passwd", join(from, "in/link"));
  lutimesSync(join(from, "in/link"), 5, 6);
  const dir = openSync(from, "r");
  mknodat(dir, "null", constants.S_IFCHR | 0o600, 1, 3);
  mknodat(dir, "fifo", constants.S_IFIFO | 0o600);
  closeSync(dir);
  chmodSync(join(from, "null"), 0o622);
  const sparse = openSync(join(from, "sparse"), "w");
  writeSync(sparse, "end", 64 << 20);
  ftruncateSync(sparse, 100 << 20);
  closeSync(sparse);
  chownSync(from, 7, 8);
  chmodSync(from, 0o1770);
  chmodSync(join(from, "in"), 0o2755);
  utimesSync(join(from, "in"), 10, 20);

  const { bytes, files } = await copy(from, to);
  assert.deepEqual([bytes, files], [(100 << 20) + "content".length, 6]);
  const shown = (path: string) => {
    const { mode, uid, gid, mtimeMs, nlink, rdev, size } = lstatSync(path);
    return { mode, uid, gid, mtimeMs, nlink, rdev, size };
  };
  for (const path of [".", "in", "in/deep", "in/deep/file", "zzz", "in/link", "null", "fifo", "sparse"]) {
    if (path !== ".") assert.deepEqual(shown(join(to, path)), shown(join(from, path)), path);
    else assert.deepEqual([lstatSync(to).mode, lstatSync(to).uid], [lstatSync(from).mode, lstatSync(from).uid]);
  }
  assert.equal(lstatSync(join(to, "in/deep/file")).ino, lstatSync(join(to, "zzz")).ino);
  assert.equal(lstatSync(join(to, "in/deep/file")).atimeMs, 1_000_000_250);
  assert.equal(readlinkSync(join(to, "in/link")), "/etc/passwd");
  assert.equal(getXattr(join(to, "in/deep/file"), "user.note")?.toString(), "kept");
  assert.equal(getXattr(join(to, "in"), "trusted.note")?.toString(), "also");
  assert.ok(statSync(join(to, "sparse")).blocks < 1024, "the holes were filled");
  execFileSync("cmp", [join(from, "sparse"), join(to, "sparse")]);
});

test("a name that is no UTF-8 is copied as any other", async (t) => {
  const { from, to } = scratch(t);
  const name = Buffer.from([0xff, 0xfe]);
  writeFileSync(Buffer.concat([Buffer.from(`${from}/`), name]), "12345");
  await copy(from, to);
  assert.equal(readFileSync(Buffer.concat([Buffer.from(`${to}/`), name]), "utf8"), "12345");
});

test("a folder that becomes a link while it is copied is not followed", async (t) => {
  const { from, to } = scratch(t);
  const outside = mkdtempSync(join(tmpdir(), "gantry-outside-"));
  t.after(() => rmSync(outside, { recursive: true, force: true }));
  writeFileSync(join(outside, "secret"), "not to be seen");
  mkdirSync(join(from, "swapped"));
  writeFileSync(join(from, "swapped/secret"), "own");
  let isOver = false;
  // Somebody who swaps the folder for a link without end, in every turn that the copy gives away.
  const swapping = (async () => {
    for (let round = 0; !isOver; round++) {
      rmSync(join(from, "swapped"), { recursive: true, force: true });
      if (round % 2 === 0) symlinkSync(outside, join(from, "swapped"));
      else {
        mkdirSync(join(from, "swapped"));
        writeFileSync(join(from, "swapped/secret"), "own");
      }
      await turn();
    }
  })();
  try {
    for (let round = 0; round < 200; round++) {
      const target = join(to, String(round));
      mkdirSync(target);
      await copy(from, target);
      const copied = join(target, "swapped");
      if (lstatSync(copied, { throwIfNoEntry: false })?.isDirectory() && existsSync(join(copied, "secret"))) {
        assert.equal(readFileSync(join(copied, "secret"), "utf8"), "own");
      }
    }
  } finally {
    isOver = true;
    await swapping;
  }
});

test("folders that are nested without end are refused in one sentence", async (t) => {
  const { from, to } = scratch(t);
  const back = process.cwd();
  t.after(() => process.chdir(back));
  process.chdir(from);
  for (let depth = 0; depth < 1001; depth++) {
    mkdirSync("d");
    process.chdir("d");
  }
  process.chdir(back);
  await assert.rejects(copy(from, to), { message: "cannot copy: its folders are nested deeper than 1000" });
});

test("an abort ends the copy, and the event loop has its turns", async (t) => {
  const { from, to } = scratch(t);
  for (let n = 0; n < 2000; n++) writeFileSync(join(from, `file-${n}`), "x");
  const stop = new AbortController();
  setImmediate(() => stop.abort());
  await assert.rejects(copy(from, to, { signal: stop.signal }), (error) => (error as GantryError).kind === "cancelled");
});

const MKFS = ["mkfs.xfs", "mkfs.btrfs"]
  .flatMap((name) => [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"].map((dir) => join(dir, name)))
  .find((path) => existsSync(path));

test("shares the blocks where the file system can", {
  skip: MKFS === undefined && "neither mkfs.xfs nor mkfs.btrfs is installed",
}, async (t) => {
  const root = mkdtempSync(join(tmpdir(), "gantry-reflink-"));
  const undo = new DisposableStack();
  t.after(() => undo.dispose());
  undo.defer(() => rmSync(root, { recursive: true, force: true }));
  const disk = join(root, "disk");
  const point = join(root, "mounted");
  writeFileSync(disk, "");
  execFileSync("truncate", ["-s", "400M", disk]);
  execFileSync(MKFS ?? "", ["-q", disk]);
  mkdirSync(point);
  execFileSync("mount", ["-o", "loop", disk, point]);
  undo.defer(() => execFileSync("umount", [point]));
  const [from, to] = [join(point, "from"), join(point, "to")];
  mkdirSync(from);
  mkdirSync(to);
  // More than half of what the disk holds: only one who shares can copy it.
  for (let n = 0; n < 4; n++) writeFileSync(join(from, `large-${n}`), Buffer.alloc(50 << 20, n + 1));
  assert.deepEqual(await copy(from, to), { bytes: 200 << 20, files: 4, shared: true });
  writeFileSync(join(from, "large-0"), "changed");
  assert.equal(readFileSync(join(to, "large-0"))[1000], 1);
});
