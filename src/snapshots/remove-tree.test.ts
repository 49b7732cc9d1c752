import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { hasCode } from "../base/errors.ts";
import { bindMount, unmount } from "../kernel/mount.ts";
import { removeTree, removeTreeSync } from "./remove-tree.ts";

test("two that remove one tree at once both succeed", async () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-remove-"));
  const dir = openSync(root, "r");
  try {
    for (let folder = 0; folder < 400; folder++) {
      const path = join(root, "tree", String(folder), "fs");
      mkdirSync(path, { recursive: true });
      for (let file = 0; file < 20; file++) writeFileSync(join(path, String(file)), "x");
    }
    await Promise.all([removeTree(dir, "tree"), removeTree(dir, "tree")]);
    assert.equal(existsSync(join(root, "tree")), false);
  } finally {
    closeSync(dir);
    rmSync(root, { recursive: true, force: true });
  }
});

test("large files are freed when their removal has ended, and nothing of them stays open", async () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-remove-"));
  const dir = openSync(root, "r");
  const openFiles = () => readdirSync("/proc/self/fd").map((fd) => linkOf(`/proc/self/fd/${fd}`));
  try {
    mkdirSync(join(root, "tree/folder"), { recursive: true });
    for (const name of ["tree/one", "tree/folder/two", "alone"])
      writeFileSync(join(root, name), Buffer.alloc(20 << 20));
    linkSync(join(root, "tree/one"), join(root, "elsewhere"));
    await removeTree(dir, "tree");
    await removeTree(dir, "alone");
    assert.deepEqual(readdirSync(root), ["elsewhere"]);
    assert.deepEqual(
      openFiles().filter((path) => path.startsWith(`${root}/`)),
      [],
    );
    writeFileSync(join(root, "tree"), Buffer.alloc(20 << 20));
    removeTreeSync(dir, "tree");
    assert.deepEqual(
      openFiles().filter((path) => path.startsWith(`${root}/`)),
      [],
    );
  } finally {
    closeSync(dir);
    rmSync(root, { recursive: true, force: true });
  }
});

test("what chattr keeps from being changed is removed all the same", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "gantry-remove-"));
  const dir = openSync(root, "r");
  const kept = ["tree/file", "tree/folder", "tree/log", "tree"].map((name) => join(root, name));
  t.after(() => {
    closeSync(dir);
    for (const path of kept) if (existsSync(path)) execFileSync("chattr", ["-ia", path]);
    rmSync(root, { recursive: true, force: true });
  });
  mkdirSync(join(root, "tree/folder"), { recursive: true });
  for (const name of ["file", "log", "folder/inner"]) writeFileSync(join(root, "tree", name), "x");
  try {
    execFileSync("chattr", ["+i", kept[0]!, kept[1]!], { stdio: "pipe" });
    execFileSync("chattr", ["+a", kept[2]!, kept[3]!], { stdio: "pipe" });
  } catch (error) {
    return t.skip(String(error));
  }
  await removeTree(dir, "tree");
  assert.equal(existsSync(join(root, "tree")), false);
});

test("nothing below a mount is removed", async () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-remove-"));
  const dir = openSync(root, "r");
  const [inner, other] = [join(root, "tree/inner"), join(root, "other")];
  mkdirSync(inner, { recursive: true });
  mkdirSync(other);
  writeFileSync(join(other, "file"), "somebody's");
  bindMount(other, inner);
  try {
    await assert.rejects(removeTree(dir, "tree"), (error) => hasCode(error, "EXDEV"));
    assert.equal(readFileSync(join(other, "file"), "utf8"), "somebody's");
  } finally {
    unmount(inner);
    closeSync(dir);
    rmSync(root, { recursive: true, force: true });
  }
});

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
