import { close, closeSync, constants, fstatSync, openSync, read } from "node:fs";
import { opendir } from "node:fs/promises";
import { promisify } from "node:util";
import { Breath } from "../../base/breath.ts";
import { bytesToName } from "../../base/byte-string.ts";
import { errnoWords } from "../../base/errno-words.ts";
import { GantryError, hasCode } from "../../base/errors.ts";
import { PatternMatcher } from "../../dockerfile/pattern-matcher.ts";
import { type FileStat, fstatat, O_PATH, openInRoot, readlinkat, statIfThere } from "../../kernel/path.ts";

const readAt = promisify(read);
const closeAside = promisify(close);
const PIECE = 1 << 20;
const LONGEST_PATH = 4096;
const OPEN = constants.O_RDONLY | constants.O_NONBLOCK;

/** What is known of a file without reading it. */
export interface RootEntry {
  /** The last of its names. */
  readonly name: string;
  readonly stat: FileStat;
  /** What a link says. */
  readonly leads: string | undefined;
}

/** Bytes of a file; `length` 0 is to its end. */
export interface FileRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * A regular file's bytes, found inside a root by the kernel: links lead nowhere outside. Errors in Go's words, with the
 * path as it was asked for; `invalid` for what is longer than `limit`.
 */
export async function readRootFile(
  root: string | number,
  path: string,
  { length, offset }: FileRange,
  limit: number,
): Promise<Uint8Array> {
  const fd = found(root, path, O_PATH, "open");
  let opened: number | undefined;
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new GantryError("invalid", `${shown(path)} is not a regular file`);
    opened = openSync(`/proc/self/fd/${fd}`, OPEN);
    const left = Math.max(0, stat.size - offset);
    const size = length === 0 ? left : Math.min(length, left);
    if (size > limit) {
      const why = `it has ${size} bytes of which at most ${limit} are told at once: read it in ranges`;
      throw new GantryError("invalid", `cannot read ${shown(path)}: ${why}`);
    }
    const bytes = Buffer.allocUnsafe(size);
    let at = 0;
    while (at < size) {
      const { bytesRead } = await readAt(opened, bytes, at, Math.min(PIECE, size - at), offset + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return bytes.subarray(0, at);
  } finally {
    closeSync(fd);
    if (opened !== undefined) await closeAside(opened);
  }
}

/** What is at a path, links that lead to it followed; of one that is a link itself what it leads to. */
export function statRootFile(root: string | number, path: string, followLast = true): RootEntry {
  const fd = found(root, path, followLast ? O_PATH : O_PATH | constants.O_NOFOLLOW, "lstat");
  try {
    return { name: path.split("/").findLast((part) => part !== "") ?? "", stat: fstatat(fd, ""), leads: undefined };
  } finally {
    closeSync(fd);
  }
}

export interface ListLimits {
  readonly entries: number;
  /** Of their names, and of what links say. */
  readonly bytes: number;
}

/** What is in a folder, by name; with a pattern of .dockerignore's kind what that matches. `invalid` for more than `most`. */
export async function listRootFolder(
  root: string | number,
  path: string,
  pattern: string,
  most: ListLimits,
): Promise<readonly RootEntry[]> {
  const matcher = pattern === "" ? undefined : new PatternMatcher([pattern]);
  const fd = found(root, path, constants.O_RDONLY | constants.O_DIRECTORY, "open");
  try {
    const names: string[] = [];
    for await (const { name } of await opendir(`/proc/self/fd/${fd}`, { encoding: "buffer" as BufferEncoding })) {
      if (names.length === most.entries) {
        throw new GantryError("invalid", `cannot list ${shown(path)}: it has more than ${most.entries} entries`);
      }
      names.push(bytesToName(name as unknown as Buffer));
    }
    names.sort((a, b) => (a < b ? -1 : 1));
    const entries: RootEntry[] = [];
    let bytes = 0;
    const breath = new Breath();
    for (const name of names) {
      if (breath.isDue) await breath.take();
      if (matcher?.matches(name) === false) continue;
      // It may have gone since.
      const stat = statIfThere(fd, name);
      if (stat === undefined) continue;
      const leads = leadsOf(fd, name, stat);
      bytes += Buffer.byteLength(name) + Buffer.byteLength(leads ?? "");
      if (bytes > most.bytes) {
        const why = `its names and what links lead to have more than ${most.bytes} bytes`;
        throw new GantryError("invalid", `cannot list ${shown(path)}: ${why}`);
      }
      entries.push({ name, stat, leads });
    }
    return entries;
  } finally {
    closeSync(fd);
  }
}

function leadsOf(dir: number, name: string, { mode }: FileStat): string | undefined {
  if ((mode & constants.S_IFMT) !== constants.S_IFLNK) return undefined;
  try {
    return bytesToName(readlinkat(dir, name));
  } catch (error) {
    if (hasCode(error, "ENOENT", "EINVAL")) return undefined;
    throw error;
  }
}

function found(root: string | number, path: string, flags: number, what: string): number {
  if (path.includes("\0")) throw new GantryError("invalid", `${what} ${shown(path)}: invalid argument`);
  if (Buffer.byteLength(path) >= LONGEST_PATH) {
    throw new GantryError("invalid", `${what} ${shown(path)}: file name too long`);
  }
  try {
    return openInRoot(root, path, flags);
  } catch (error) {
    if (!hasCode(error, "ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EACCES")) throw error;
    const kind = hasCode(error, "ENOENT", "ENOTDIR") ? "not-found" : "invalid";
    throw new GantryError(kind, `${what} ${shown(path)}: ${errnoWords(error)}`, { cause: error });
  }
}

function shown(path: string): string {
  return path.length > 200 ? `${path.slice(0, 200)}…` : path.replaceAll("\0", "\\0");
}
