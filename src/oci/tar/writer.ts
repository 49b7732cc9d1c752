import { nameToBytes } from "../../base/byte-string.ts";
import { GantryError } from "../../base/errors.ts";
import { BLOCK, NO_XATTRS, padding, storedSize, type TarEntry, type TarType } from "./entry.ts";
import { formatPax, formatTime, XATTR_PREFIX } from "./pax.ts";

/** What a writer must be told; the rest is 0 or empty. */
export type TarInput = Partial<TarEntry> & Pick<TarEntry, "name" | "type">;

/** `body` gives the bytes that the archive holds: all of a file, or of a sparse one its segments alone. */
export interface TarOutput {
  readonly entry: TarInput;
  readonly body?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

const FLAGS: Record<TarType, string> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  character: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};
const ZEROS = Buffer.alloc(2 * BLOCK);
const BATCH = 1 << 16;

/**
 * An archive of these members with its end mark: ustar where that says everything, PAX headers where not. Fails if a
 * body is longer or shorter than its entry says.
 */
export async function* writeTar(members: AsyncIterable<TarOutput> | Iterable<TarOutput>): AsyncGenerator<Buffer> {
  let batch: Uint8Array[] = [];
  let batched = 0;
  const add = (bytes: Uint8Array): void => {
    batch.push(bytes);
    batched += bytes.length;
  };
  const take = (): Buffer => {
    const whole = Buffer.concat(batch, batched);
    batch = [];
    batched = 0;
    return whole;
  };
  for await (const { entry, body } of members) {
    add(encodeHeader(entry));
    const size = entry.type === "file" ? storedSize({ size: entry.size ?? 0, sparse: entry.sparse }) : 0;
    let left = size;
    for await (const chunk of body ?? []) {
      left -= chunk.length;
      if (left < 0) throw new GantryError("internal", `archive/tar: write too long: ${entry.name}`);
      if (chunk.length >= BATCH) {
        // Large pieces go as they are: copying them would cost more than a call does.
        if (batched > 0) yield take();
        yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
        continue;
      }
      add(chunk);
      if (batched >= BATCH) yield take();
    }
    if (left > 0) throw new GantryError("internal", `archive/tar: missed writing ${left} bytes: ${entry.name}`);
    if (padding(size) > 0) add(ZEROS.subarray(0, padding(size)));
    if (batched >= BATCH) yield take();
  }
  add(ZEROS);
  yield take();
}

/** The header blocks of one member, extended ones and a sparse map included; its data comes next. */
export function encodeHeader(input: TarInput): Buffer {
  const entry = complete(input);
  const map = entry.sparse === undefined ? undefined : encodeMap(entry);
  const stored = storedSize(entry) + (map?.length ?? 0);
  const records = recordsOf(entry, stored);
  const header = encodeBlock({ ...entry, size: stored }, FLAGS[entry.type]);
  if (records.length === 0) return header;
  const pax = formatPax(records);
  const extended = encodeBlock(
    { ...complete({ name: "PaxHeaders/entry", type: "file", mode: 0o644 }), size: pax.length },
    "x",
  );
  return Buffer.concat([extended, pax, ZEROS.subarray(0, padding(pax.length)), header, map ?? Buffer.alloc(0)]);
}

function complete(input: TarInput): TarEntry {
  const folder = input.type === "directory" && !input.name.endsWith("/");
  return {
    linkName: "",
    mode: input.type === "directory" ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    userName: "",
    groupName: "",
    mtime: { seconds: 0, nanoseconds: 0 },
    major: 0,
    minor: 0,
    xattrs: NO_XATTRS,
    ...input,
    size: input.type === "file" ? (input.size ?? 0) : 0,
    name: folder ? `${input.name}/` : input.name,
  };
}

function encodeMap(entry: TarEntry): Buffer {
  const segments = [...(entry.sparse ?? [])];
  // A file that ends in a hole ends its map with an empty segment, as GNU tar writes it.
  const end = segments.at(-1);
  if (end === undefined || end.offset + end.length < entry.size) segments.push({ offset: entry.size, length: 0 });
  const text = `${segments.length}\n${segments.map(({ offset, length }) => `${offset}\n${length}\n`).join("")}`;
  return Buffer.concat([Buffer.from(text), ZEROS.subarray(0, padding(text.length))]);
}

function recordsOf(entry: TarEntry, stored: number): [string, string | Uint8Array][] {
  const records: [string, string | Uint8Array][] = [];
  if (entry.sparse !== undefined)
    records.push(
      ["GNU.sparse.major", "1"],
      ["GNU.sparse.minor", "0"],
      ["GNU.sparse.name", entry.name],
      ["GNU.sparse.realsize", String(entry.size)],
    );
  if (splitName(entry.name) === undefined) records.push(["path", entry.name]);
  if (!isPlain(entry.linkName, 100)) records.push(["linkpath", entry.linkName]);
  if (!isPlain(entry.userName, 32)) records.push(["uname", entry.userName]);
  if (!isPlain(entry.groupName, 32)) records.push(["gname", entry.groupName]);
  if (stored >= 8 ** 11) records.push(["size", String(stored)]);
  if (entry.uid >= 8 ** 7) records.push(["uid", String(entry.uid)]);
  if (entry.gid >= 8 ** 7) records.push(["gid", String(entry.gid)]);
  const { seconds, nanoseconds } = entry.mtime;
  if (nanoseconds !== 0 || seconds < 0 || seconds >= 8 ** 11) records.push(["mtime", formatTime(entry.mtime)]);
  for (const [name, value] of [...entry.xattrs].sort(([a], [b]) => (a < b ? -1 : 1)))
    records.push([XATTR_PREFIX + name, value]);
  return records;
}

/** ASCII that fits. Anything else goes to a PAX record, whose encoding every reader agrees on. */
function isPlain(text: string, length: number): boolean {
  return text.length <= length && /^[\x01-\x7f]*$/.test(text);
}

/** Where to cut a name for ustar's two fields, if it can be. */
function splitName(name: string): { readonly prefix: string; readonly rest: string } | undefined {
  if (isPlain(name, 100)) return { prefix: "", rest: name };
  if (!isPlain(name, 256)) return undefined;
  const slash = name.lastIndexOf("/", Math.min(155, name.length - 2));
  if (slash <= 0 || name.length - slash - 1 > 100) return undefined;
  return { prefix: name.slice(0, slash), rest: name.slice(slash + 1) };
}

function encodeBlock(entry: TarEntry, flag: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  const split = splitName(entry.name) ?? { prefix: "", rest: entry.name };
  text(block, 0, 100, split.rest);
  octal(block, 100, 8, entry.mode);
  octal(block, 108, 8, entry.uid);
  octal(block, 116, 8, entry.gid);
  octal(block, 124, 12, entry.size);
  octal(block, 136, 12, Math.max(entry.mtime.seconds, 0));
  block.write(flag, 156, "latin1");
  text(block, 157, 100, entry.linkName);
  block.write("ustar\x0000", 257, "latin1");
  text(block, 265, 32, entry.userName);
  text(block, 297, 32, entry.groupName);
  octal(block, 329, 8, entry.major);
  octal(block, 337, 8, entry.minor);
  text(block, 345, 155, split.prefix);
  seal(block, 0);
  return block;
}

/** A regular file of which a header's one block says everything. */
export interface PlainFile {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Whole Unix seconds. */
  readonly mtime: number;
}

const LARGEST_ID = 8 ** 7;
const LARGEST_NUMBER = 8 ** 11;

/**
 * Writes the header of a plain file where it goes, the same bytes that `encodeHeader` gives: for archives of many small
 * ones. False, with nothing written, if it takes more than one block.
 */
export function writePlainHeader(into: Buffer, at: number, file: PlainFile): boolean {
  const { gid, mtime, name, size, uid } = file;
  if (uid >= LARGEST_ID || gid >= LARGEST_ID || size >= LARGEST_NUMBER || mtime < 0 || mtime >= LARGEST_NUMBER)
    return false;
  if (name.length > 100) return false;
  for (let index = 0; index < name.length; index++) {
    const code = name.charCodeAt(index);
    if (code === 0 || code > 0x7f) return false;
  }
  into.fill(0, at, at + BLOCK);
  into.write(name, at, "latin1");
  octal(into, at + 100, 8, file.mode);
  octal(into, at + 108, 8, uid);
  octal(into, at + 116, 8, gid);
  octal(into, at + 124, 12, size);
  octal(into, at + 136, 12, mtime);
  into[at + 156] = ZERO;
  into.write("ustar\x0000", at + 257, "latin1");
  octal(into, at + 329, 8, 0);
  octal(into, at + 337, 8, 0);
  seal(into, at);
  return true;
}

/** The sum over the block, counted with blanks in its own place. */
function seal(block: Buffer, at: number): void {
  let sum = 8 * BLANK;
  for (let index = at, end = at + BLOCK; index < end; index++) sum += block[index]!;
  digits(block, at + 148, 6, sum);
  block[at + 154] = 0;
  block[at + 155] = BLANK;
}

function text(block: Buffer, at: number, length: number, value: string): void {
  if (value !== "") nameToBytes(value).copy(block, at, 0, length);
}

const ZERO = 0x30;
const BLANK = 0x20;

function octal(block: Buffer, at: number, length: number, value: number): void {
  // What does not fit is in a PAX record.
  digits(block, at, length - 1, value < 8 ** (length - 1) ? value : 0);
}

function digits(block: Buffer, at: number, count: number, value: number): void {
  let rest = value;
  for (let index = at + count - 1; index >= at; index--) {
    block[index] = ZERO + (rest % 8);
    rest = Math.floor(rest / 8);
  }
}
