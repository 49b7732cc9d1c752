import { fstatSync, readSync } from "node:fs";

const MOST_PAGES = 1 << 20;
const MOST_HEADER = 64 << 20;
const MOST_PACKAGES = 100_000;
/** All headers together, so that one that is named again and again has an end. */
const MOST_BYTES = 1 << 30;

/** Reads pieces of one file that never changes; a piece that is not all there is damage. */
class Pieces {
  readonly #fd: number;
  readonly size: number;
  #read = 0;

  constructor(fd: number) {
    this.#fd = fd;
    this.size = fstatSync(fd).size;
  }

  at(offset: number, length: number): Buffer {
    if (offset + length > this.size) throw new Error("it is cut off");
    this.#read += length;
    if (this.#read > MOST_BYTES) throw new Error("it is too large");
    const bytes = Buffer.alloc(length);
    if (readSync(this.#fd, bytes, 0, length, offset) !== length) throw new Error("it is cut off");
    return bytes;
  }
}

const HASH_MAGIC = 0x0006_1561;
const PAGE = { hashUnsorted: 2, overflow: 7, hash: 13 } as const;
const ITEM = { inPage: 1, offPage: 3 } as const;
const PAGE_HEADER = 26;
const NO_PAGE = 0;

/**
 * The headers of rpm's `Packages` in Berkeley DB's hash format (its versions 8 to 10), of either byte order: every
 * second item of a hash page, in the page or in a chain of overflow pages. Throws for what is damaged.
 */
export function* berkeleyHeaders(fd: number): Generator<Buffer> {
  const file = new Pieces(fd);
  const meta = file.at(0, 72);
  const isLittle = meta.readUInt32LE(12) === HASH_MAGIC;
  if (!isLittle && meta.readUInt32BE(12) !== HASH_MAGIC) throw new Error("it is no hash of Berkeley DB");
  const short = (bytes: Buffer, at: number): number => (isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const long = (bytes: Buffer, at: number): number => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const pageSize = long(meta, 20);
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0)
    throw new Error("its pages have no size");
  const pages = Math.min(Math.floor(file.size / pageSize), long(meta, 32) + 1);
  if (pages > MOST_PAGES) throw new Error("it has too many pages");
  let found = 0;
  for (let number = 1; number < pages; number++) {
    const page = file.at(number * pageSize, pageSize);
    const type = page[25];
    if (type !== PAGE.hash && type !== PAGE.hashUnsorted) continue;
    const count = short(page, 20);
    if (PAGE_HEADER + count * 2 > pageSize) throw new Error("a page has more items than room");
    for (let item = 1; item < count; item += 2) {
      const at = short(page, PAGE_HEADER + item * 2);
      const end = short(page, PAGE_HEADER + (item - 1) * 2);
      if (at >= end || end > pageSize) throw new Error("an item lies outside its page");
      if (page[at] === ITEM.inPage) {
        yield page.subarray(at + 1, end);
      } else if (page[at] === ITEM.offPage && at + 12 <= end) {
        yield overflow(file, pageSize, { first: long(page, at + 4), length: long(page, at + 8), short, long });
      }
      if (++found > MOST_PACKAGES) return;
    }
  }
}

interface Chain {
  readonly first: number;
  readonly length: number;
  readonly short: (bytes: Buffer, at: number) => number;
  readonly long: (bytes: Buffer, at: number) => number;
}

/** A chain is as long as its header says: one in a ring ends there, too. */
function overflow(file: Pieces, pageSize: number, { first, length, short, long }: Chain): Buffer {
  if (length > MOST_HEADER || length > file.size) throw new Error("a header is too large");
  const parts: Buffer[] = [];
  let left = length;
  for (let number = first; left > 0; ) {
    if (number === NO_PAGE) throw new Error("a header is cut off");
    const page = file.at(number * pageSize, pageSize);
    const used = short(page, 22);
    if (page[25] !== PAGE.overflow || used === 0 || PAGE_HEADER + used > pageSize)
      throw new Error("a header is damaged");
    const part = page.subarray(PAGE_HEADER, PAGE_HEADER + Math.min(used, left));
    parts.push(part);
    left -= part.length;
    number = long(page, 16);
  }
  return Buffer.concat(parts);
}

const NDB_MAGIC = 0x506d_7052;
const SLOT_MAGIC = 0x746f_6c53;
const BLOB_MAGIC = 0x5362_6c42;
const NDB_PAGE = 4096;
const SLOT_BYTES = 16;
const BLOCK_BYTES = 16;
const FIRST_SLOT = 2;
const NDB_VERSION = 0;

/** The headers of rpm's `Packages.db` in its own format: pages of slots, each the place of a package's blob. */
export function* ndbHeaders(fd: number): Generator<Buffer> {
  const file = new Pieces(fd);
  const head = file.at(0, 32);
  if (head.readUInt32LE(0) !== NDB_MAGIC) throw new Error("it is no database of rpm's own format");
  if (head.readUInt32LE(4) !== NDB_VERSION) throw new Error("it is of another version");
  const slotPages = head.readUInt32LE(12);
  if (slotPages > MOST_PAGES || slotPages * NDB_PAGE > file.size) throw new Error("it is cut off");
  let found = 0;
  for (let number = 0; number < slotPages; number++) {
    const page = file.at(number * NDB_PAGE, NDB_PAGE);
    for (let at = number === 0 ? FIRST_SLOT * SLOT_BYTES : 0; at < NDB_PAGE; at += SLOT_BYTES) {
      if (page.readUInt32LE(at) !== SLOT_MAGIC) throw new Error("a slot is damaged");
      const [index, block] = [page.readUInt32LE(at + 4), page.readUInt32LE(at + 8)];
      // An empty one.
      if (block === 0) continue;
      const blob = file.at(block * BLOCK_BYTES, 16);
      const length = blob.readUInt32LE(12);
      if (blob.readUInt32LE(0) !== BLOB_MAGIC || blob.readUInt32LE(4) !== index)
        throw new Error("a package is damaged");
      if (length > MOST_HEADER) throw new Error("a header is too large");
      yield file.at(block * BLOCK_BYTES + 16, length);
      if (++found > MOST_PACKAGES) return;
    }
  }
}
