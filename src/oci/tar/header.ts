import { bytesToName } from "../../base/byte-string.ts";
import { BLOCK, invalidHeader } from "./entry.ts";

const WORDS = BLOCK / 4;
/** The even ones of a word's four bytes. */
const EVEN = 0xff_00ff;

/** One 512-byte header block (POSIX ustar, GNU, star or v7), decoded but not yet completed by extended headers. */
export interface RawHeader {
  readonly flag: string;
  readonly name: string;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly userName: string;
  readonly groupName: string;
  readonly major: number;
  readonly minor: number;
}

export function isZeroBlock(block: Buffer, at: number): boolean {
  for (let end = at + BLOCK; at < end; at++) if (block[at] !== 0) return false;
  return true;
}

/** Decodes the block at `at`; `invalid` if its checksum or a number in it is wrong. */
export function parseHeader(block: Buffer, at: number): RawHeader {
  verifyChecksum(block, at);
  const posix = block.toString("latin1", at + 257, at + 263) === "ustar\0";
  const gnu = block.toString("latin1", at + 257, at + 265) === "ustar  \0";
  const star = posix && block.toString("latin1", at + 508, at + 512) === "tar\0";
  const prefix = posix ? text(block, at + 345, star ? 131 : 155) : "";
  const name = text(block, at, 100);
  return {
    flag: String.fromCharCode(block[at + 156]!),
    name: prefix === "" ? name : `${prefix}/${name}`,
    linkName: block[at + 157] === 0 ? "" : text(block, at + 157, 100),
    mode: number(block, at + 100, 8, "mode"),
    uid: number(block, at + 108, 8, "uid"),
    gid: number(block, at + 116, 8, "gid"),
    size: number(block, at + 124, 12, "size"),
    mtime: number(block, at + 136, 12, "mtime"),
    userName: posix || gnu ? text(block, at + 265, 32) : "",
    groupName: posix || gnu ? text(block, at + 297, 32) : "",
    major: posix || gnu ? number(block, at + 329, 8, "major") : 0,
    minor: posix || gnu ? number(block, at + 337, 8, "minor") : 0,
  };
}

function verifyChecksum(block: Buffer, at: number): void {
  // The checksum is taken with its own field as eight spaces.
  let unsigned = 256 + sumOf(block, at);
  for (let index = at + 148; index < at + 156; index++) unsigned -= block[index]!;
  const written = number(block, at + 148, 8, "checksum");
  if (written === unsigned) return;
  // Some old writers summed signed bytes.
  let high = 0;
  for (let index = at, end = at + BLOCK; index < end; index++) {
    if (index < at + 148 || index >= at + 156) high += block[index]! >> 7;
  }
  if (written !== unsigned - 256 * high) throw invalidHeader("checksum");
}

/** Adds up the bytes of the block at `at`; four at a time where they lie in words. */
function sumOf(block: Buffer, at: number): number {
  const from = block.byteOffset + at;
  if ((from & 3) !== 0) {
    let sum = 0;
    for (let index = at, end = at + BLOCK; index < end; index++) sum += block[index]!;
    return sum;
  }
  const words = new Int32Array(block.buffer, from, WORDS);
  // Each half gets two bytes of each of 128 words: less than 2 ** 16.
  let halves = 0;
  for (let index = 0; index < WORDS; index++) {
    const word = words[index]!;
    halves = (halves + (word & EVEN) + ((word >>> 8) & EVEN)) | 0;
  }
  return (halves & 0xffff) + (halves >>> 16);
}

function text(block: Buffer, at: number, length: number): string {
  const first = block.indexOf(0, at);
  const end = first === -1 || first > at + length ? at + length : first;
  return end === at ? "" : bytesToName(block, at, end);
}

/** Octal digits, or with the highest bit set a big-endian two's complement number (GNU's base-256). */
export function number(block: Buffer, at: number, length: number, field: string): number {
  if ((block[at]! & 0x80) !== 0) return base256(block, at, length, field);
  let index = at;
  const end = at + length;
  while (index < end && (block[index] === 0x20 || block[index] === 0)) index++;
  let value = 0;
  for (; index < end; index++) {
    const digit = block[index]! - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  for (; index < end; index++) if (block[index] !== 0x20 && block[index] !== 0) throw invalidHeader(field);
  return value;
}

function base256(block: Buffer, at: number, length: number, field: string): number {
  const negative = (block[at]! & 0x40) !== 0;
  let value = negative ? -1n : 0n;
  value = (value << 7n) | BigInt(block[at]! & 0x7f);
  for (let index = at + 1; index < at + length; index++) value = (value << 8n) | BigInt(block[index]!);
  const result = Number(value);
  if (!Number.isSafeInteger(result)) throw invalidHeader(field);
  return result;
}
