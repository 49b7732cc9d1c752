import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { bytesToName } from "../base/byte-string.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { followLinks, MOST_LINKS, pathParts } from "../base/follow-links.ts";
import { cName, mkdirat, O_CLOEXEC, O_PATH, openat, readlinkat } from "./at.ts";
import { errnoError, libc, SYSCALL, syscallError } from "./libc.ts";

export * from "./at.ts";

const RESOLVE = { noXdev: 0x01, noMagiclinks: 0x02, noSymlinks: 0x04, beneath: 0x08, inRoot: 0x10 } as const;
const ENAMETOOLONG = 36;
const ELOOP = 40;
// A lookup with ".." is given up by the kernel when anything is renamed meanwhile; it asks to be tried again.
const MOST_TRIES = 64;

const openat2 = libc("long syscall(long number, long dir, const char *path, const void *how, size_t size)");
const openRoot = libc("int open(const char *path, int flags, mode_t mode)");
const how = Buffer.alloc(24);

/** A folder: its path on this machine, or a descriptor that is open on it (and stays the caller's). */
export type Root = string | number;

/**
 * Opens `path` as a process whose root is `root` would: absolute names, symbolic links and ".." all stay inside
 * (openat2(2) with RESOLVE_IN_ROOT). O_CLOEXEC is always set; the caller closes the descriptor. Throws SyscallError.
 */
export function openInRoot(root: Root, path: string, flags: number, mode = 0): number {
  return resolve(root, path, flags, mode, RESOLVE.inRoot | RESOLVE.noMagiclinks);
}

/**
 * Opens a relative `path` below `root`, on which there is no symbolic link and which never leads up out of it
 * (openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS): ELOOP for a link, EXDEV for a way out. O_CLOEXEC is always
 * set; the caller closes the descriptor. Throws SyscallError.
 */
export function openBeneath(root: Root, path: string, flags: number): number {
  return resolve(root, path, flags, 0, RESOLVE.beneath | RESOLVE.noMagiclinks | RESOLVE.noSymlinks);
}

/** As `openat` for one name, but EXDEV where something is mounted (openat2(2) with RESOLVE_NO_XDEV). */
export function openOnMount(dir: number, name: string, flags: number): number {
  return resolve(dir, name, flags, 0, RESOLVE.noXdev | RESOLVE.noMagiclinks);
}

/**
 * Makes a folder and its missing parents inside `root`, following links as a process in there would, dangling ones
 * too. Returns a descriptor (O_PATH) of the folder, which the caller closes. ENOTDIR if something else is in the way.
 * `onMade` is told of each folder that was missing, by the folder that it is in and its name.
 */
export function mkdirInRoot(
  root: Root,
  path: string,
  mode = 0o755,
  onMade: (dir: number, name: string) => void = () => {},
): number {
  const flags = O_PATH | constants.O_DIRECTORY;
  const pending = pathParts(path).reverse();
  const done: string[] = [];
  let links = 0;
  let dir = openInRoot(root, ".", flags);
  try {
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      // One step down from where we are, so that a deep path takes no walk from the root for each of its parts.
      const target = name === ".." ? undefined : readLinkIfAny(dir, name);
      if (target === undefined) {
        done.push(name);
        const next =
          name === ".." ? openInRoot(root, done.join("/"), flags) : openOrMake(dir, name, flags, mode, onMade);
        closeSync(dir);
        dir = next;
        continue;
      }
      if (++links > MOST_LINKS) throw syscallError("mkdir", ELOOP, path);
      pending.push(...pathParts(target).reverse());
      if (!target.startsWith("/")) continue;
      done.length = 0;
      const top = openInRoot(root, ".", flags);
      closeSync(dir);
      dir = top;
    }
    return dir;
  } catch (error) {
    closeSync(dir);
    throw error;
  }
}

/**
 * The path that `path` leads to inside `root`: absolute, without links, "." and "..". What does not exist is kept as it
 * is written, after the links that lead there. A text for people and comparisons: what is to be opened is opened by
 * `openInRoot`, since a container may change the links at any time.
 */
export function evaluateInRoot(root: Root, path: string): string {
  const leads = followLinks(path, (folder, name) => linkIn(root, folder, name, path));
  if (leads === undefined) throw syscallError("readlink", ELOOP, path);
  return `/${leads}`;
}

/** `path` is what it is a part of, for who is told that it is too long. */
function linkIn(root: Root, folder: string, name: string, path: string): string | undefined {
  let dir: number;
  try {
    dir = openInRoot(root, folder, O_PATH | constants.O_DIRECTORY);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
  try {
    return readLinkIfAny(dir, name);
  } catch (error) {
    throw hasCode(error, "ENAMETOOLONG") ? syscallError("readlink", ENAMETOOLONG, path) : error;
  } finally {
    closeSync(dir);
  }
}

function openOrMake(
  dir: number,
  name: string,
  flags: number,
  mode: number,
  onMade: (dir: number, name: string) => void,
): number {
  const here = flags | constants.O_NOFOLLOW;
  try {
    return openat(dir, name, here);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
  try {
    mkdirat(dir, name, mode);
    onMade(dir, name);
  } catch (error) {
    // Somebody else made it just now.
    if (!hasCode(error, "EEXIST")) throw error;
  }
  return openat(dir, name, here);
}

/**
 * A regular file's bytes, looked up inside `root`. ENOENT and the like as SyscallError; `invalid` for anything that
 * isn't a regular file or is longer than `limit` bytes. Never waits on a FIFO.
 */
export function readFileInRoot(root: Root, path: string, limit: number): Buffer {
  const fd = reopenFile(openInRoot(root, path, O_PATH));
  if (fd === undefined) throw new GantryError("invalid", `cannot read ${path}: it is not a regular file`);
  try {
    const stat = fstatSync(fd);
    if (stat.size > limit) throw tooLong(path, limit);
    // /proc files say 0 bytes: read to the end, one byte past the limit to notice.
    const chunks: Buffer[] = [];
    let total = 0;
    for (;;) {
      const chunk = Buffer.allocUnsafe(Math.min(Math.max(stat.size - total, 0) + 4096, limit - total + 1));
      const count = readSync(fd, chunk, 0, chunk.length, null);
      if (count === 0) return Buffer.concat(chunks, total);
      total += count;
      if (total > limit) throw tooLong(path, limit);
      chunks.push(chunk.subarray(0, count));
    }
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a regular file in an open folder for reading; undefined if the name is anything else. What opening a device
 * or a FIFO does never happens, whatever takes the name's place meanwhile. The caller closes the result.
 */
export function openFileAt(dir: number, name: string): number | undefined {
  return reopenFile(openat(dir, name, O_PATH | constants.O_NOFOLLOW));
}

/** Takes over a descriptor that was opened with O_PATH. */
function reopenFile(fd: number): number | undefined {
  try {
    return fstatSync(fd).isFile() ? openSync(`/proc/self/fd/${fd}`, constants.O_RDONLY | O_CLOEXEC) : undefined;
  } finally {
    closeSync(fd);
  }
}

function tooLong(path: string, limit: number): GantryError {
  return new GantryError("invalid", `cannot read ${path}: it is longer than ${limit} bytes`);
}

function resolve(root: Root, path: string, flags: number, mode: number, rules: number): number {
  const dir = typeof root === "number" ? root : openFolder(root);
  try {
    const name = cName("openat2", path === "" ? "." : path);
    for (let tries = 1; ; tries++) {
      how.writeUInt32LE((flags | O_CLOEXEC) >>> 0, 0);
      how.writeUInt32LE(mode, 8);
      how.writeUInt32LE(rules, 16);
      const fd = openat2(SYSCALL.openat2, dir, name, how, how.length) as number;
      if (fd >= 0) return fd;
      const error = errnoError("openat2", path);
      if (error.code !== "EAGAIN" || tries === MOST_TRIES) throw error;
    }
  } finally {
    if (typeof root !== "number") closeSync(dir);
  }
}

function openFolder(path: string): number {
  const fd = openRoot(cName("open", path), O_PATH | constants.O_DIRECTORY | O_CLOEXEC, 0) as number;
  if (fd < 0) throw errnoError("open", path);
  return fd;
}

function readLinkIfAny(parent: number, name: string): string | undefined {
  try {
    return bytesToName(readlinkat(parent, name));
  } catch (error) {
    if (hasCode(error, "EINVAL", "ENOENT")) return undefined;
    throw error;
  }
}
