import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { type TarEntry, tarOf } from "../../../test/archive.ts";
import { sha256Of } from "../../oci/digest.ts";
import { type UnpackOptions, unpackContext } from "./archive.ts";
import { leaveOut } from "./excluded.ts";

let root = "";
let tree = "";
const { signal } = new AbortController();

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "gantry-archive-"));
  tree = join(root, "tree");
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

async function* inPieces(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function unpack(bytes: Uint8Array, limits: Partial<UnpackOptions> = {}) {
  const unpacked = await unpackContext(inPieces(bytes), tree, { mostRatio: 1000, signal, ...limits });
  if (unpacked.kind === "folder") unpacked.index.close();
  return unpacked;
}

const PLAIN: readonly TarEntry[] = [
  { name: "Dockerfile", body: "FROM scratch\n" },
  { name: "./dir/", type: "directory", mode: 0o750 },
  { name: "dir/file", body: "text\n", mode: 0o640, uid: 7, gid: 8, mtime: 1_000_000_000 },
  { name: "dir/link", type: "symlink", link: "file" },
];

test("an archive is unpacked however it is compressed", async () => {
  const tar = tarOf(PLAIN);
  const by = (program: string) => spawnSync(program, ["-c"], { input: tar }).stdout;
  const forms = { plain: tar, gzip: gzipSync(tar), zstd: zstdCompressSync(tar), xz: by("xz"), bzip2: by("bzip2") };
  for (const [name, bytes] of Object.entries(forms)) {
    assert.equal((await unpack(bytes)).kind, "folder", name);
    assert.deepEqual((readdirSync(tree, { recursive: true }) as string[]).sort(), [
      "Dockerfile",
      "dir",
      "dir/file",
      "dir/link",
    ]);
    const { mode, mtimeMs } = lstatSync(join(tree, "dir/file"));
    assert.deepEqual([mode & 0o7777, mtimeMs], [0o640, 1e12]);
    rmSync(tree, { recursive: true });
  }
});

test("what is no archive is a Dockerfile's text, or nothing", async () => {
  assert.deepEqual(await unpack(Buffer.from("FROM scratch\nRUN x\n")), { kind: "text", text: "FROM scratch\nRUN x\n" });
  assert.deepEqual(await unpack(gzipSync("FROM scratch\n")), { kind: "text", text: "FROM scratch\n" });
  assert.equal(existsSync(tree), false);
  await assert.rejects(unpack(Buffer.alloc(0)), { kind: "invalid", message: /the context is empty/ });
  await assert.rejects(unpack(Buffer.from("x\0y")), {
    kind: "invalid",
    message: /neither an archive nor a Dockerfile/,
  });
  assert.equal((await unpack(tarOf([]))).kind, "folder");
});

test("digests of files are known, and are those of what the names mean in the end", async () => {
  const unpacked = await unpackContext(
    inPieces(
      tarOf([
        { name: "a", body: "old" },
        { name: "d/", type: "directory" },
        { name: "way", type: "symlink", link: "d" },
        { name: "d/f", body: "one" },
        { name: "way/f", body: "two" },
        { name: "a", body: "new" },
        { name: "b", type: "hardlink", link: "a" },
        { name: "big", body: Buffer.alloc(300_000, "x") },
      ]),
    ),
    tree,
    { mostRatio: 1000, signal },
  );
  assert.ok(unpacked.kind === "folder");
  const { index } = unpacked;
  try {
    for (const path of ["a", "b", "d/f", "big"]) {
      assert.equal(index.digest(path), sha256Of(readFileSync(join(tree, path))), path);
    }
    for (const path of ["way", "d", "none", "way/f", "../tree/a"]) assert.equal(index.digest(path), undefined, path);
  } finally {
    index.close();
  }
});

const HOSTILE: readonly (readonly [what: string, entries: readonly TarEntry[]])[] = [
  ["a name that leads up", [{ name: "../outside/x", body: "x" }]],
  ["a name that leads up later", [{ name: "a/../../outside/x", body: "x" }]],
  ["a hard link to outside", [{ name: "x", type: "hardlink", link: "../outside/kept" }]],
  ["a hard link to nothing", [{ name: "x", type: "hardlink", link: "none" }]],
  ["a hard link to the folder itself", [{ name: "x", type: "hardlink", link: "" }]],
];
for (const [what, entries] of HOSTILE) {
  test(`an archive with ${what} is refused and writes nothing outside`, async () => {
    mkdirSync(join(root, "outside"));
    writeFileSync(join(root, "outside/kept"), "kept");
    await assert.rejects(unpack(tarOf(entries)), { kind: "invalid" });
    assert.deepEqual(readdirSync(join(root, "outside")), ["kept"]);
    assert.equal(lstatSync(join(root, "outside/kept")).nlink, 1);
  });
}

test("links of an archive stay inside, be they absolute or lead up", async () => {
  mkdirSync(join(root, "outside"));
  const links = [join(root, "outside"), "../outside", "/../../outside"];
  for (const link of links) {
    await unpack(
      tarOf([
        { name: "way", type: "symlink", link },
        { name: "way/x", body: "x" },
        { name: "/abs", body: "x" },
      ]),
    );
    assert.deepEqual(readdirSync(join(root, "outside")), [], link);
    assert.equal(existsSync(join(tree, "abs")), true);
    rmSync(tree, { recursive: true });
  }
});

test("an archive that is cut, or unpacks to far more than it is, is refused", async () => {
  const tar = tarOf([{ name: "a", body: Buffer.alloc(5000) }]);
  await assert.rejects(unpack(tar.subarray(0, 2000)), { kind: "invalid", message: /unexpected EOF/ });
  rmSync(tree, { recursive: true, force: true });
  await assert.rejects(unpack(gzipSync(tar).subarray(0, 60)), { kind: "invalid" });
  rmSync(tree, { recursive: true, force: true });
  // Holes of a file that takes no room: only the count of the bytes ends it.
  const header = tarOf([{ name: "zeros", body: "" }]).subarray(0, 512);
  header.write("20000000000", 124);
  header.fill(" ", 148, 156);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
  );
  const zeros = gzipSync(Buffer.alloc(4 << 20));
  const bomb = Buffer.concat([gzipSync(header), ...Array<Buffer>(4).fill(zeros)]);
  await assert.rejects(unpack(bomb, { mostRatio: 2, free: 1 << 20 }), {
    kind: "invalid",
    message: /unpacks to more than 2 times its size/,
  });
});

test("an abort ends the unpacking", async () => {
  const controller = new AbortController();
  const tar = tarOf([{ name: "a", body: Buffer.alloc(1 << 20) }]);
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield tar.subarray(0, 100_000);
    controller.abort();
    yield tar.subarray(100_000, 200_000);
    await new Promise(() => {});
  }
  await assert.rejects(unpackContext(endless(), tree, { mostRatio: 2, signal: controller.signal }), {
    kind: "cancelled",
  });
});

test("what an ignore file matches is left out, the rest is the same files", async () => {
  const from = join(root, "from");
  mkdirSync(join(from, "logs/keep"), { recursive: true });
  mkdirSync(join(from, "src"));
  for (const name of ["a.log", "src/b.log", "src/c", "logs/x", "logs/keep/y"]) writeFileSync(join(from, name), name);
  symlinkSync("/etc/passwd", join(from, "src/link"));
  const fd = openSync(from, "r");
  closeSync(fd);
  assert.equal(await leaveOut(from, ["**/*.log", "logs", "!logs/keep"], tree), true);
  assert.deepEqual((readdirSync(tree, { recursive: true }) as string[]).sort(), [
    ...["logs", "logs/keep", "logs/keep/y", "src", "src/c", "src/link"],
  ]);
  assert.equal(lstatSync(join(tree, "src/c")).ino, lstatSync(join(from, "src/c")).ino);
  assert.equal(await leaveOut(from, ["nothing", "!a.log"], join(root, "other")), false);
  assert.equal(existsSync(join(root, "other")), false);
});
