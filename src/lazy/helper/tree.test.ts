import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { type FileNode, readTree, TYPE } from "./tree.ts";

const END = 1 << 20;
const DIGEST = `sha256:${"a".repeat(64)}`;
const file = (name: string, more: object = {}) => ({ name, type: "reg", size: 10, offset: 0, digest: DIGEST, ...more });
const read = (...entries: readonly object[]) => readTree(Buffer.from(JSON.stringify({ version: 1, entries })), END);

function at(root: FileNode, path: string): FileNode {
  let node = root;
  for (const part of path.split("/")) {
    const child = node.children?.get(part);
    assert.ok(child !== undefined, path);
    node = child;
  }
  return node;
}

test("files, folders, links and devices are what the table says, folders nobody tells of included", () => {
  const { hasRoot, root, size } = read(
    file("./usr/bin/one", {
      mode: 0o104755,
      uid: 1,
      gid: 2,
      modtime: "2023-11-14T22:13:20.5Z",
      xattrs: { "user.a": "Yg==" },
    }),
    { name: "usr/bin/two", type: "hardlink", linkName: "/usr/bin/one" },
    { name: "usr/link", type: "symlink", linkName: "../usr/bin", mode: 0o644 },
    { name: "dev/disk", type: "block", devMajor: 259, devMinor: 70_000 },
    { name: "usr/", type: "dir", mode: 0o1777 },
    { name: "pipe", type: "fifo" },
  );
  const one = at(root, "usr/bin/one");
  assert.deepEqual([one.mode, one.uid, one.gid, one.links], [TYPE.reg | 0o4755, 1, 2, 2]);
  assert.deepEqual([one.seconds, one.nanoseconds], [1_700_000_000, 500_000_000]);
  assert.equal(one.xattrs.get("user.a")?.toString(), "b");
  assert.equal(at(root, "usr/bin/two"), one);
  assert.equal(at(root, "usr/link").mode, TYPE.symlink | 0o777);
  assert.equal(at(root, "usr/link").target, "../usr/bin");
  assert.equal(at(root, "usr").mode, TYPE.dir | 0o1777);
  assert.equal(at(root, "dev/disk").device, (70_000 & 0xff) | (259 << 8) | ((70_000 & 0xfff00) << 12));
  assert.deepEqual([hasRoot, size], [false, 10]);
});

test("deletions become overlayfs's marks", () => {
  const { root } = read({ name: "a/.wh.gone", type: "reg" }, { name: "b/.wh..wh..opq", type: "reg" });
  const gone = at(root, "a/gone");
  assert.deepEqual([gone.mode & TYPE.mask, gone.device], [TYPE.char, 0]);
  assert.equal(at(root, "b").xattrs.get("trusted.overlay.opaque")?.toString(), "y");
});

test("pieces end where the next thing begins in the blob", () => {
  const { root, landmark } = read(
    file("a", { size: 30, chunkSize: 20, offset: 100, chunkDigest: DIGEST }),
    { name: "a", type: "chunk", chunkOffset: 20, chunkSize: 10, offset: 150, chunkDigest: DIGEST },
    { name: ".prefetch.landmark", type: "reg", size: 1, offset: 200, digest: DIGEST },
    file("b", { offset: 300, innerOffset: 5 }),
    file("c", { offset: 300, innerOffset: 15 }),
    { name: "zeros", type: "reg", size: 50, chunkType: "zeros" },
  );
  const ends = (path: string) =>
    at(root, path).chunks.map(({ at, end, inner, offset, size }) => [at, size, offset, end, inner]);
  assert.deepEqual(ends("a"), [
    [0, 20, 100, 150, 0],
    [20, 10, 150, 200, 0],
  ]);
  assert.deepEqual(ends("b"), [[0, 10, 300, END, 5]]);
  assert.deepEqual(ends("c"), [[0, 10, 300, END, 15]]);
  assert.equal(at(root, "zeros").chunks[0]?.isZeros, true);
  assert.equal(landmark, 200);
});

test("what a layer could not be is refused, and the ordinary pull has the last word", () => {
  const hostile: Readonly<Record<string, readonly object[]>> = {
    "a name outside": [file("../x")],
    "a name outside, hidden": [file("a/../../x")],
    "a name twice": [file("x"), file("x")],
    "a folder told of twice": [
      { name: "d", type: "dir" },
      { name: "d/", type: "dir" },
    ],
    "a file below a file": [file("x"), file("x/y")],
    "a file below a link": [{ name: "l", type: "symlink", linkName: "/etc" }, file("l/passwd")],
    "a name that is no text": [{ ...file("x"), name: 7 }],
    "a name with a zero byte": [file("x\0y")],
    "a name whose bytes are lost": [file("x\ufffd")],
    "a name that is too long": [file("x".repeat(256))],
    "a piece of nothing": [{ name: "x", type: "chunk", chunkSize: 1 }],
    "a piece of another": [file("x", { chunkSize: 5 }), { name: "y", type: "chunk", chunkOffset: 5 }],
    "a gap between pieces": [
      file("x", { chunkSize: 4, chunkDigest: DIGEST }),
      { name: "x", type: "chunk", chunkOffset: 5, offset: 50, chunkDigest: DIGEST },
    ],
    "pieces that overlap": [
      file("x", { chunkSize: 6, chunkDigest: DIGEST }),
      { name: "x", type: "chunk", chunkOffset: 5, offset: 50, chunkDigest: DIGEST },
    ],
    "fewer bytes than the file has": [file("x", { chunkSize: 4, chunkDigest: DIGEST })],
    "an offset outside": [file("x", { offset: END + 1 })],
    "an offset at the end": [file("x", { offset: END })],
    "a negative offset": [file("x", { offset: -1 })],
    "a size that is no number": [file("x", { size: "10" })],
    "a size above all": [file("x", { size: 2 ** 60 })],
    "a piece as long as memory": [file("x", { size: 2 ** 40 })],
    "a piece without a digest": [file("x", { digest: undefined })],
    "a digest of another kind": [file("x", { digest: `sha512:${"a".repeat(128)}` })],
    "a hard link to nowhere": [{ name: "x", type: "hardlink", linkName: "y" }],
    "a hard link to a folder": [
      { name: "d", type: "dir" },
      { name: "x", type: "hardlink", linkName: "d" },
    ],
    "a hard link to a deletion": [
      { name: ".wh.y", type: "reg" },
      { name: "x", type: "hardlink", linkName: "y" },
    ],
    "a hard link outside": [file("y"), { name: "x", type: "hardlink", linkName: "../y" }],
    "a link to nothing": [{ name: "x", type: "symlink" }],
    "overlayfs's own device": [{ name: "x", type: "char" }],
    "overlayfs's own attribute": [file("x", { xattrs: { "trusted.overlay.redirect": "L2V0Yw==" } })],
    "a deletion of nothing": [{ name: ".wh.", type: "reg" }],
    "a deletion of what is above": [{ name: ".wh...", type: "reg" }],
    "a root that is a file": [file("./")],
    "a type nobody knows": [{ name: "x", type: "mask" }],
    "a type of the language": [{ name: "x", type: "constructor" }],
    "a time that is none": [file("x", { modtime: "yesterday" })],
    "an owner above all": [file("x", { uid: 2 ** 32 })],
    "an entry that is none": [null as unknown as object],
  };
  for (const [what, entries] of Object.entries(hostile)) {
    assert.throws(
      () => read(...entries),
      (error) => isKind(error, "unsupported"),
      what,
    );
  }
  for (const json of [
    "",
    "{",
    "null",
    '{"version":2,"entries":[]}',
    '{"version":1}',
    `{"version":1,"entries":[${"0,".repeat(500_001)}0]}`,
  ]) {
    assert.throws(
      () => readTree(Buffer.from(json), END),
      (error) => isKind(error, "unsupported"),
      json.slice(0, 40),
    );
  }
});
