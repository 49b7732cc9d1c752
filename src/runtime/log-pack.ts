import { randomBytes } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from "node:fs";

const PIECE = 64 * 1024;
const HEAD_SIZE = 16;
/** The length of a head that has all its digits. */
export const WHOLE_HEAD = 2 * HEAD_SIZE;

/** What tells one file of a log from another. */
export interface LogHead {
  /** Of the file before it was packed. */
  readonly inode: number;
  /** When a packed file was last written to before that, in nanoseconds: its inode number may be another's by now. */
  readonly writtenNano: bigint | undefined;
  /** The first bytes of what it holds, as hexadecimal digits; of frames, no two files of a log have the same. */
  readonly head: string;
}

// A gzip member without content that only has an extra field, with our subfield "GL": the file's inode, time and head.
const MEMBER_HEAD = Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255]);
const EXTRA_SIZE = 4 + 8 + 8 + HEAD_SIZE;
const MEMBER_TAIL = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const MEMBER_SIZE = MEMBER_HEAD.length + 2 + EXTRA_SIZE + MEMBER_TAIL.length;

export function headOf(fd: number): LogHead {
  const head = Buffer.alloc(HEAD_SIZE);
  const size = readSync(fd, head, 0, HEAD_SIZE, 0);
  return { inode: fstatSync(fd).ino, writtenNano: undefined, head: head.toString("hex", 0, size) };
}

/** As `headOf`, of a file that `packLog` made. */
export function readPackedHead(path: string): LogHead {
  const fd = openSync(path, "r");
  try {
    const member = Buffer.alloc(MEMBER_SIZE);
    readSync(fd, member, 0, MEMBER_SIZE, 0);
    const extra = member.subarray(MEMBER_HEAD.length + 2);
    if (extra.toString("latin1", 0, 2) !== "GL") return { inode: fstatSync(fd).ino, writtenNano: 0n, head: "" };
    const inode = Number(extra.readBigUInt64LE(4));
    return { inode, writtenNano: extra.readBigUInt64LE(12), head: extra.toString("hex", 20, 20 + HEAD_SIZE) };
  } finally {
    closeSync(fd);
  }
}

/**
 * Packs a file that is written no more as `path.gz`, in pieces between which others have their turn; the file itself
 * goes when that is whole. The compressor works on a pool thread, files are read and written here. An abort leaves the
 * file as it was.
 */
export async function packLog(path: string, signal: AbortSignal): Promise<void> {
  const { createGzip } = await import("node:zlib");
  const temporary = `${path.replace(/\.\d+$/, "")}.packing`;
  const from = openSync(path, "r");
  let to: number | undefined;
  try {
    const out = openSync(temporary, "w", 0o640);
    to = out;
    const { ino, mtimeNs } = fstatSync(from, { bigint: true });
    writeWhole(out, memberOf(ino, mtimeNs, Buffer.from(headOf(from).head, "hex")));
    const gzip = createGzip({ level: 1 });
    const ended = new Promise<void>((resolve, reject) => {
      gzip.on("data", (piece: Buffer) => {
        try {
          writeWhole(out, piece);
        } catch (error) {
          gzip.destroy(error as Error);
        }
      });
      gzip.once("end", resolve);
      gzip.once("error", reject);
      gzip.once("close", () => reject(new Error("aborted")));
    });
    ended.catch(() => undefined);
    const abort = (): void => void gzip.destroy();
    signal.addEventListener("abort", abort);
    try {
      for (;;) {
        const block = Buffer.allocUnsafe(PIECE);
        const size = readSync(from, block, 0, PIECE, null);
        if (size === 0 || signal.aborted) break;
        await new Promise<void>((resolve, reject) => {
          gzip.write(block.subarray(0, size), (error) => (error ? reject(error) : resolve()));
        });
      }
      if (signal.aborted) gzip.destroy();
      else gzip.end();
      await ended;
    } finally {
      signal.removeEventListener("abort", abort);
    }
    if (signal.aborted) throw new Error("aborted");
    renameSync(temporary, `${path}.gz`);
    unlinkSync(path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(from);
    if (to !== undefined) closeSync(to);
  }
}

/** Opens a log file for reading; a packed one as a file without a name that holds what it held. */
export async function openUnpacked(path: string): Promise<number> {
  if (!path.endsWith(".gz")) return openSync(path, "r");
  const { createGunzip } = await import("node:zlib");
  const packed = openSync(path, "r");
  const temporary = `${path}.${randomBytes(6).toString("hex")}.reading`;
  let fd: number | undefined;
  try {
    fd = openSync(temporary, "wx+", 0o600);
    unlinkSync(temporary);
    const stream = createReadStream("", { fd: packed, autoClose: false });
    const gunzip = stream.pipe(createGunzip());
    stream.once("error", (error) => gunzip.destroy(error));
    for await (const piece of gunzip) writeWhole(fd, piece as Buffer);
    return fd;
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw error;
  } finally {
    closeSync(packed);
  }
}

function memberOf(inode: bigint, writtenNano: bigint, head: Buffer): Buffer {
  const extra = Buffer.alloc(2 + EXTRA_SIZE);
  extra.writeUInt16LE(EXTRA_SIZE, 0);
  extra.write("GL", 2, "latin1");
  extra.writeUInt16LE(EXTRA_SIZE - 4, 4);
  extra.writeBigUInt64LE(inode, 6);
  extra.writeBigUInt64LE(writtenNano, 14);
  head.copy(extra, 22);
  return Buffer.concat([MEMBER_HEAD, extra, MEMBER_TAIL]);
}

function writeWhole(fd: number, bytes: Buffer): void {
  let done = 0;
  while (done < bytes.length) done += writeSync(fd, bytes, done);
}
