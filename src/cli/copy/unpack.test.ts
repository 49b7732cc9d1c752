import assert from "node:assert/strict";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { type TarInput, writeTar } from "../../oci/tar/writer.ts";
import { packLocal } from "./pack.ts";
import { unpackLocal } from "./unpack.ts";

let base = "";
let folder = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "unpack-"));
  folder = join(base, "to");
  mkdirSync(folder);
  writeFileSync(join(base, "victim"), "untouched");
});
afterEach(() => rmSync(base, { recursive: true }));

function archive(...entries: (TarInput & { readonly text?: string })[]): AsyncIterable<Uint8Array> {
  return writeTar(
    entries.map(({ text = "", ...entry }) => {
      const body = Buffer.from(text);
      return { entry: { size: body.length, ...entry }, ...(body.length > 0 && { body: [body] }) };
    }),
  );
}

test("nothing is written through a link, whoever brought it, and no name leads out", async () => {
  symlinkSync("..", join(folder, "mine"));
  const hostile: (readonly (TarInput & { readonly text?: string })[])[] = [
    [{ name: "../victim", type: "file", text: "x" }],
    [{ name: "a/../../victim", type: "file", text: "x" }],
    [
      { name: "out", type: "symlink", linkName: ".." },
      { name: "out/victim", type: "file", text: "x" },
    ],
    [{ name: "mine/victim", type: "file", text: "x" }],
    [{ name: "link", type: "hardlink", linkName: "../victim" }],
    [{ name: "link", type: "hardlink", linkName: "mine/victim" }],
  ];
  for (const entries of hostile) await assert.rejects(unpackLocal(archive(...entries), folder, undefined));
  await unpackLocal(archive({ name: "/etc/own", type: "file", text: "in" }), folder, undefined);
  assert.equal(readFileSync(join(folder, "etc/own"), "utf8"), "in");
  assert.equal(readFileSync(join(base, "victim"), "utf8"), "untouched");
});

test("folders are merged, files replaced, and neither put in the place of the other", async () => {
  mkdirSync(join(folder, "d"));
  writeFileSync(join(folder, "d/old"), "old");
  await unpackLocal(
    archive({ name: "d", type: "directory", mode: 0o500 }, { name: "d/old", type: "file", text: "new" }),
    folder,
    undefined,
  );
  assert.equal(readFileSync(join(folder, "d/old"), "utf8"), "new");
  assert.equal(lstatSync(join(folder, "d")).mode & 0o777, 0o500);
  await assert.rejects(
    unpackLocal(archive({ name: "d", type: "file" }), folder, undefined),
    /cannot overwrite directory/,
  );
  await assert.rejects(
    unpackLocal(archive({ name: "d/old", type: "directory" }), folder, undefined),
    /cannot overwrite non-directory/,
  );
});

test("what is packed under a new name is unpacked the same, links, times and large files included", async () => {
  const from = join(base, "from");
  mkdirSync(join(from, "sub"), { recursive: true });
  writeFileSync(join(from, "sub/large"), Buffer.alloc(3_000_001, "y"));
  writeFileSync(join(from, "a"), "a", { mode: 0o751 });
  symlinkSync("nowhere", join(from, "soft"));
  await unpackLocal(packLocal(base, "from", "from", undefined), folder, (name) => name.replace("from", "renamed"));
  const to = join(folder, "renamed");
  assert.ok(readFileSync(join(to, "sub/large")).equals(readFileSync(join(from, "sub/large"))));
  assert.equal(lstatSync(join(to, "a")).mode & 0o777, lstatSync(join(from, "a")).mode & 0o777);
  assert.ok(Math.abs(lstatSync(join(to, "a")).mtimeMs - lstatSync(join(from, "a")).mtimeMs) < 1);
  assert.ok(lstatSync(join(to, "soft")).isSymbolicLink() && !existsSync(join(to, "soft")));
});
