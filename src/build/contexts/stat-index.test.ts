import assert from "node:assert/strict";
import { it } from "node:test";
import { sha256Of } from "../../oci/digest.ts";
import type { FileStat } from "../session.ts";
import { IndexWriter, RecordEncoder, StatIndex } from "./stat-index.ts";

const FOLDER = 0o20000000755;
const FILE = 0o644;

type Row = readonly [path: string, mode: number, text?: string, change?: Partial<FileStat>];

function indexOf(rows: readonly Row[]): StatIndex {
  const writer = new IndexWriter(new StatIndex(Buffer.alloc(0)));
  const encoder = new RecordEncoder();
  for (const [path, mode, text, change] of rows) {
    const size = text?.length ?? 4096;
    const stat = { path, mode, uid: 0, gid: 0, size, modTime: 5n, linkname: "", devmajor: 0, devminor: 0 };
    encoder.encode({ ...stat, xattrs: new Map(), ...change });
    const offset = writer.add(encoder);
    if (text !== undefined) writer.setDigest(offset, Buffer.from(sha256Of(text).slice("sha256:".length), "hex"));
  }
  return writer.finish();
}

const ROWS: readonly Row[] = [
  ["a", FOLDER],
  ["a/b", FOLDER],
  ["a/b/file", FILE, "text"],
  ["a/other", FILE, "other"],
  ["a-b", FOLDER],
  ["a-b/file", FILE, "more"],
];

it("digests all in a folder at once: names, modes and bytes, no times, and nothing beside it", async () => {
  const index = indexOf(ROWS);
  const [all, inside] = [await index.contents("", 1), await index.contents("a", 1)];
  assert.ok(all !== undefined && inside !== undefined && all !== inside);
  const changed = (at: number, row: Row) => indexOf(ROWS.map((each, place) => (place === at ? row : each)));
  const time = changed(2, ["a/b/file", FILE, "text", { modTime: 6n }]);
  assert.deepEqual([await time.contents("", 1), await time.contents("a", 1)], [all, inside]);
  const size = changed(1, ["a/b", FOLDER, undefined, { size: 8192, modTime: 9n }]);
  assert.equal(await size.contents("", 1), all);
  for (const row of [
    ["a/b/file", FILE, "tex2"],
    ["a/b/file", 0o755, "text"],
    ["a/b/fil2", FILE, "text"],
    ["a/b/file", FILE, "text", { xattrs: new Map([["user.k", Buffer.from("v")]]) }],
  ] as const satisfies readonly Row[]) {
    const other = changed(2, row);
    assert.notEqual(await other.contents("", 1), all);
    assert.notEqual(await other.contents("a", 1), inside);
    assert.equal(await other.contents("a-b", 1), await index.contents("a-b", 1));
  }
});

it("digests a folder whose name is longer than the last path of all", async () => {
  const index = indexOf([
    ["a-folder", FOLDER],
    ["a-folder/file", FILE, "text"],
    ["b", FILE, "x"],
  ]);
  assert.ok((await index.contents("a-folder", 1)) !== undefined);
  assert.notEqual(await index.contents("a-folder", 1), await index.contents("", 1));
});

it("digests no folder that is small, that isn't there, or of which something isn't known", async () => {
  const index = indexOf(ROWS);
  assert.equal(await index.contents("", ROWS.length + 1), undefined);
  assert.notEqual(await index.contents("", ROWS.length), undefined);
  assert.equal(await index.contents("none", 1), undefined);
  assert.equal(await indexOf([["file", FILE]]).contents("", 1), undefined);
  assert.equal(await indexOf([["file", FILE, "text", { linkname: "other" }]]).contents("", 1), undefined);
});
