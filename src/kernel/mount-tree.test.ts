import assert from "node:assert/strict";
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, before, beforeEach, test } from "node:test";
import { bindMount, listMounts, MNT, unmount } from "./mount.ts";
import { attachMount, copyMount } from "./mount-tree.ts";
import { unshareMounts } from "./namespace.ts";
import { fstatat, O_PATH, openInRoot } from "./path.ts";

let folder = "";
before(() => unshareMounts());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mount-tree-test-"));
  for (const name of ["root/inner", "other", "site"]) mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, "other/file"), "found");
});
afterEach(() => {
  for (const { target } of listMounts(folder).reverse()) unmount(target, MNT.DETACH);
  rmSync(folder, { recursive: true });
});

test("a copied tree shows what was attached to it, nowhere else, until it is closed", () => {
  bindMount(join(folder, "root"), join(folder, "root"));
  const root = copyMount(join(folder, "root"), { recursive: false });
  const site = openSync(join(folder, "site"), O_PATH | constants.O_DIRECTORY);
  attachMount(root, site);
  const other = copyMount(join(folder, "other"), { recursive: true });
  const inner = openInRoot(root, "/inner", O_PATH);
  attachMount(other, inner);
  const tree = copyMount(root, { recursive: true });
  for (const fd of [root, site, other, inner]) closeSync(fd);
  unmount(join(folder, "site"), MNT.DETACH);

  assert.deepEqual(readdirSync(join(folder, "site")), []);
  assert.deepEqual(readdirSync(join(folder, "root/inner")), []);
  const file = openInRoot(tree, "inner/../inner/file", constants.O_RDONLY);
  assert.equal(readFileSync(file, "utf8"), "found");
  assert.equal(fstatat(tree, "inner").isMountRoot, true);
  closeSync(file);
  closeSync(tree);
  assert.equal(listMounts(folder).length, 1);
});

test("what is not there can't be copied", () => {
  assert.throws(() => copyMount(join(folder, "absent"), { recursive: false }), /ENOENT/);
});
