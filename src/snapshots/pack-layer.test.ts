import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { it } from "node:test";
import { openat } from "../kernel/path.ts";
import { listenUnix } from "../kernel/unix-socket.ts";
import { setXattr } from "../kernel/xattr.ts";
import { readTar } from "../oci/tar/reader.ts";
import { encodeHeader, writePlainHeader } from "../oci/tar/writer.ts";
import { type Change, upperChanges } from "./changes.ts";
import { packLayer } from "./pack-layer.ts";
import { changesOf, openSource } from "./pack-source.ts";

async function packed(root: string, isStill: boolean): Promise<Buffer> {
  const fd = openSync(root, "r");
  try {
    const pieces: Buffer[] = [];
    for await (const piece of packLayer(upperChanges(fd), { isStill })) pieces.push(piece);
    return Buffer.concat(pieces);
  } finally {
    closeSync(fd);
  }
}

it("packs files of every size to the same bytes, still or not, that tar reads", async () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-pack-"));
  try {
    mkdirSync(join(root, "tree/sub"), { recursive: true });
    const sizes = [0, 1, 511, 512, 513, 261_119, 261_120, 261_632, 262_143, 262_144, 262_145, 700_001];
    for (const [index, size] of sizes.entries()) {
      writeFileSync(join(root, "tree", `${index}`), Buffer.alloc(size, index + 1));
    }
    writeFileSync(join(root, "tree", "n".repeat(120)), "long");
    writeFileSync(join(root, "tree", "ünïcode"), "words");
    writeFileSync(join(root, "tree/sub/old"), "");
    utimesSync(join(root, "tree/sub/old"), -5, -5);
    setXattr(join(root, "tree/0"), "user.k", Buffer.from("v"));
    for (let index = 0; index < 3000; index++) writeFileSync(join(root, "tree/sub", `${index}`), `${index}`);
    truncateSync(join(root, "tree/sub/7"), 3000);
    const still = await packed(root, true);
    assert.ok(still.equals(await packed(root, false)));
    const found = new Map<string, number>();
    for await (const { body, entry } of readTar(Readable.from([still]))) {
      let sum = 0;
      for await (const piece of body) for (const byte of piece) sum += byte;
      found.set(entry.name, sum);
      assert.equal(entry.mtime.nanoseconds, 0);
    }
    for (const [index, size] of sizes.entries()) assert.equal(found.get(`tree/${index}`), size * (index + 1));
    assert.equal(found.size, sizes.length + 2 + 3001 + 2);
    const listed = execFileSync("tar", ["-tf", "-"], { input: still, encoding: "utf8", maxBuffer: 1 << 24 });
    assert.equal(listed.trimEnd().split("\n").length, found.size);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

it("writes the same header for a plain file as for any other, or none", () => {
  const into = Buffer.alloc(1024, 7);
  const plain = { name: "a/b", mode: 0o4755, uid: 1000, gid: 2_097_151, size: 8_589_934_591, mtime: 1_700_000_000 };
  const others = [
    ...[{ name: "x".repeat(101) }, { name: "ü" }, { uid: 2_097_152 }, { gid: 2_097_152 }, { size: 8_589_934_592 }],
    ...[{ mtime: -1 }, { mtime: 8_589_934_592 }],
  ];
  for (const change of [{}, { name: "x".repeat(100) }, ...others]) {
    const file = { ...plain, ...change };
    const mtime = { seconds: file.mtime, nanoseconds: 0 };
    const header = encodeHeader({ ...file, type: "file", mtime });
    assert.equal(writePlainHeader(into, 512, file), !others.includes(change as (typeof others)[number]), file.name);
    if (!others.includes(change as (typeof others)[number])) assert.ok(header.equals(into.subarray(512)));
  }
  assert.ok(into.subarray(0, 512).every((byte) => byte === 7));
});

it("opens nothing but files in what somebody writes to, whatever takes their place", async () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-pack-"));
  try {
    mkdirSync(join(root, "fs/folder"), { recursive: true });
    const names = ["device", "fifo", "folder/within", "gone", "kept", "link", "socket", "tree"];
    for (const name of names) writeFileSync(join(root, "fs", name), name);
    const source = { fs: join(root, "fs"), below: [], marks: true, hasParent: true, isStill: false };
    using open = openSource(source);
    const replace = (name: string): void => {
      const path = join(root, "fs", name);
      if (name !== "kept") rmSync(path);
      if (name === "device") execFileSync("mknod", [path, "c", "1", "5"]);
      else if (name === "fifo") execFileSync("mkfifo", [path]);
      else if (name === "link") symlinkSync("kept", path);
      else if (name === "socket") bindSocketAt(path);
      else if (name === "tree") mkdirSync(path);
    };
    const found: Change[] = [...changesOf(source, open)].filter(({ path }) => names.includes(path));
    const dirs = [open.fs, openSync(join(root, "fs/folder"), "r")];
    const pieces: Buffer[] = [];
    function* replaced(): Generator<Change> {
      for (const change of found) {
        replace(change.path);
        yield { ...change, dir: change.path.includes("/") ? dirs[1]! : dirs[0]! };
      }
    }
    for await (const piece of packLayer(replaced(), { isStill: false })) pieces.push(piece);
    closeSync(dirs[1]!);
    const kept: string[] = [];
    for await (const { entry } of readTar(Readable.from(pieces))) kept.push(entry.name);
    assert.deepEqual(kept, ["kept"]);
    // It is the kernel that keeps them shut.
    assert.throws(() => openat(open.fs, "device", constants.O_RDONLY), { code: "EACCES" });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

function bindSocketAt(path: string): void {
  closeSync(listenUnix(path));
}
