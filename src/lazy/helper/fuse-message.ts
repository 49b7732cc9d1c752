/** The messages of Linux's FUSE (include/uapi/linux/fuse.h, protocol 7.31), as far as a file system to read has them. */
import { type FileNode, TYPE } from "./tree.ts";

export const OP = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  readlink: 5,
  open: 14,
  read: 15,
  statfs: 17,
  release: 18,
  getxattr: 22,
  listxattr: 23,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  access: 34,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  readdirplus: 44,
} as const;

export const ERRNO = {
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  EINVAL: 22,
  ENOTDIR: 20,
  ERANGE: 34,
  ENOSYS: 38,
  ENODATA: 61,
} as const;

export const REQUEST_HEAD = 40;
const REPLY_HEAD = 16;
const ENTRY = 128;
const ATTR = 88;
const DIRENT = 24;
const NOTIFY_RESEND = 7;
const BLOCK = 4096;
/** Nothing here changes: what was told holds until the file system goes. */
const FOREVER = 1n << 40n;
const INIT = {
  asyncRead: 1,
  doReaddirplus: 1 << 13,
  readdirplusAuto: 1 << 14,
  noOpen: 1 << 17,
  parallelFolders: 1 << 18,
  maxPages: 1 << 22,
  cacheLinks: 1 << 23,
  noOpendir: 1 << 24,
} as const;
const MAX_WRITE = 128 << 10;
const MAX_READAHEAD = 1 << 20;
const MAX_BACKGROUND = 1024;
const MAX_PAGES = 256;

/** A node as the kernel is told of it: its number is that of its layer and its own. */
export interface Told {
  readonly layer: number;
  readonly node: FileNode;
}

export function replyOf(unique: bigint, error: number, body?: Uint8Array): Buffer {
  const length = REPLY_HEAD + (body?.length ?? 0);
  const bytes = Buffer.allocUnsafe(length);
  bytes.writeUInt32LE(length, 0);
  bytes.writeInt32LE(-error, 4);
  bytes.writeBigUInt64LE(unique, 8);
  if (body !== undefined) bytes.set(body, REPLY_HEAD);
  return bytes;
}

/** Has the kernel ask again for all that was read and not answered (Linux 6.9). */
export function resendNotice(): Buffer {
  const bytes = Buffer.alloc(REPLY_HEAD);
  bytes.writeUInt32LE(REPLY_HEAD, 0);
  bytes.writeInt32LE(NOTIFY_RESEND, 4);
  return bytes;
}

export function initBody(asked: Buffer): Buffer {
  const wanted = Object.values(INIT).reduce((all, flag) => all | flag, 0);
  const body = Buffer.alloc(64);
  body.writeUInt32LE(7, 0);
  body.writeUInt32LE(31, 4);
  body.writeUInt32LE(MAX_READAHEAD, 8);
  body.writeUInt32LE((asked.readUInt32LE(12) & wanted) >>> 0, 12);
  body.writeUInt16LE(MAX_BACKGROUND, 16);
  body.writeUInt16LE((MAX_BACKGROUND * 3) / 4, 18);
  body.writeUInt32LE(MAX_WRITE, 20);
  body.writeUInt32LE(1, 24);
  body.writeUInt16LE(MAX_PAGES, 28);
  return body;
}

export function entryBody(told: Told): Buffer {
  const body = Buffer.alloc(ENTRY);
  putEntry(body, 0, told);
  return body;
}

/** That there is no such name, and never will be; of names that may come, only for now. */
export function noEntryBody({ isForever }: { readonly isForever: boolean }): Buffer {
  const body = Buffer.alloc(ENTRY);
  if (isForever) body.writeBigUInt64LE(FOREVER, 16);
  return body;
}

export function attrBody(told: Told): Buffer {
  const body = Buffer.alloc(16 + ATTR);
  body.writeBigUInt64LE(FOREVER, 0);
  putAttr(body, 16, told);
  return body;
}

export function statfsBody(): Buffer {
  const body = Buffer.alloc(80);
  body.writeUInt32LE(BLOCK, 40);
  body.writeUInt32LE(255, 44);
  body.writeUInt32LE(BLOCK, 48);
  return body;
}

/** The answer to a question for so many bytes at most; 0 asks how many there are. */
export function xattrBody(value: Buffer, room: number): Buffer | number {
  if (room === 0) {
    const body = Buffer.alloc(8);
    body.writeUInt32LE(value.length, 0);
    return body;
  }
  return value.length > room ? ERRNO.ERANGE : value;
}

/** As many entries from a place on as there is room for. */
export function folderBody(
  entries: readonly (readonly [name: Buffer, told: Told])[],
  from: number,
  room: number,
  plus: boolean,
): Buffer {
  const parts: Buffer[] = [];
  const before = plus ? ENTRY : 0;
  let left = room;
  for (let index = from; index < entries.length; index++) {
    const [name, told] = entries[index]!;
    const length = (before + DIRENT + name.length + 7) & ~7;
    if (length > left) break;
    left -= length;
    const part = Buffer.alloc(length);
    // "." and ".." come without: the kernel looks them up nowhere.
    if (plus && index >= 2) putEntry(part, 0, told);
    part.writeBigUInt64LE(numberOf(told), before);
    part.writeBigUInt64LE(BigInt(index + 1), before + 8);
    part.writeUInt32LE(name.length, before + 16);
    part.writeUInt32LE((told.node.mode & TYPE.mask) >> 12, before + 20);
    part.set(name, before + DIRENT);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function putEntry(bytes: Buffer, at: number, told: Told): void {
  bytes.writeBigUInt64LE(numberOf(told), at);
  bytes.writeBigUInt64LE(FOREVER, at + 16);
  bytes.writeBigUInt64LE(FOREVER, at + 24);
  putAttr(bytes, at + 40, told);
}

function putAttr(bytes: Buffer, at: number, told: Told): void {
  const { node } = told;
  bytes.writeBigUInt64LE(numberOf(told), at);
  bytes.writeBigUInt64LE(BigInt(node.size), at + 8);
  bytes.writeBigUInt64LE(BigInt(Math.ceil(node.size / 512)), at + 16);
  for (const time of [24, 32, 40]) bytes.writeBigInt64LE(BigInt(node.seconds), at + time);
  for (const time of [48, 52, 56]) bytes.writeUInt32LE(node.nanoseconds, at + time);
  const rest = [node.mode, node.links, node.uid, node.gid, node.device, BLOCK, 0];
  for (const [index, value] of rest.entries()) bytes.writeUInt32LE(value, at + 60 + 4 * index);
}

/** The root of all is 1; a layer's number is the upper half of those of its nodes. */
function numberOf({ layer, node }: Told): bigint {
  return (BigInt(layer) << 32n) | BigInt(node.ino);
}
