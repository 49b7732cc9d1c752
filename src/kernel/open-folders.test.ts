import assert from "node:assert/strict";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { OpenFolders } from "./open-folders.ts";

let folder: string;
let root: number;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "gantry-folders-"));
  root = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
});
after(() => {
  closeSync(root);
  rmSync(folder, { recursive: true });
});

const openDescriptors = () => readdirSync("/proc/self/fd").length;

test("folders are made, opened once and never more than 256 at a time", () => {
  const seen: number[] = [];
  const before = openDescriptors();
  {
    using folders = new OpenFolders(root, (fd) => seen.push(fd));
    const fd = folders.at("a/b");
    assert.equal(folders.at("a/b"), fd);
    assert.deepEqual(seen, [fd]);
    assert.equal(fstatSync(fd).ino, statSync(join(folder, "a/b")).ino);
    for (let count = 0; count < 600; count++) folders.at(`many/${count}`);
    assert.ok(openDescriptors() - before <= 256, `${openDescriptors() - before} are open`);
  }
  assert.equal(openDescriptors(), before);
});

test("a link leads to the root's own folders, and a forgotten name is looked up anew", () => {
  symlinkSync("/etc", join(folder, "link"));
  using folders = new OpenFolders(root);
  folders.at("link/made");
  assert.ok(existsSync(join(folder, "etc/made")) && !existsSync("/etc/made"));
  mkdirSync(join(folder, "x"));
  const kept = folders.at("x");
  folders.at("a");
  renameSync(join(folder, "x"), join(folder, "y"));
  folders.forget(kept);
  assert.equal(folders.at("x"), kept, "what was kept is still the folder that it was");
  folders.forget();
  assert.notEqual(fstatSync(folders.at("x")).ino, statSync(join(folder, "y")).ino);
});
