import { closeSync, constants, type Dir, type Dirent, opendirSync, openSync } from "node:fs";
import { Breath } from "../base/breath.ts";
import { bytesToName } from "../base/byte-string.ts";
import { unlessCode } from "../base/errors.ts";
import { type FileStat, fstatat, openat } from "../kernel/path.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Each level has descriptors while it is walked: one who nests folders without end isn't followed for ever. */
const DEEPEST = 512;
const BATCH = 256;

interface Level {
  readonly fd: number;
  readonly entries: Dir;
}

export interface FolderSizes {
  /** Of the files, as their readers count them. */
  readonly bytes: number;
  /** Of the disk that they take: less where files have holes. */
  readonly taken: number;
}

/**
 * Sizes of what lies in a folder, each file counted once however many names it has; other file systems that are
 * mounted within are left out. Links that a container puts in the way are never followed, and what it removes meanwhile
 * is passed over; 0 if the folder itself is not there.
 */
export async function folderSizes(path: string): Promise<FolderSizes> {
  const breath = new Breath();
  const seen = new Set<string>();
  const levels: Level[] = [];
  let bytes = 0;
  let taken = 0;
  try {
    enter(levels, () => openSync(path, FOLDER));
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      await breath.take();
      const { fd, entries } = level;
      const entry = entries.readSync();
      if (entry === null) {
        close(levels.pop()!);
        continue;
      }
      const name = bytesToName((entry as unknown as Dirent<Buffer>).name);
      const stat = ifThere(() => fstatat(fd, name));
      if (stat === undefined || stat.isMountRoot) continue;
      const isFolder = (stat.mode & constants.S_IFMT) === constants.S_IFDIR;
      if (isFolder || isNew(stat, seen)) taken += stat.blocks * 512;
      else continue;
      if (!isFolder) bytes += stat.size;
      else if (levels.length < DEEPEST) enter(levels, () => openat(fd, name, FOLDER));
    }
    return { bytes, taken };
  } finally {
    levels.forEach(close);
  }
}

function enter(levels: Level[], open: () => number): void {
  const fd = ifThere(open);
  if (fd === undefined) return;
  try {
    // "buffer" is one of the encodings that names come in, which the types don't say: names are bytes.
    const encoding = "buffer" as BufferEncoding;
    levels.push({ fd, entries: opendirSync(`/proc/self/fd/${fd}`, { encoding, bufferSize: BATCH }) });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function close({ fd, entries }: Level): void {
  entries.closeSync();
  closeSync(fd);
}

function isNew({ nlink, dev, ino }: FileStat, seen: Set<string>): boolean {
  if (nlink === 1) return true;
  const inode = `${dev}/${ino}`;
  if (seen.has(inode)) return false;
  seen.add(inode);
  return true;
}

function ifThere<T>(act: () => T): T | undefined {
  return unlessCode(["ENOENT", "ENOTDIR", "ELOOP"], act);
}
