import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, it } from "node:test";
import { getXattr, listXattrs, setXattr } from "./xattr.ts";

const root = mkdtempSync(join(tmpdir(), "gantry-xattr-"));
after(() => rmSync(root, { recursive: true, force: true }));

it("sets, lists and reads by path and by descriptor", () => {
  const path = join(root, "file");
  writeFileSync(path, "");
  const fd = openSync(path, "r");
  try {
    const value = Buffer.from([0, 1, 255, 0]);
    setXattr(path, "trusted.one", value);
    setXattr(fd, "user.two", Buffer.alloc(0));
    assert.deepEqual(listXattrs(path).sort(), ["trusted.one", "user.two"]);
    assert.deepEqual(listXattrs(fd).sort(), ["trusted.one", "user.two"]);
    assert.deepEqual(getXattr(fd, "trusted.one"), value);
    assert.deepEqual(getXattr(path, "user.two"), Buffer.alloc(0));
    assert.equal(getXattr(path, "user.none"), undefined);
  } finally {
    closeSync(fd);
  }
});

it("acts on a symbolic link itself", () => {
  const link = join(root, "link");
  symlinkSync("nowhere", link);
  setXattr(link, "trusted.l", Buffer.from("x"));
  assert.deepEqual(listXattrs(link), ["trusted.l"]);
});
