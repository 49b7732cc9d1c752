import { bytesToName, nameToBytes } from "../base/byte-string.ts";
import type { Codec, Method } from "../grpc/method.ts";

/**
 * `fsutil.types.Packet`, the one message of which a build has a hundred thousand: read and written directly, without
 * a description of it. Paths are names as `bytesToName` makes them, since a client's file systems have any bytes.
 */
export type Packet =
  /** Without a stat: all were told. */
  | { readonly type: "stat"; readonly stat: Stat | undefined }
  | { readonly type: "request"; readonly id: number }
  /** Without bytes: the file's end. */
  | { readonly type: "data"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: "end" }
  | { readonly type: "error"; readonly message: string };

/** `fsutil.types.Stat`. */
export interface Stat {
  readonly path: string;
  /** Go's fs.FileMode. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** NaN where it is negative. */
  readonly size: number;
  /** Nanoseconds since 1970. */
  readonly modTime: bigint;
  readonly linkname: string;
  readonly devmajor: number;
  readonly devminor: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

const TYPES = ["stat", "request", "data", "end", "error"] as const;
const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
const NO_BYTES = new Uint8Array();

export const PACKET: Codec<Packet> = { encode: encodePacket, decode: decodePacket };

/** What both sides of a file sync speak, and a folder's way back to the client. */
export const FILE_SYNC: Method<Packet, Packet> = {
  path: "/moby.filesync.v1.FileSync/DiffCopy",
  request: PACKET,
  response: PACKET,
};
export const FOLDER_SEND: Method<Packet, Packet> = { ...FILE_SYNC, path: "/moby.filesync.v1.FileSend/DiffCopy" };

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** Reads fields one after the other; what a varint has beyond 32 bits is beside it. */
class Reader {
  readonly bytes: Buffer;
  at: number;
  end: number;
  high = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.at = 0;
    this.end = bytes.length;
  }

  /** The low 32 bits, unsigned; the others are in `high`. */
  varint(): number {
    const { bytes } = this;
    let byte = this.#byte(bytes);
    let low = byte & 0x7f;
    this.high = 0;
    if (byte < 0x80) return low;
    for (let shift = 7; shift < 28; shift += 7) {
      byte = this.#byte(bytes);
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) return low >>> 0;
    }
    byte = this.#byte(bytes);
    low |= (byte & 0x0f) << 28;
    let high = (byte & 0x7f) >> 4;
    for (let shift = 3; byte >= 0x80; shift += 7) {
      if (shift > 31) throw new Error("a number has more than ten bytes");
      byte = this.#byte(bytes);
      high |= (byte & 0x7f) << shift;
    }
    this.high = high >>> 0;
    return low >>> 0;
  }

  /** Of an int64; NaN where it is negative or has no exact number. */
  size(): number {
    const low = this.varint();
    return this.high > 0x1f_ffff ? Number.NaN : this.high * 0x1_0000_0000 + low;
  }

  time(): bigint {
    const low = this.varint();
    return BigInt.asIntN(64, (BigInt(this.high) << 32n) | BigInt(low));
  }

  /** The end of a field of bytes that begins here. */
  field(): number {
    const length = this.varint();
    const end = this.at + length;
    if (this.high !== 0 || end > this.end) throw new Error("a field is longer than the message");
    return end;
  }

  name(): string {
    const end = this.field();
    const name = bytesToName(this.bytes, this.at, end);
    this.at = end;
    return name;
  }

  slice(): Buffer {
    const end = this.field();
    const slice = this.bytes.subarray(this.at, end);
    this.at = end;
    return slice;
  }

  skip(wire: number): void {
    if (wire === VARINT) this.varint();
    else if (wire === BYTES) this.at = this.field();
    else if (wire === FIXED64) this.at += 8;
    else if (wire === FIXED32) this.at += 4;
    else throw new Error(`no field has the wire type ${wire}`);
    if (this.at > this.end) throw new Error("a field is longer than the message");
  }

  #byte(bytes: Buffer): number {
    if (this.at >= this.end) throw new Error("the message ends within a number");
    return bytes[this.at++]!;
  }
}

function decodePacket(bytes: Buffer): Packet {
  const reader = new Reader(bytes);
  let type = 0;
  let id = 0;
  let stat: Stat | undefined;
  let data: Uint8Array = NO_BYTES;
  while (reader.at < reader.end) {
    const tag = reader.varint();
    if (tag === 0x08) type = reader.varint();
    else if (tag === 0x12) stat = readStat(reader);
    else if (tag === 0x18) id = reader.varint();
    else if (tag === 0x22) data = reader.slice();
    else reader.skip(tag & 7);
  }
  switch (TYPES[type]) {
    case "stat":
      return { type: "stat", stat };
    case "request":
      return { type: "request", id };
    case "data":
      return { type: "data", id, bytes: data };
    case "end":
      return { type: "end" };
    case "error":
      return { type: "error", message: Buffer.from(data).toString("utf8") };
    default:
      throw new Error(`no packet has the type ${type}`);
  }
}

function readStat(reader: Reader): Stat {
  const outer = reader.end;
  reader.end = reader.field();
  let path = "";
  let mode = 0;
  let uid = 0;
  let gid = 0;
  let size = 0;
  let modTime = 0n;
  let linkname = "";
  let devmajor = 0;
  let devminor = 0;
  let xattrs: Map<string, Uint8Array> | undefined;
  while (reader.at < reader.end) {
    const tag = reader.varint();
    switch (tag) {
      case 0x0a:
        path = reader.name();
        break;
      case 0x10:
        mode = reader.varint();
        break;
      case 0x18:
        uid = reader.varint();
        break;
      case 0x20:
        gid = reader.varint();
        break;
      case 0x28:
        size = reader.size();
        break;
      case 0x30:
        modTime = reader.time();
        break;
      case 0x3a:
        linkname = reader.name();
        break;
      case 0x40:
        devmajor = reader.size();
        break;
      case 0x48:
        devminor = reader.size();
        break;
      case 0x52: {
        xattrs ??= new Map();
        readXattr(reader, xattrs);
        break;
      }
      default:
        reader.skip(tag & 7);
    }
  }
  reader.end = outer;
  return { path, mode, uid, gid, size, modTime, linkname, devmajor, devminor, xattrs: xattrs ?? NO_XATTRS };
}

function readXattr(reader: Reader, into: Map<string, Uint8Array>): void {
  const outer = reader.end;
  reader.end = reader.field();
  let name = "";
  let value: Uint8Array = NO_BYTES;
  while (reader.at < reader.end) {
    const tag = reader.varint();
    if (tag === 0x0a) name = reader.name();
    // A copy: attributes are kept for longer than the message.
    else if (tag === 0x12) value = new Uint8Array(reader.slice());
    else reader.skip(tag & 7);
  }
  reader.end = outer;
  into.set(name, value);
}

/** Room for a packet without its bytes; made larger for one that needs more. */
let scratch: Buffer = Buffer.allocUnsafe(8 << 10);
/** The most that stands before a stat: a tag and a length. */
const STAT_AT = 16;

/** Writes fields into memory that all packets share; what is finished is copied out of it. */
class Writer {
  #at: number;
  readonly #start: number;

  constructor(start = 0) {
    this.#start = start;
    this.#at = start;
  }

  varint(value: number): this {
    this.#room(10);
    let rest = value;
    while (rest >= 0x80) {
      scratch[this.#at++] = (rest % 0x80) | 0x80;
      rest = rest < 0x8000_0000 ? rest >>> 7 : Math.floor(rest / 0x80);
    }
    scratch[this.#at++] = rest;
    return this;
  }

  number(tag: number, value: number): this {
    return value === 0 ? this : this.varint(tag).varint(value);
  }

  time(tag: number, value: bigint): this {
    if (value === 0n) return this;
    this.varint(tag);
    this.#room(10);
    // Whole numbers are exact up to 53 bits: two halves of them.
    const bits = BigInt.asUintN(64, value);
    let [low, high] = [Number(bits & 0xfff_ffffn), Number(bits >> 28n)];
    for (let group = 0; group < 4; group++) {
      const isLast = high === 0 && low < 0x80;
      scratch[this.#at++] = isLast ? low : (low & 0x7f) | 0x80;
      if (isLast) return this;
      low >>>= 7;
    }
    return this.varint(high);
  }

  bytes(tag: number, value: Uint8Array): this {
    return value.length === 0 ? this : this.message(tag, value);
  }

  /** Also where it is empty: then it is there all the same. */
  message(tag: number, value: Uint8Array): this {
    this.varint(tag).varint(value.length);
    this.#room(value.length);
    scratch.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  name(tag: number, name: string): this {
    if (name === "") return this;
    if (name.length >= 0x80 || !isAscii(name)) return this.bytes(tag, nameToBytes(name));
    this.#room(name.length + 12);
    this.varint(tag).varint(name.length);
    for (let at = 0; at < name.length; at++) scratch[this.#at++] = name.charCodeAt(at);
    return this;
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return new Uint8Array(scratch.subarray(this.#start, this.#at));
  }

  /** The same as a field of a packet of its own, written before it. */
  finishStat(): Uint8Array {
    const size = this.#at - this.#start;
    const head = size < 0x80 ? [0x12, size] : size < 0x4000 ? [0x12, (size & 0x7f) | 0x80, size >> 7] : undefined;
    if (head === undefined) return new Writer(this.#at).bytes(0x12, this.finish()).finish();
    const from = this.#start - head.length;
    scratch.set(head, from);
    return new Uint8Array(scratch.subarray(from, this.#at));
  }

  #room(length: number): void {
    if (this.#at + length <= scratch.length) return;
    const wider = Buffer.allocUnsafe(Math.max(scratch.length * 2, this.#at + length));
    scratch.copy(wider, 0, 0, this.#at);
    scratch = wider;
  }
}

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) >= 0x80) return false;
  return true;
}

function encodePacket(packet: Packet): Uint8Array {
  switch (packet.type) {
    case "stat":
      return packet.stat === undefined ? NO_BYTES : encodeStat(packet.stat);
    case "data":
      return new Writer()
        .number(0x08, TYPES.indexOf("data"))
        .number(0x18, packet.id)
        .bytes(0x22, packet.bytes)
        .finish();
    case "request":
      return new Writer().number(0x08, TYPES.indexOf("request")).number(0x18, packet.id).finish();
    case "error":
      return new Writer()
        .number(0x08, TYPES.indexOf("error"))
        .bytes(0x22, Buffer.from(packet.message, "utf8"))
        .finish();
    case "end":
      return new Writer().number(0x08, TYPES.indexOf("end")).finish();
  }
}

function encodeStat(stat: Stat): Uint8Array {
  const attributes = [...stat.xattrs].map(([name, value]) => new Writer().name(0x0a, name).bytes(0x12, value).finish());
  const writer = new Writer(STAT_AT)
    .name(0x0a, stat.path)
    .number(0x10, stat.mode)
    .number(0x18, stat.uid)
    .number(0x20, stat.gid)
    .number(0x28, stat.size)
    .time(0x30, stat.modTime)
    .name(0x3a, stat.linkname)
    .number(0x40, stat.devmajor)
    .number(0x48, stat.devminor);
  for (const attribute of attributes) writer.message(0x52, attribute);
  return writer.finishStat();
}
