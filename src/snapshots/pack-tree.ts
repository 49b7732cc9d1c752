import { closeSync, constants, read as fsRead, fstatSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { promisify } from "node:util";
import { Breath } from "../base/breath.ts";
import { bytesToName } from "../base/byte-string.ts";
import { GantryError, hasCode, unlessCode } from "../base/errors.ts";
import { readWhole } from "../base/read-whole.ts";
import { dataRanges } from "../kernel/holes.ts";
import { type FileStat, fstatat, openat, openFileAt, readlinkat } from "../kernel/path.ts";
import type { Segment, TarType } from "../oci/tar/entry.ts";
import { tarTypeOf } from "../oci/tar/file-type.ts";
import { type TarInput, type TarOutput, writeTar } from "../oci/tar/writer.ts";
import { readAttributes } from "./changes.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
/** Up to this a file is read at once; above, by the pool's threads, a piece ahead of what is sent. */
const SMALL = 128 << 10;
const PIECE = 1 << 20;
/** Holes of less than this in all are sent as zeros, which every reader understands. */
const LEAST_HOLES = 1 << 20;
const MOST_RANGES = 10_000;
const LONGEST_PATH = 4095;

const readAsync = promisify(fsRead);

/** A thing in a tree: the open folder it is in (the caller's to close), its name there, and what it is. */
export interface Located {
  readonly dir: number;
  readonly base: string;
  readonly stat: FileStat;
}

export interface ArchiveOptions {
  /** What the thing itself is called; what is in it comes below that. "" leaves the top folder itself out. */
  readonly name: string;
}

/**
 * `archiveMembers` as bytes. `release` is called once, at the end however it comes. No generator: one that is never
 * begun would not end what it holds.
 */
export function packTree(
  thing: Located,
  options: ArchiveOptions,
  release: () => void,
): AsyncIterableIterator<Uint8Array> {
  const pieces = writeTar(archiveMembers(thing, options));
  let isOpen = true;
  const end = () => {
    if (isOpen) release();
    isOpen = false;
  };
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        const piece = await pieces.next();
        if (piece.done === true) end();
        return piece;
      } catch (error) {
        end();
        throw error;
      }
    },
    async return() {
      try {
        await pieces.return(undefined);
      } finally {
        end();
      }
      return { done: true, value: undefined };
    },
  };
}

interface Level {
  readonly dir: number;
  readonly prefix: string;
  readonly names: string[];
  at: number;
}

/**
 * A thing and all that is in it as members of an archive: a folder before what is in it, by name; of the names of one
 * file the later ones as hard links. Sockets are left out, as an archive can't hold them; what a running container
 * takes away meanwhile, too. The located folder stays open, and the caller's, to the end.
 */
export async function* archiveMembers(thing: Located, { name }: ArchiveOptions): AsyncGenerator<TarOutput> {
  const links = new Map<string, string>();
  const breath = new Breath();
  const levels: Level[] = [];
  try {
    if (tarTypeOf(thing.stat.mode) !== "directory") {
      yield* member(thing, name, links, breath);
      return;
    }
    const prefix = name === "" || name.endsWith("/") ? name : `${name}/`;
    if (name !== "") yield { entry: tarInputOf(thing, prefix, "directory") };
    const top = await openIfThere(thing, prefix);
    if (top !== undefined) levels.push(top);
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      await breath.take();
      const base = level.names[level.at++];
      if (base === undefined) {
        closeSync(level.dir);
        levels.pop();
        continue;
      }
      const stat = ifThere(() => fstatat(level.dir, base));
      if (stat === undefined) continue;
      const path = `${level.prefix}${base}`;
      if (path.length > LONGEST_PATH) {
        throw new GantryError("invalid", `cannot archive ${path.slice(0, 100)}…: its path is longer than any can be`);
      }
      const found = { dir: level.dir, base, stat };
      yield* member(found, path, links, breath);
      if (tarTypeOf(stat.mode) !== "directory") continue;
      const next = await openIfThere(found, `${path}/`);
      if (next !== undefined) levels.push(next);
    }
  } finally {
    for (const level of levels) closeSync(level.dir);
  }
}

async function openIfThere(thing: Located, prefix: string): Promise<Level | undefined> {
  try {
    return await open(thing, prefix);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
    throw error;
  }
}

async function open(thing: Located, prefix: string): Promise<Level> {
  const dir = openat(thing.dir, thing.base, FOLDER);
  try {
    const names = (await readdir(`/proc/self/fd/${dir}`, { encoding: "buffer" })).map((each) => bytesToName(each));
    return { dir, prefix, names: names.sort(), at: 0 };
  } catch (error) {
    closeSync(dir);
    throw error;
  }
}

async function* member(
  thing: Located,
  name: string,
  links: Map<string, string>,
  breath: Breath,
): AsyncGenerator<TarOutput> {
  const { stat } = thing;
  const type = tarTypeOf(stat.mode);
  if (type === undefined) return;
  if (stat.nlink > 1 && type !== "directory") {
    const inode = `${stat.dev}/${stat.ino}`;
    const first = links.get(inode);
    if (first !== undefined) {
      yield { entry: { ...tarInputOf(thing, name, "hardlink"), linkName: first } };
      return;
    }
    links.set(inode, name);
  }
  if (type === "file") yield* file(thing, name, breath);
  else {
    const entry = ifThere(() => ({
      ...tarInputOf(thing, name, type),
      linkName: type === "symlink" ? bytesToName(readlinkat(thing.dir, thing.base)) : "",
    }));
    if (entry !== undefined) yield { entry };
  }
}

/** What a thing says of itself in an archive, its content and where links lead apart. */
export function tarInputOf({ dir, base, stat }: Located, name: string, type: TarType): TarInput {
  const device = type === "character" || type === "block" ? stat.rdev : { major: 0, minor: 0 };
  return {
    name,
    type,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    mtime: stat.mtime,
    ...device,
    ...(type !== "hardlink" && { xattrs: readAttributes(dir, base) }),
  };
}

async function* file(thing: Located, name: string, breath: Breath): AsyncGenerator<TarOutput> {
  const fd = openFile(thing);
  if (fd === undefined) return;
  try {
    const now = fstatSync(fd);
    if (!now.isFile()) return;
    const entry = ifThere(() => ({ ...tarInputOf(thing, name, "file"), size: now.size }));
    if (entry === undefined) return;
    const sparse = now.size - now.blocks * 512 > LEAST_HOLES ? dataRanges(fd, now.size, MOST_RANGES) : undefined;
    if (sparse !== undefined) yield { entry: { ...entry, sparse }, body: pieces(fd, sparse) };
    else if (now.size > SMALL) yield { entry, body: pieces(fd, [{ offset: 0, length: now.size }]) };
    else yield { entry, ...(now.size > 0 && { body: [readWhole(fd, now.size)] }) };
    await breath.take();
  } finally {
    closeSync(fd);
  }
}

/** undefined if it is gone or has become something else, also for the moment: devices of a view can't be opened. */
function openFile({ dir, base }: Located): number | undefined {
  try {
    return ifThere(() => openat(dir, base, FILE));
  } catch (error) {
    if (!hasCode(error, "EACCES")) throw error;
    // A file's own refusal comes again, of whatever stood in its place there is none.
    return ifThere(() => openFileAt(dir, base));
  }
}

/**
 * Each piece is read while the one before it is on its way. Two of full size share the memory in turns: new memory for
 * each would have the collector run every few dozen of them.
 */
async function* pieces(fd: number, segments: readonly Segment[]): AsyncGenerator<Buffer> {
  let next: Promise<Buffer> | undefined;
  let [free, taken]: (Buffer | undefined)[] = [];
  try {
    for (const { offset, length } of segments) {
      for (let at = offset, end = offset + length; at < end; at += PIECE) {
        const size = Math.min(PIECE, end - at);
        // What is smaller may be gathered by who packs it, beyond the next piece.
        const bytes: Buffer = (size === PIECE ? free : undefined) ?? Buffer.allocUnsafeSlow(size);
        if (size === PIECE) [free, taken] = [taken, bytes];
        const ahead = readPiece(fd, at, bytes);
        // Its failure is heard when it is waited for, which may be never.
        ahead.catch(() => {});
        const ready = next;
        next = ahead;
        if (ready !== undefined) yield await ready;
      }
    }
    if (next !== undefined) yield await next;
  } finally {
    // The descriptor must not be closed, and its number be another file's, under a read.
    await next?.catch(() => {});
  }
}

async function readPiece(fd: number, offset: number, bytes: Buffer): Promise<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await readAsync(fd, bytes, at, bytes.length - at, offset + at);
    if (bytesRead === 0) return bytes.fill(0, at);
    at += bytesRead;
  }
  return bytes;
}

/** undefined if what was to be read is gone, or has become something else. */
function ifThere<T>(act: () => T): T | undefined {
  return unlessCode(["ENOENT", "ELOOP", "EINVAL", "ENXIO", "ENOTDIR"], act);
}
