import { inflateSync } from "node:zlib";
import type { FoundPackage } from "./found.ts";

/** A file that is read here and there. */
export interface RandomAccess {
  readonly size: number;
  /** Fewer bytes at its end. */
  read(offset: number, length: number): Buffer;
}

interface Section {
  readonly name: string;
  readonly address: number;
  readonly offset: number;
  readonly size: number;
}

const MOST_SECTIONS = 4096;
const MOST_NAMES = 1 << 20;
const MOST_INFO = 16 << 20;
const GO_MAGIC = Buffer.from("\xff Go buildinf:", "latin1");
const GO_INLINE = 2;

/** The modules that a Go program says it was made of, or the crates of one by cargo-auditable. */
export function readProgram(file: RandomAccess, path: string): FoundPackage[] {
  const sections = readSections(file);
  const go = sections.find(({ name }) => name === ".go.buildinfo");
  const rust = sections.find(({ name }) => name === ".dep-v0");
  return [
    ...(go === undefined ? [] : goPackages(goInfo(file, go, sections), path)),
    ...(rust === undefined ? [] : rustPackages(file.read(rust.offset, Math.min(rust.size, MOST_INFO)), path)),
  ];
}

/** ELF of either width and order. Nothing of what is none. */
function readSections(file: RandomAccess): readonly Section[] {
  const head = file.read(0, 64);
  if (head.length < 52 || head.readUInt32BE(0) !== 0x7f454c46) return [];
  const isWide = head[4] === 2;
  const isLittle = head[5] === 1;
  if (isWide && head.length < 64) return [];
  const half = (bytes: Buffer, at: number): number => (isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  const word = (bytes: Buffer, at: number): number => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const long = (bytes: Buffer, at: number): number =>
    isWide ? Number(isLittle ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at)) : word(bytes, at);
  const start = long(head, isWide ? 40 : 32);
  const rowSize = half(head, isWide ? 58 : 46);
  const count = half(head, isWide ? 60 : 48);
  const namesAt = half(head, isWide ? 62 : 50);
  const least = isWide ? 64 : 40;
  if (count > MOST_SECTIONS || rowSize < least || rowSize > 1024 || start + count * rowSize > file.size) return [];
  const table = file.read(start, count * rowSize);
  const rows = Array.from({ length: Math.floor(table.length / rowSize) }, (_, index) => {
    const row = table.subarray(index * rowSize, (index + 1) * rowSize);
    return {
      nameAt: word(row, 0),
      address: long(row, isWide ? 16 : 12),
      offset: long(row, isWide ? 24 : 16),
      size: long(row, isWide ? 32 : 20),
    };
  });
  const own = rows[namesAt];
  if (own === undefined) return [];
  const names = file.read(own.offset, Math.min(own.size, MOST_NAMES));
  return rows.flatMap(({ nameAt, ...row }) => {
    const end = names.indexOf(0, nameAt);
    return end < 0 || row.offset > file.size ? [] : [{ ...row, name: names.toString("latin1", nameAt, end) }];
  });
}

/** The text of runtime/debug.BuildInfo, of Go 1.18 and later; "" where there is none. */
function goInfo(file: RandomAccess, section: Section, sections: readonly Section[]): string {
  const bytes = file.read(section.offset, Math.min(section.size, MOST_INFO));
  if (bytes.length < 32 || !bytes.subarray(0, GO_MAGIC.length).equals(GO_MAGIC)) return "";
  if ((bytes[15]! & GO_INLINE) !== 0) {
    const version = varText(bytes, 32);
    const info = version === undefined ? undefined : varText(bytes, version.end);
    return info === undefined ? "" : stripped(info.text);
  }
  // Before, there were the addresses of two string headers.
  const isBig = bytes[15] === 1;
  const width = bytes[14];
  if (width !== 4 && width !== 8) return "";
  const number = (from: Buffer, at: number): number => {
    if (from.length < at + width) return 0;
    if (width === 4) return isBig ? from.readUInt32BE(at) : from.readUInt32LE(at);
    return Number(isBig ? from.readBigUInt64BE(at) : from.readBigUInt64LE(at));
  };
  const at = (address: number, length: number): Buffer => {
    const own = sections.find((one) => one.address > 0 && address >= one.address && address < one.address + one.size);
    return own === undefined ? Buffer.alloc(0) : file.read(own.offset + address - own.address, length);
  };
  const header = at(number(bytes, 16 + width), 2 * width);
  const length = number(header, width);
  return length > MOST_INFO ? "" : stripped(at(number(header, 0), length));
}

function varText(bytes: Buffer, start: number): { readonly text: Buffer; readonly end: number } | undefined {
  let length = 0;
  let at = start;
  for (let shift = 1; ; shift *= 128) {
    const byte = bytes[at++];
    if (byte === undefined || shift > 2 ** 28) return undefined;
    length += (byte & 0x7f) * shift;
    if (byte < 0x80) break;
  }
  return at + length > bytes.length ? undefined : { text: bytes.subarray(at, at + length), end: at + length };
}

/** Without the marks of 16 bytes before and after. */
function stripped(text: Buffer): string {
  return text.length >= 33 && text.at(-17) === 0x0a
    ? text.toString("utf8", 16, text.length - 16)
    : text.toString("utf8");
}

function goPackages(info: string, path: string): FoundPackage[] {
  const found: FoundPackage[] = [];
  const add = (name: string, version: string): void => {
    if (name === "" || version === "") return;
    const at = name.lastIndexOf("/");
    found.push({ type: "golang", namespace: name.slice(0, Math.max(at, 0)), name: name.slice(at + 1), version, path });
  };
  for (const line of info.split("\n")) {
    const [kind, name = "", version = ""] = line.split("\t");
    if (kind === "mod" || kind === "dep") add(name, version);
    else if (kind === "=>") {
      found.pop();
      add(name, version);
    }
  }
  return found;
}

function rustPackages(bytes: Buffer, path: string): FoundPackage[] {
  try {
    const { packages } = JSON.parse(inflateSync(bytes, { maxOutputLength: MOST_INFO }).toString("utf8")) as {
      packages: readonly { name?: unknown; version?: unknown; kind?: unknown }[];
    };
    return packages.flatMap(({ kind, name, version }) => {
      // What only built it is not in it.
      if (typeof name !== "string" || typeof version !== "string" || kind === "build") return [];
      return [{ type: "cargo", name, version, path }];
    });
  } catch {
    return [];
  }
}
