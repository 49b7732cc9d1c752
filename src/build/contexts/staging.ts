import { createHash, hash } from "node:crypto";
import { closeSync, constants, write as fsWrite, writeSync } from "node:fs";
import { promisify } from "node:util";
import { GantryError, hasCode } from "../../base/errors.ts";
import { permissionsOfGoMode } from "../../base/go-mode.ts";
import { fchmod, fchmodat, mknodat, openat, symlinkat, utimensat } from "../../kernel/path.ts";
import { setXattr } from "../../kernel/xattr.ts";
import type { FileStat } from "../session.ts";
import { kindOf } from "./file-kind.ts";

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const SMALL = 256 << 10;
/** A file may grow while its client reads it. */
const MOST_GROWTH = 64 << 20;
const BILLION = 1_000_000_000n;
const writeAside = promisify(fsWrite);

/** What is set of a file besides its bytes. */
export type Dress = Pick<FileStat, "mode" | "modTime" | "xattrs">;

/**
 * Writes a file's bytes under a new name in an open folder, then its mode, attributes and times: nobody sees it before
 * it is whole. Resolves with their count and digest. Small ones are gathered and written in one go.
 */
export async function stageFile(
  dir: number,
  name: string,
  stat: FileStat,
  bytes: AsyncIterable<Uint8Array>,
): Promise<{ readonly size: number; readonly digest: Buffer }> {
  let fd: number | undefined;
  try {
    const pieces: Uint8Array[] = [];
    let gathered = 0;
    let size = 0;
    let digester: ReturnType<typeof createHash> | undefined;
    for await (const piece of bytes) {
      gathered += piece.length;
      if (size + gathered > stat.size + MOST_GROWTH) throw grown(stat.path);
      pieces.push(piece);
      if (gathered < SMALL) continue;
      digester ??= createHash("sha256");
      for (const one of pieces) digester.update(one);
      fd ??= openat(dir, name, NEW_FILE, 0o600);
      await writeAll(fd, Buffer.concat(pieces), size);
      size += gathered;
      pieces.length = 0;
      gathered = 0;
    }
    fd ??= openat(dir, name, NEW_FILE, 0o600);
    const rest = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    for (let done = 0; done < rest.length; ) done += writeSync(fd, rest, done, rest.length - done, size + done);
    size += rest.length;
    const digest = digester === undefined ? hash("sha256", rest, "buffer") : digester.update(rest).digest();
    dressOpen(fd, stat);
    return { size, digest };
  } catch (error) {
    throw outOfSpace(stat.path, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Makes an empty file, a link or a device under a new name in an open folder. */
export function stageOther(dir: number, name: string, stat: FileStat): void {
  try {
    const kind = kindOf(stat.mode);
    if (kind === "link") {
      symlinkat(stat.linkname, dir, name);
      setAttributes(`/proc/self/fd/${dir}/${name}`, stat);
      setTime(dir, name, stat.modTime);
    } else if (kind === "file") {
      const fd = openat(dir, name, NEW_FILE, 0o600);
      try {
        dressOpen(fd, stat);
      } finally {
        closeSync(fd);
      }
    } else {
      const type = { pipe: constants.S_IFIFO, block: constants.S_IFBLK, character: constants.S_IFCHR }[kind as "pipe"];
      mknodat(dir, name, type | 0o600, stat.devmajor, stat.devminor);
      fchmodat(dir, name, permissionsOfGoMode(stat.mode));
      setTime(dir, name, stat.modTime);
    }
  } catch (error) {
    throw outOfSpace(stat.path, error);
  }
}

/** Gives a folder its mode, attributes and time. */
export function dressFolder(dir: number, name: string, dress: Dress): void {
  const fd = openat(dir, name, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    dressOpen(fd, dress);
  } finally {
    closeSync(fd);
  }
}

function setTime(dir: number, name: string, nanoseconds: bigint): void {
  const rest = ((nanoseconds % BILLION) + BILLION) % BILLION;
  const time = { seconds: Number((nanoseconds - rest) / BILLION), nanoseconds: Number(rest) };
  utimensat(dir, name, time, time);
}

function dressOpen(fd: number, dress: Dress): void {
  setAttributes(fd, dress);
  fchmod(fd, permissionsOfGoMode(dress.mode));
  setTime(fd, "", dress.modTime);
}

/** Those that this file system or this kind of file can't have are left out, as BuildKit does. */
function setAttributes(target: number | string, { xattrs }: Dress): void {
  for (const [name, value] of xattrs) {
    // Marks of the file system that layers are made of: a client has no say in them.
    if (/^(trusted|user)\.overlay\./.test(name)) continue;
    try {
      setXattr(target, name, value);
    } catch (error) {
      if (hasCode(error, "ENOSPC", "EDQUOT", "EIO")) throw error;
    }
  }
}

async function writeAll(fd: number, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await writeAside(fd, bytes, done, bytes.length - done, at + done)).bytesWritten;
  }
}

function grown(path: string): GantryError {
  return new GantryError("invalid", `cannot take ${JSON.stringify(path)} of the context: it grows while it is sent`);
}

function outOfSpace(path: string, error: unknown): unknown {
  if (!hasCode(error, "ENOSPC", "EDQUOT")) return error;
  const message = `cannot take ${JSON.stringify(path)} of the context: no space left on device`;
  return new GantryError("internal", message, { cause: error });
}
