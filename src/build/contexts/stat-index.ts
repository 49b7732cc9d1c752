import { createHash } from "node:crypto";
import { Breath } from "../../base/breath.ts";
import { bytesToName, nameToBytes } from "../../base/byte-string.ts";
import { GantryError } from "../../base/errors.ts";
import type { ContentIndex } from "../root.ts";
import type { FileStat } from "../session.ts";
import { type FileKind, kindOf } from "./file-kind.ts";

/**
 * What a folder holds, in one piece of memory and of disk: a record a file, in the order of a walk (folders before what
 * is in them, names by their bytes). A hundred thousand of them are compared in a tenth of a second and kept without an
 * object for each.
 *
 *     0  length of the record     16  time of change   40  length of the path     48  digest of the bytes
 *     4  mode, as Go has it       24  device           42  length of the link     80  path, then the link
 *     8  size                     32  attributes       44  whether it has a digest
 */
const HEAD = 80;
const AT = {
  mode: 4,
  size: 8,
  time: 16,
  major: 24,
  minor: 28,
  attributes: 32,
  path: 40,
  link: 42,
  known: 44,
  digest: 48,
} as const;
const DIGEST_BYTES = 32;
const BATCH = 1 << 16;
const LONGEST_NAME = 4096;
const SLASH = 0x2f;
/** So many records are looked at in a millisecond or less. */
const LOOKED_AT = 4096;

/** Owners are left out: a client's own have no meaning here. */
export type IndexedStat = Omit<FileStat, "uid" | "gid" | "xattrs"> & { readonly offset: number };

/** An index that doesn't change any more. */
export class StatIndex implements ContentIndex {
  readonly bytes: Buffer;
  #offsets: Uint32Array | undefined;
  #last = -1;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Where the record after this one begins. */
  after(offset: number): number {
    return offset + this.bytes.readUInt32LE(offset);
  }

  at(offset: number): IndexedStat {
    const { bytes } = this;
    const from = offset + HEAD;
    const link = from + bytes.readUInt16LE(offset + AT.path);
    return {
      offset,
      path: bytesToName(bytes, from, link),
      mode: bytes.readUInt32LE(offset + AT.mode),
      size: bytes.readDoubleLE(offset + AT.size),
      modTime: bytes.readBigInt64LE(offset + AT.time),
      linkname: bytesToName(bytes, link, link + bytes.readUInt16LE(offset + AT.link)),
      devmajor: bytes.readUInt32LE(offset + AT.major),
      devminor: bytes.readUInt32LE(offset + AT.minor),
    };
  }

  *[Symbol.iterator](): Generator<IndexedStat> {
    for (let offset = 0; offset < this.bytes.length; offset = this.after(offset)) yield this.at(offset);
  }

  /** What the record at an offset is of. */
  kindAt(offset: number): FileKind {
    return kindOf(this.bytes.readUInt32LE(offset + AT.mode));
  }

  /** Whether the record at an offset is of something below a folder. */
  isBelow(offset: number, folder: Buffer): boolean {
    const { bytes } = this;
    const { length } = folder;
    const from = offset + HEAD;
    const isLonger = bytes.readUInt16LE(offset + AT.path) > length && bytes[from + length] === SLASH;
    return isLonger && bytes.compare(folder, 0, length, from, from + length) === 0;
  }

  /** Its path's own bytes. */
  pathAt(offset: number): Buffer {
    const from = offset + HEAD;
    return this.bytes.subarray(from, from + this.bytes.readUInt16LE(offset + AT.path));
  }

  /** Bytes of all files, those with several names once. */
  async size(): Promise<number> {
    const { bytes } = this;
    const breath = new Breath();
    let size = 0;
    let count = 0;
    for (let offset = 0; offset < bytes.length; offset = this.after(offset)) {
      if (++count % LOOKED_AT === 0) await breath.take();
      const isFile = this.kindAt(offset) === "file";
      if (isFile && bytes.readUInt16LE(offset + AT.link) === 0) size += bytes.readDoubleLE(offset + AT.size);
    }
    return size;
  }

  find(path: string): IndexedStat | undefined {
    const offset = this.#find(path);
    return offset === undefined ? undefined : this.at(offset);
  }

  digest(path: string): string | undefined {
    let offset = this.#find(path);
    if (offset === undefined) return undefined;
    const { bytes } = this;
    if (bytes.readUInt16LE(offset + AT.link) > 0 && kindOf(bytes.readUInt32LE(offset + AT.mode)) === "file") {
      offset = this.#find(linkTarget(this.at(offset).linkname));
    }
    if (offset === undefined || bytes[offset + AT.known] !== 1) return undefined;
    return `sha256:${bytes.toString("hex", offset + AT.digest, offset + AT.digest + DIGEST_BYTES)}`;
  }

  isPlain(path: string): boolean {
    const offset = this.#find(path);
    return offset !== undefined && this.bytes.readBigUInt64LE(offset + AT.attributes) === 0n;
  }

  async contents(folder: string, least: number): Promise<string | undefined> {
    const { bytes } = this;
    const above = folder === "" ? undefined : this.#find(folder);
    if (folder !== "" && above === undefined) return undefined;
    const hash = createHash("sha256");
    const prefix = nameToBytes(folder === "" ? "" : `${folder}/`);
    let batch = Buffer.allocUnsafe(BATCH);
    let batched = 0;
    let count = 0;
    const breath = new Breath();
    for (let offset = above === undefined ? 0 : this.after(above); offset < bytes.length; count++) {
      const length = bytes.readUInt32LE(offset);
      // A shorter path may be the last of all: there is nothing behind it to compare.
      if (bytes.readUInt16LE(offset + AT.path) < prefix.length) break;
      if (bytes.compare(prefix, 0, prefix.length, offset + HEAD, offset + HEAD + prefix.length) !== 0) break;
      const isFile = kindOf(bytes.readUInt32LE(offset + AT.mode)) === "file";
      // A further name of a file that may be anywhere.
      if (isFile && (bytes[offset + AT.known] !== 1 || bytes.readUInt16LE(offset + AT.link) > 0)) return undefined;
      if (batched + length > batch.length) {
        hash.update(batch.subarray(0, batched));
        if (breath.isDue) await breath.take();
        batch = Buffer.allocUnsafe(Math.max(BATCH, length));
        batched = 0;
      }
      bytes.copy(batch, batched, offset, offset + length);
      // Of a folder the size says nothing.
      batch.fill(0, batched + (isFile ? AT.time : AT.size), batched + AT.major);
      batched += length;
      offset += length;
    }
    if (count < least) return undefined;
    return hash.update(batch.subarray(0, batched)).digest("hex");
  }

  #find(path: string): number | undefined {
    const wanted = nameToBytes(path);
    this.#offsets ??= offsetsOf(this.bytes);
    const offsets = this.#offsets;
    // Whoever walks the folder asks for one after the other, files alone.
    for (let next = Math.max(this.#last, 0); next < Math.min(this.#last + 4, offsets.length); next++) {
      if (comparePaths(this.bytes, offsets[next]!, wanted) === 0) return this.#found(next);
    }
    let low = 0;
    let high = offsets.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const order = comparePaths(this.bytes, offsets[middle]!, wanted);
      if (order === 0) return this.#found(middle);
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  #found(which: number): number {
    this.#last = which;
    return this.#offsets![which]!;
  }
}

/** An index that grows while a client tells its files. */
export class IndexWriter {
  #bytes: Buffer;
  #length = 0;
  readonly #former: StatIndex;
  /** Records of the former index that are the same here and not copied yet. */
  #runStart = 0;
  #runEnd = 0;

  constructor(former: StatIndex) {
    this.#former = former;
    this.#bytes = Buffer.allocUnsafe(Math.max(4096, former.bytes.length >>> 3));
  }

  /** Takes the record of the former index as it is, digest and all. */
  keep(offset: number): void {
    if (offset !== this.#runEnd || this.#runStart === this.#runEnd) {
      this.#flush();
      this.#runStart = offset;
    }
    this.#runEnd = this.#former.after(offset);
  }

  /** Adds what `encode` made last; returns its offset. */
  add({ scratch, length }: RecordEncoder): number {
    this.#flush();
    this.#reserve(length);
    const offset = this.#length;
    scratch.copy(this.#bytes, offset, 0, length);
    this.#length += length;
    return offset;
  }

  setDigest(offset: number, digest: Buffer): void {
    digest.copy(this.#bytes, offset + AT.digest);
    this.#bytes[offset + AT.known] = 1;
  }

  finish(): StatIndex {
    const { bytes } = this.#former;
    if (this.#length === 0 && this.#runStart === 0 && this.#runEnd === bytes.length) return this.#former;
    this.#flush();
    return new StatIndex(this.#bytes.subarray(0, this.#length));
  }

  #flush(): void {
    const length = this.#runEnd - this.#runStart;
    if (length === 0) return;
    this.#reserve(length);
    this.#former.bytes.copy(this.#bytes, this.#length, this.#runStart, this.#runEnd);
    this.#length += length;
    this.#runStart = 0;
    this.#runEnd = 0;
  }

  #reserve(length: number): void {
    if (this.#length + length <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#length + length));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

/** Writes one file's record, without its digest, into memory that is used again for the next. */
export class RecordEncoder {
  readonly scratch: Buffer = Buffer.alloc(HEAD + 2 * LONGEST_NAME);
  length = 0;
  pathEnd = HEAD;
  readonly #before = Buffer.alloc(LONGEST_NAME);
  #beforeLength = 0;

  /** Throws `invalid` for names longer than the kernel's, and for a path that doesn't come after the one before. */
  encode(stat: FileStat): void {
    const { scratch } = this;
    this.pathEnd = HEAD + this.#write(stat.path, HEAD);
    if (compareNames(this.#before, 0, this.#beforeLength, scratch, HEAD, this.pathEnd) >= 0) {
      throw new GantryError("invalid", `cannot take ${JSON.stringify(stat.path)} of the context: it is out of order`);
    }
    this.#beforeLength = scratch.copy(this.#before, 0, HEAD, this.pathEnd);
    this.length = this.pathEnd + this.#write(stat.linkname, this.pathEnd);
    scratch.writeUInt32LE(this.length, 0);
    scratch.writeUInt32LE(stat.mode >>> 0, AT.mode);
    scratch.writeDoubleLE(stat.size, AT.size);
    scratch.writeBigInt64LE(stat.modTime, AT.time);
    scratch.writeUInt32LE(stat.devmajor >>> 0, AT.major);
    scratch.writeUInt32LE(stat.devminor >>> 0, AT.minor);
    if (stat.xattrs.size === 0) scratch.fill(0, AT.attributes, AT.path);
    else digestOf(stat.xattrs).copy(scratch, AT.attributes, 0, AT.path - AT.attributes);
    scratch.writeUInt16LE(this.pathEnd - HEAD, AT.path);
    scratch.writeUInt16LE(this.length - this.pathEnd, AT.link);
    scratch.fill(0, AT.known, HEAD);
  }

  /** Whether the record of an index says the same, but for the digest. */
  equals(index: StatIndex, offset: number): boolean {
    const { bytes } = index;
    const { length, scratch } = this;
    return (
      bytes.readUInt32LE(offset) === length &&
      scratch.compare(bytes, offset + AT.mode, offset + AT.known, AT.mode, AT.known) === 0 &&
      scratch.compare(bytes, offset + HEAD, offset + length, HEAD, length) === 0
    );
  }

  /** The order of the record of an index against this one: below zero if that comes first. */
  compare(index: StatIndex, offset: number): number {
    return comparePaths(index.bytes, offset, this.scratch, HEAD, this.pathEnd);
  }

  #write(name: string, at: number): number {
    // Most names are short: none of them has more bytes than that.
    if (name.length * 3 >= LONGEST_NAME && Buffer.byteLength(name) >= LONGEST_NAME) {
      throw new GantryError("invalid", "a name in the context is longer than 4095 bytes");
    }
    return name.isWellFormed()
      ? this.scratch.write(name, at, LONGEST_NAME, "utf8")
      : nameToBytes(name).copy(this.scratch, at, 0, LONGEST_NAME);
  }
}

/** What a hard link's `linkname` means. */
export function linkTarget(linkname: string): string {
  return linkname.replace(/^\/+/, "");
}

/** Folders before what is in them: a slash comes before every other byte. */
function comparePaths(index: Buffer, offset: number, other: Buffer, from = 0, end: number = other.length): number {
  const start = offset + HEAD;
  return compareNames(index, start, start + index.readUInt16LE(offset + AT.path), other, from, end);
}

function compareNames(
  left: Buffer,
  leftFrom: number,
  leftEnd: number,
  right: Buffer,
  rightFrom: number,
  rightEnd: number,
): number {
  const shorter = Math.min(leftEnd - leftFrom, rightEnd - rightFrom);
  for (let at = 0; at < shorter; at++) {
    const one = left[leftFrom + at]!;
    const two = right[rightFrom + at]!;
    if (one !== two) return one === SLASH ? -1 : two === SLASH ? 1 : one - two;
  }
  return leftEnd - leftFrom - (rightEnd - rightFrom);
}

function offsetsOf(bytes: Buffer): Uint32Array {
  let offsets = new Uint32Array(Math.max(16, Math.ceil(bytes.length / 100)));
  let count = 0;
  for (let offset = 0; offset < bytes.length; offset += bytes.readUInt32LE(offset)) {
    if (count === offsets.length) {
      const grown = new Uint32Array(2 * count);
      grown.set(offsets);
      offsets = grown;
    }
    offsets[count++] = offset;
  }
  return offsets.subarray(0, count);
}

function digestOf(xattrs: ReadonlyMap<string, Uint8Array>): Buffer {
  const hash = createHash("sha256");
  for (const [name, value] of [...xattrs].sort(([one], [other]) => (one < other ? -1 : 1))) {
    hash.update(`${name.length} ${value.length} ${name}`).update(value);
  }
  return hash.digest();
}
