import { GantryError } from "../../base/errors.ts";

export const BLOCK = 512;
/** Most bytes of one extended header or sparse map, as in Go's reader: what is longer is hostile. */
export const MOST_SPECIAL = 1 << 20;

export type TarType = "file" | "hardlink" | "symlink" | "character" | "block" | "directory" | "fifo";

/** A part of a sparse file that holds data; everything between such parts is a hole. In bytes. */
export interface Segment {
  readonly offset: number;
  readonly length: number;
}

/** A member of an archive, whatever format described it. Names may hold lone surrogates (base/byte-string). */
export interface TarEntry {
  /** As written in the archive: not cleaned, and hostile until proven otherwise. */
  readonly name: string;
  readonly type: TarType;
  /** Of a symbolic or hard link, else empty. */
  readonly linkName: string;
  /** Permission bits, 0 … 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly userName: string;
  readonly groupName: string;
  /** Bytes of the file as it will be, holes included; 0 for anything but files. */
  readonly size: number;
  readonly mtime: { readonly seconds: number; readonly nanoseconds: number };
  /** Of device nodes, else 0. */
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  /** Only of sparse files: in order, not overlapping; their lengths add up to the bytes in the archive. */
  readonly sparse?: readonly Segment[];
}

export const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

export function invalidHeader(why: string): GantryError {
  return new GantryError("invalid", `archive/tar: invalid tar header: ${why}`);
}

export function unexpectedEnd(): GantryError {
  return new GantryError("invalid", "unexpected EOF");
}

/** Bytes from the end of `size` bytes to the next block's start. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** The bytes of a file that the archive holds. */
export function storedSize(entry: Pick<TarEntry, "size" | "sparse">): number {
  return entry.sparse === undefined ? entry.size : entry.sparse.reduce((sum, { length }) => sum + length, 0);
}
