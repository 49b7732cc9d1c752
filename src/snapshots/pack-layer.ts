import { closeSync, constants, fstatSync, readSync } from "node:fs";
import { Breath } from "../base/breath.ts";
import { bytesToName } from "../base/byte-string.ts";
import { GantryError, unlessCode } from "../base/errors.ts";
import { type FileStat, openat, readlinkat } from "../kernel/path.ts";
import { hasXattrs } from "../kernel/xattr.ts";
import { padding } from "../oci/tar/entry.ts";
import { tarTypeOf } from "../oci/tar/file-type.ts";
import { encodeHeader, type PlainFile, type TarInput, writePlainHeader } from "../oci/tar/writer.ts";
import { type Change, LONGEST_PATH, tooDeep } from "./changes.ts";
import { tarInputOf } from "./pack-tree.ts";

/** Of the pieces that come out. */
const PIECE = 1 << 18;
const BLOCK = 512;
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
const GONE = ["ENOENT", "EINVAL", "ELOOP"];
const REPLACED = [...GONE, "EACCES", "ENXIO"];
/** Whoever extracts the layer again does it below a root of its own, whose path counts too. */
const LONGEST_MEMBER = LONGEST_PATH - 255;

export interface PackOptions {
  /** Nobody writes to it: what was seen of a file is so. Else devices can't be opened where the changes are. */
  readonly isStill: boolean;
  /** A piece is done with when the next is asked for: all are the same memory. */
  readonly oneByOne?: boolean;
}

/**
 * Changes as the tar of a layer (image-spec, layer.md). Sockets are left out, as a tar can't hold them; times are whole
 * seconds, as those of other builders' layers are. Small files are read to where they go in the archive, at once.
 */
export async function* packLayer(changes: Iterable<Change>, options: PackOptions): AsyncGenerator<Buffer> {
  const breath = new Breath();
  const archive = new Archive(options.oneByOne === true);
  const links = new Map<string, string>();
  for (const change of changes) {
    // So much any header of one block takes.
    if (archive.room < BLOCK) yield archive.take();
    if (breath.isDue) await breath.take();
    const { stat, path } = change;
    if (path.length > LONGEST_MEMBER) throw tooDeep("make a layer", path);
    if (stat === undefined) {
      const mark = encodeHeader({ name: path, type: "file", mode: 0 });
      if (archive.room < mark.length) yield archive.take();
      archive.add(mark);
      continue;
    }
    const type = tarTypeOf(stat.mode);
    if (type === undefined) continue;
    const found = { ...change, stat };
    let linkName: string | undefined = "";
    let isLink = false;
    if (stat.nlink > 1 && type !== "directory") {
      const inode = `${stat.dev}/${stat.ino}`;
      const first = links.get(inode);
      if (first === undefined) links.set(inode, path);
      else {
        linkName = first;
        isLink = true;
      }
    }
    if (type === "file" && !isLink) {
      const begun = openChange(found, options.isStill);
      if (begun === undefined) continue;
      const { fd, size } = begun;
      try {
        const header = begun.header ?? headerOf(found, size, archive);
        if (header !== undefined) {
          if (archive.room < header.length) yield archive.take();
          archive.add(header);
        }
        for (let at = 0; at < size; ) {
          if (archive.room === 0) yield archive.take();
          const count = archive.read(fd, at, size - at);
          if (count === 0) throw new GantryError("conflict", `cannot archive ${path}: it became shorter meanwhile`);
          at += count;
          if (at < size && breath.isDue) await breath.take();
        }
        if (archive.room < padding(size)) yield archive.take();
        archive.zeros(padding(size));
      } finally {
        closeSync(fd);
      }
      continue;
    }
    if (type === "symlink" && !isLink) linkName = ifThere(() => bytesToName(readlinkat(change.dir, change.base)));
    if (linkName === undefined) continue;
    const header = encodeHeader(wholeSeconds({ ...tarInputOf(found, path, isLink ? "hardlink" : type), linkName }));
    if (archive.room < header.length) yield archive.take();
    archive.add(header);
  }
  if (archive.room < 2 * BLOCK) yield archive.take();
  archive.zeros(2 * BLOCK);
  yield archive.take();
}

/** undefined if a running container took it away, or put something else there. */
function ifThere<T>(act: () => T): T | undefined {
  return unlessCode(GONE, act);
}

function wholeSeconds(input: TarInput): TarInput {
  return input.mtime === undefined ? input : { ...input, mtime: { seconds: input.mtime.seconds, nanoseconds: 0 } };
}

interface Located extends Change {
  readonly stat: FileStat;
}

interface Begun {
  readonly fd: number;
  readonly size: number;
  /** Of a file with attributes. */
  readonly header: Buffer | undefined;
}

/** undefined if it was written where it goes. */
function headerOf(change: Located, size: number, archive: Archive): Buffer | undefined {
  const { gid, mode, mtime, uid } = change.stat;
  const plain = { name: change.path, mode: mode & 0o7777, uid, gid, size, mtime: mtime.seconds };
  if (archive.plainHeader(plain)) return undefined;
  return encodeHeader(wholeSeconds({ ...tarInputOf(change, change.path, "file"), size }));
}

/** undefined if it is gone. */
function openChange(change: Located, isStill: boolean): Begun | undefined {
  const { base, dir, stat } = change;
  // In a running container something else may have taken the name: links aren't followed, devices can't be opened where
  // it is read from, and FIFOs lead nowhere.
  const fd = unlessCode(isStill ? GONE : REPLACED, () => openat(dir, base, FILE));
  if (fd === undefined) return undefined;
  try {
    let { size } = stat;
    if (!isStill) {
      const now = fstatSync(fd);
      if (!now.isFile()) {
        closeSync(fd);
        return undefined;
      }
      size = now.size;
    }
    if (!hasXattrs(fd)) return { fd, size, header: undefined };
    return { fd, size, header: encodeHeader(wholeSeconds({ ...tarInputOf(change, change.path, "file"), size })) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Pieces of an archive, filled one after the other. */
class Archive {
  readonly #isReused: boolean;
  #piece = Buffer.allocUnsafeSlow(PIECE);
  #at = 0;

  constructor(isReused: boolean) {
    this.#isReused = isReused;
  }

  get room(): number {
    return PIECE - this.#at;
  }

  /** What was filled so far; the next piece is empty. */
  take(): Buffer {
    const whole = this.#piece.subarray(0, this.#at);
    if (!this.#isReused) this.#piece = Buffer.allocUnsafeSlow(PIECE);
    this.#at = 0;
    return whole;
  }

  add(bytes: Buffer): void {
    bytes.copy(this.#piece, this.#at);
    this.#at += bytes.length;
  }

  zeros(count: number): void {
    this.#piece.fill(0, this.#at, this.#at + count);
    this.#at += count;
  }

  /** False if it takes more than one block. */
  plainHeader(file: PlainFile): boolean {
    if (!writePlainHeader(this.#piece, this.#at, file)) return false;
    this.#at += BLOCK;
    return true;
  }

  /** As much of a file as there is room for. */
  read(fd: number, at: number, length: number): number {
    const count = readSync(fd, this.#piece, this.#at, Math.min(length, this.room), at);
    this.#at += count;
    return count;
  }
}
