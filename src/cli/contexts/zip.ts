import { inflateRawSync } from "node:zlib";
import { GantryError } from "../../base/errors.ts";

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;

/**
 * The files of a small zip archive (APPNOTE.TXT 4.3), folders left out. Encrypted and zip64 archives are refused; `most`
 * bounds what all files together may unpack to.
 */
export function readZip(bytes: Buffer, most: number): { readonly path: string; readonly data: Buffer }[] {
  try {
    return filesOf(bytes, most);
  } catch (error) {
    if (error instanceof GantryError) throw error;
    throw new GantryError("invalid", "zip: not a valid zip file", { cause: error });
  }
}

function filesOf(bytes: Buffer, most: number): { readonly path: string; readonly data: Buffer }[] {
  const end = endRecord(bytes);
  const count = bytes.readUInt16LE(end + 10);
  let at = bytes.readUInt32LE(end + 16);
  let left = most;
  const files: { path: string; data: Buffer }[] = [];
  for (let index = 0; index < count; index++) {
    if (bytes.readUInt32LE(at) !== ENTRY) throw new Error("no entry");
    const flags = bytes.readUInt16LE(at + 8);
    const method = bytes.readUInt16LE(at + 10);
    const packed = bytes.readUInt32LE(at + 20);
    const size = bytes.readUInt32LE(at + 24);
    const nameLength = bytes.readUInt16LE(at + 28);
    const path = bytes.toString("utf8", at + 46, at + 46 + nameLength);
    const local = bytes.readUInt32LE(at + 42);
    at += 46 + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
    if (path.endsWith("/")) continue;
    if ((flags & 1) !== 0) throw new GantryError("invalid", `${path}: encrypted files are not supported`);
    if (size > left) throw new GantryError("invalid", `${path}: the archive unpacks to more than ${most} bytes`);
    if (bytes.readUInt32LE(local) !== LOCAL) throw new Error("no file");
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    if (start + packed > bytes.length) throw new Error("too short");
    const body = bytes.subarray(start, start + packed);
    if (method !== 0 && method !== 8)
      throw new GantryError("invalid", `${path}: zip method ${method} is not supported`);
    const data = method === 0 ? body : inflateRawSync(body, { maxOutputLength: left });
    if (data.length !== size) throw new Error("wrong size");
    left -= size;
    files.push({ path, data });
  }
  return files;
}

/** The record at the end, behind which only a comment of at most 64 KiB may follow. */
function endRecord(bytes: Buffer): number {
  for (let at = bytes.length - 22; at >= Math.max(0, bytes.length - 22 - 65_535); at--) {
    if (bytes.readUInt32LE(at) === END) return at;
  }
  throw new Error("no end");
}
