import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  read as readWithCallback,
} from "node:fs";
import { bytesToName } from "../../base/byte-string.ts";
import { hasCode } from "../../base/errors.ts";
import { readWhole } from "../../base/read-whole.ts";
import type { TarType } from "../../oci/tar/entry.ts";
import { tarTypeOf } from "../../oci/tar/file-type.ts";
import { type TarInput, type TarOutput, writeTar } from "../../oci/tar/writer.ts";

/** Above this a file is read a piece ahead of what is being sent. */
const SMALL = 256 * 1024;
const PIECE = 1024 * 1024;

/**
 * The thing `base` in `folder`, with all that is in it, as an archive in which it is called `name`. Links are archived as
 * links; sockets are left out. `rename` changes every entry's name, and the targets of hard links with them.
 */
export function packLocal(
  folder: string,
  base: string,
  name: string,
  rename: ((name: string) => string) | undefined,
): AsyncGenerator<Uint8Array> {
  const renamed = rename ?? ((same: string) => same);
  return writeTar(members(Buffer.from(folder), Buffer.from(base), name, renamed));
}

async function* members(
  folder: Buffer,
  base: Buffer,
  name: string,
  rename: (name: string) => string,
): AsyncGenerator<TarOutput> {
  const links = new Map<string, string>();
  const pending: { readonly path: Buffer; readonly name: string }[] = [{ path: join(folder, base), name }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const stat = next.name === name ? lstatSync(next.path, { bigint: true }) : statIfThere(next.path);
    const type = stat === undefined ? undefined : tarTypeOf(Number(stat.mode));
    if (stat === undefined || type === undefined) continue;
    const written = rename(next.name);
    if (stat.nlink > 1n && type !== "directory") {
      const inode = `${stat.dev}/${stat.ino}`;
      const first = links.get(inode);
      if (first !== undefined) {
        yield { entry: { ...describe(stat, written, "hardlink"), linkName: first } };
        continue;
      }
      links.set(inode, written);
    }
    if (type === "file") {
      yield* file(next.path, stat, written);
      continue;
    }
    const linkName = type === "symlink" ? bytesToName(readlinkSync(next.path, { encoding: "buffer" })) : "";
    yield { entry: { ...describe(stat, written, type), linkName } };
    if (type !== "directory") continue;
    const prefix = next.name.endsWith("/") ? next.name : `${next.name}/`;
    const below = readdirSync(next.path, { encoding: "buffer" }).sort(Buffer.compare).reverse();
    for (const each of below) pending.push({ path: join(next.path, each), name: `${prefix}${bytesToName(each)}` });
  }
}

function join(folder: Buffer, base: Buffer): Buffer {
  const slash = folder.at(-1) === 0x2f ? "" : "/";
  return Buffer.concat([folder, Buffer.from(slash), base]);
}

/** A folder that is copied while others work in it loses things: they are passed over. */
function statIfThere(path: Buffer): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true });
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function describe(stat: BigIntStats, name: string, type: TarType): TarInput {
  const seconds = stat.mtimeNs / 1_000_000_000n - (stat.mtimeNs % 1_000_000_000n < 0n ? 1n : 0n);
  const isDevice = type === "character" || type === "block";
  return {
    name,
    type,
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: { seconds: Number(seconds), nanoseconds: Number(stat.mtimeNs - seconds * 1_000_000_000n) },
    // The encoding of a device number in glibc's sys/sysmacros.h.
    major: isDevice ? Number(((stat.rdev >> 8n) & 0xfffn) | ((stat.rdev >> 32n) & 0xfffff000n)) : 0,
    minor: isDevice ? Number((stat.rdev & 0xffn) | ((stat.rdev >> 12n) & 0xffffff00n)) : 0,
  };
}

async function* file(path: Buffer, stat: BigIntStats, name: string): AsyncGenerator<TarOutput> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    const { size } = fstatSync(fd);
    const entry = { ...describe(stat, name, "file"), size };
    if (size > SMALL) yield { entry, body: pieces(fd, size) };
    else yield { entry, ...(size > 0 && { body: [readWhole(fd, size)] }) };
  } finally {
    closeSync(fd);
  }
}

async function* pieces(fd: number, size: number): AsyncGenerator<Buffer> {
  let next: Promise<Buffer> | undefined = readPiece(fd, 0, size);
  for (let at = PIECE; next !== undefined; at += PIECE) {
    const bytes: Buffer = await next;
    next = at < size ? readPiece(fd, at, size) : undefined;
    yield bytes;
  }
}

async function readPiece(fd: number, offset: number, size: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(Math.min(PIECE, size - offset));
  for (let at = 0; at < bytes.length; ) {
    const count = await new Promise<number>((resolve, reject) => {
      readWithCallback(fd, bytes, at, bytes.length - at, offset + at, (error, read) => {
        if (error === null) resolve(read);
        else reject(error);
      });
    });
    if (count === 0) return bytes.fill(0, at);
    at += count;
  }
  return bytes;
}
