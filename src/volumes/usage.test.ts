import assert from "node:assert/strict";
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { folderSizes } from "./usage.ts";

function scratch(t: { after: (act: () => void) => void }): string {
  const root = mkdtempSync(join(tmpdir(), "gantry-usage-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

test("a file of two names counts once, what a link points to not at all", async (t) => {
  const root = scratch(t);
  mkdirSync(join(root, "below"));
  writeFileSync(join(root, "one"), Buffer.alloc(1000));
  linkSync(join(root, "one"), join(root, "below/other"));
  writeFileSync(join(root, "below/small"), "abc");
  symlinkSync("/etc/passwd", join(root, "link"));
  symlinkSync("/usr", join(root, "below/tree"));
  assert.equal((await folderSizes(root)).bytes, 1000 + 3 + "/etc/passwd".length + "/usr".length);
});

test("a name that is no UTF-8 is counted as any other", async (t) => {
  const root = scratch(t);
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0xfe])]), "12345");
  assert.equal((await folderSizes(root)).bytes, 5);
});

test("a folder that is not there holds nothing, and a link in its place neither", async (t) => {
  const root = scratch(t);
  assert.equal((await folderSizes(join(root, "none"))).bytes, 0);
  symlinkSync("/etc", join(root, "link"));
  assert.equal((await folderSizes(join(root, "link"))).bytes, 0);
});

test("folders that are nested without end are counted down to a bound", async (t) => {
  const root = scratch(t);
  let path = root;
  const back = process.cwd();
  t.after(() => process.chdir(back));
  for (let depth = 0; depth < 600; depth++) {
    process.chdir(path);
    mkdirSync("d");
    writeFileSync("f", "x");
    path = "d";
  }
  process.chdir(back);
  assert.equal((await folderSizes(root)).bytes, 512);
});

test("the event loop has its turns while much is counted", async (t) => {
  const root = scratch(t);
  for (let n = 0; n < 5000; n++) writeFileSync(join(root, `file-${n}`), "");
  let turns = 0;
  const turn = (): void => {
    turns++;
    next = setImmediate(turn);
  };
  let next = setImmediate(turn);
  await folderSizes(root);
  clearImmediate(next);
  assert.ok(turns > 0);
});
