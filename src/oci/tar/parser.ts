import { bytesToName } from "../../base/byte-string.ts";
import {
  BLOCK,
  invalidHeader,
  MOST_SPECIAL,
  NO_XATTRS,
  padding,
  type Segment,
  type TarEntry,
  type TarType,
  unexpectedEnd,
} from "./entry.ts";
import { isZeroBlock, parseHeader, type RawHeader } from "./header.ts";
import { type PaxFields, parsePax } from "./pax.ts";
import { OldSparseMap, PaxSparseMap, segmentsOf } from "./sparse.ts";

/** Hears what a parser finds, synchronously and in order: an entry, its data, its end. */
export interface TarSink {
  entry(entry: TarEntry): void;
  /** A part of the entry's data and where in the file it belongs. Valid during the call only. */
  data(bytes: Buffer, offset: number): void;
  end(): void;
}

const TYPES: ReadonlyMap<string, TarType> = new Map([
  ["0", "file"],
  ["\0", "file"],
  ["7", "file"],
  ["S", "file"],
  ["1", "hardlink"],
  ["2", "symlink"],
  ["3", "character"],
  ["4", "block"],
  ["5", "directory"],
  ["6", "fifo"],
]);
const SPECIAL = "xgLK";

type State =
  | { readonly at: "header" }
  | { readonly at: "special"; readonly flag: string; readonly bytes: Buffer; filled: number }
  | { readonly at: "old-sparse"; readonly header: RawHeader; readonly map: OldSparseMap }
  | { readonly at: "pax-sparse"; readonly header: RawHeader; readonly map: PaxSparseMap }
  | { readonly at: "body" }
  | { readonly at: "done" };

/**
 * Reads an archive from chunks of any size, pushed in one after the other: ustar, PAX, GNU and v7 members, sparse
 * files of all four kinds. Memory is bounded by one extended header (1 MiB). Broken archives throw `invalid`.
 */
export class TarParser {
  readonly #sink: TarSink;
  readonly #block = Buffer.alloc(BLOCK);
  #gathered = 0;
  #state: State = { at: "header" };
  #skip = 0;
  #zeroBlocks = 0;
  #globals: PaxFields = {};
  #pax: PaxFields = {};
  #longName: string | undefined;
  #longLink: string | undefined;
  #pending = false;
  #segments: readonly Segment[] = [];
  #segment = 0;
  #within = 0;
  #left = 0;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const state = this.#state;
      if (state.at === "done") return;
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - at);
        this.#skip -= skipped;
        at += skipped;
      } else if (state.at === "body") at += this.#takeData(chunk, at);
      else if (state.at === "special") {
        const count = chunk.copy(state.bytes, state.filled, at);
        at += count;
        state.filled += count;
        if (state.filled === state.bytes.length) this.#endSpecial(state.flag, state.bytes);
      } else if (this.#gathered === 0 && chunk.length - at >= BLOCK) {
        this.#takeBlock(state, chunk, at);
        at += BLOCK;
      } else {
        const count = chunk.copy(this.#block, this.#gathered, at);
        at += count;
        this.#gathered += count;
        if (this.#gathered < BLOCK) continue;
        this.#gathered = 0;
        this.#takeBlock(state, this.#block, 0);
      }
    }
  }

  /** The input has ended: throws "unexpected EOF" if the archive has not. A missing end mark is let pass, as by GNU tar. */
  finish(): void {
    const whole = this.#state.at === "done" || (this.#state.at === "header" && this.#gathered === 0 && !this.#pending);
    if (!whole) throw unexpectedEnd();
  }

  #takeBlock(state: State, block: Buffer, at: number): void {
    if (state.at === "header") this.#takeHeader(block, at);
    else if (state.at === "old-sparse") {
      state.map.extend(block, at);
      if (!state.map.more) this.#begin(state.header, state.map.numbers, state.map.size, this.#stored(state.header));
    } else if (state.at === "pax-sparse" && state.map.extend(block, at)) {
      const size = this.#pax.sparse?.size ?? 0;
      this.#begin(state.header, state.map.numbers, size, this.#stored(state.header) - state.map.bytes);
    }
  }

  #takeHeader(block: Buffer, at: number): void {
    if (isZeroBlock(block, at)) {
      if (++this.#zeroBlocks < 2) return;
      if (this.#pending) throw unexpectedEnd();
      this.#state = { at: "done" };
      return;
    }
    if (this.#zeroBlocks > 0) throw invalidHeader("a lone zero block");
    const header = parseHeader(block, at);
    if (SPECIAL.includes(header.flag)) this.#beginSpecial(header);
    else if (header.flag === "S") {
      const map = new OldSparseMap(block, at);
      if (map.more) this.#state = { at: "old-sparse", header, map };
      else this.#begin(header, map.numbers, map.size, this.#stored(header));
    } else this.#beginEntry(header);
  }

  #beginSpecial(header: RawHeader): void {
    if (header.size < 0 || header.size > MOST_SPECIAL) throw invalidHeader("extended header too long");
    this.#pending ||= header.flag !== "g";
    const bytes = Buffer.alloc(header.size);
    if (header.size === 0) this.#endSpecial(header.flag, bytes);
    else this.#state = { at: "special", flag: header.flag, bytes, filled: 0 };
  }

  #endSpecial(flag: string, bytes: Buffer): void {
    this.#state = { at: "header" };
    this.#skip = padding(bytes.length);
    if (flag === "x") this.#pax = parsePax(bytes);
    else if (flag === "g") {
      // One file's own marks make no sense for all: only plain fields are kept, which also bounds what piles up.
      const { xattrs: _, sparse: __, ...plain } = parsePax(bytes);
      this.#globals = { ...this.#globals, ...plain };
    } else {
      const end = bytes.indexOf(0);
      const name = bytesToName(bytes, 0, end === -1 ? bytes.length : end);
      if (flag === "L") this.#longName = name;
      else this.#longLink = name;
    }
  }

  #beginEntry(header: RawHeader): void {
    const sparse = this.#pax.sparse;
    const stored = this.#stored(header);
    const regular = TYPES.get(header.flag) === "file";
    if (sparse === undefined || !regular || (sparse.size === undefined && sparse.major === undefined)) {
      this.#begin(header, undefined, stored, stored);
      return;
    }
    if (sparse.size === undefined) throw invalidHeader("sparse size");
    if (sparse.major === "1" && sparse.minor === "0")
      this.#state = { at: "pax-sparse", header, map: new PaxSparseMap() };
    else if (sparse.major === undefined || (sparse.major === "0" && (sparse.minor === "0" || sparse.minor === "1")))
      this.#begin(header, sparse.numbers, sparse.size, stored);
    else throw invalidHeader("sparse format");
  }

  /** Bytes in the archive, a sparse map in front of them included. */
  #stored(header: RawHeader): number {
    return this.#pax.size ?? this.#globals.size ?? header.size;
  }

  #begin(header: RawHeader, map: readonly number[] | undefined, size: number, stored: number): void {
    if (size < 0 || stored < 0) throw invalidHeader("size");
    const entry = this.#complete(header, size, map === undefined ? undefined : segmentsOf(map, size, stored));
    this.#pax = {};
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#pending = false;
    this.#sink.entry(entry);
    // A link or folder may state a size, but has no data (as Go's reader has it).
    const length = entry.type === "file" ? stored : 0;
    if (length === 0) {
      this.#state = { at: "header" };
      this.#sink.end();
      return;
    }
    this.#segments = entry.sparse ?? [{ offset: 0, length }];
    this.#segment = 0;
    this.#within = 0;
    this.#left = length;
    this.#state = { at: "body" };
  }

  #complete(header: RawHeader, size: number, sparse: readonly Segment[] | undefined): TarEntry {
    const pax = this.#pax;
    const globals = this.#globals;
    const name = pax.sparse?.name ?? pax.path ?? this.#longName ?? globals.path ?? header.name;
    let type = TYPES.get(header.flag);
    if (type === undefined) throw invalidHeader(`unhandled type ${header.flag.charCodeAt(0)} of ${name}`);
    if (type === "file" && name.endsWith("/")) type = "directory";
    const link = type === "hardlink" || type === "symlink";
    return {
      name,
      type,
      linkName: link ? (pax.linkpath ?? this.#longLink ?? globals.linkpath ?? header.linkName) : "",
      mode: header.mode & 0o7777,
      uid: pax.uid ?? globals.uid ?? header.uid,
      gid: pax.gid ?? globals.gid ?? header.gid,
      userName: pax.uname ?? globals.uname ?? header.userName,
      groupName: pax.gname ?? globals.gname ?? header.groupName,
      size: type === "file" ? size : 0,
      mtime: pax.mtime ?? globals.mtime ?? { seconds: header.mtime, nanoseconds: 0 },
      major: header.major,
      minor: header.minor,
      xattrs: pax.xattrs ?? NO_XATTRS,
      ...(sparse !== undefined && type === "file" && { sparse }),
    };
  }

  #takeData(chunk: Buffer, at: number): number {
    const segment = this.#segments[this.#segment]!;
    const count = Math.min(segment.length - this.#within, chunk.length - at);
    this.#sink.data(chunk.subarray(at, at + count), segment.offset + this.#within);
    this.#within += count;
    this.#left -= count;
    if (this.#within === segment.length) {
      this.#segment++;
      this.#within = 0;
    }
    if (this.#left === 0) {
      this.#state = { at: "header" };
      this.#skip = padding(this.#segments.reduce((sum, { length }) => sum + length, 0));
      this.#sink.end();
    }
    return count;
  }
}
