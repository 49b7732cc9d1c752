import { closeSync, fstatSync, readSync } from "node:fs";
import { Breath } from "../base/breath.ts";
import { bytesToName } from "../base/byte-string.ts";
import { GantryError, unlessCode } from "../base/errors.ts";
import { type FileStat, openFileAt, readlinkat } from "../kernel/path.ts";
import { tarTypeOf } from "../oci/tar/file-type.ts";
import { type TarOutput, writeTar } from "../oci/tar/writer.ts";
import { type Change, LONGEST_PATH, tooDeep } from "./changes.ts";
import { tarInputOf } from "./pack-tree.ts";

const CHUNK = 1 << 18;
/** Whoever extracts the layer again does it below a root of its own, whose path counts too. */
const LONGEST_MEMBER = LONGEST_PATH - 255;

/** Changes as the tar of a layer (image-spec, layer.md). Sockets are left out, as a tar can't hold them. */
export function packLayer(changes: Iterable<Change>): AsyncGenerator<Buffer> {
  return writeTar(members(changes));
}

async function* members(changes: Iterable<Change>): AsyncGenerator<TarOutput> {
  const breath = new Breath();
  const links = new Map<string, string>();
  for (const change of changes) {
    await breath.take();
    const { stat, path } = change;
    if (path.length > LONGEST_MEMBER) throw tooDeep("make a layer", path);
    if (stat === undefined) {
      yield { entry: { name: path, type: "file", mode: 0 } };
      continue;
    }
    const type = tarTypeOf(stat.mode);
    if (type === undefined) continue;
    const inode = `${stat.dev}/${stat.ino}`;
    const first = stat.nlink > 1 && type !== "directory" ? links.get(inode) : undefined;
    if (first !== undefined) {
      yield { entry: { ...tarInputOf({ ...change, stat }, change.path, "hardlink"), linkName: first } };
      continue;
    }
    if (stat.nlink > 1) links.set(inode, path);
    if (type === "file") yield* file(change, stat, breath);
    else {
      const linkName = type === "symlink" ? ifThere(() => bytesToName(readlinkat(change.dir, change.base))) : "";
      if (linkName !== undefined) yield { entry: { ...tarInputOf({ ...change, stat }, change.path, type), linkName } };
    }
  }
}

/** undefined if a running container took it away, or put something else there. */
function ifThere<T>(act: () => T): T | undefined {
  return unlessCode(["ENOENT", "EINVAL"], act);
}

async function* file(change: Change, stat: FileStat, breath: Breath): AsyncGenerator<TarOutput> {
  const fd = ifThere(() => openFileAt(change.dir, change.base));
  if (fd === undefined) return;
  try {
    const now = fstatSync(fd);
    yield {
      entry: { ...tarInputOf({ ...change, stat }, change.path, "file"), size: now.size },
      body: read(fd, now.size, change.path, breath),
    };
  } finally {
    closeSync(fd);
  }
}

async function* read(fd: number, size: number, path: string, breath: Breath): AsyncGenerator<Buffer> {
  for (let left = size; left > 0; ) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK, left));
    const count = readSync(fd, chunk, 0, chunk.length, null);
    if (count === 0) throw new GantryError("conflict", `cannot archive ${path}: it became shorter meanwhile`);
    left -= count;
    yield chunk.subarray(0, count);
    await breath.take();
  }
}
