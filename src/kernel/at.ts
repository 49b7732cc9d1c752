import { nameToBytes } from "../base/byte-string.ts";
import { check, errnoError, isMissing, libc, syscallError } from "./libc.ts";

/** Values of <fcntl.h> that Node does not name; the same on x86-64 and arm64. */
export const AT = {
  fdcwd: -100,
  symlinkNofollow: 0x100,
  removedir: 0x200,
  symlinkFollow: 0x400,
  emptyPath: 0x1000,
} as const;
export const O_PATH = 0o10000000;
export const O_CLOEXEC = 0o2000000;

const EINVAL = 22;
const EIO = 5;
const RENAME_EXCHANGE = 2;
const c = {
  openat: libc("int openat(int dir, const char *name, int flags, mode_t mode)"),
  mkdirat: libc("int mkdirat(int dir, const char *name, mode_t mode)"),
  symlinkat: libc("int symlinkat(const char *target, int dir, const char *name)"),
  linkat: libc("int linkat(int oldDir, const char *oldName, int newDir, const char *newName, int flags)"),
  mknodat: libc("int mknodat(int dir, const char *name, mode_t mode, uint64_t device)"),
  unlinkat: libc("int unlinkat(int dir, const char *name, int flags)"),
  renameat: libc("int renameat(int oldDir, const char *oldName, int newDir, const char *newName)"),
  renameat2: libc(
    "int renameat2(int oldDir, const char *oldName, int newDir, const char *newName, unsigned int flags)",
  ),
  fchownat: libc("int fchownat(int dir, const char *name, uint32_t uid, uint32_t gid, int flags)"),
  fchmod: libc("int fchmod(int fd, mode_t mode)"),
  fchmodat: libc("int fchmodat(int dir, const char *name, mode_t mode, int flags)"),
  utimensat: libc("int utimensat(int dir, const char *name, const void *times, int flags)"),
  futimens: libc("int futimens(int fd, const void *times)"),
  readlinkat: libc("ssize_t readlinkat(int dir, const char *name, void *out, size_t size)"),
  statx: libc("int statx(int dir, const char *name, int flags, unsigned int mask, void *out)"),
  syncfs: libc("int syncfs(int fd)"),
};

/**
 * A name as the kernel takes it. Names with bytes that are no UTF-8 (lone surrogates, see base/byte-string) go as
 * bytes; a NUL would silently cut the name short and is refused with EINVAL.
 */
export function cName(call: string, name: string): string | Buffer {
  if (name.includes("\0")) throw syscallError(call, EINVAL, "name contains NUL");
  return name.isWellFormed() ? name : Buffer.concat([nameToBytes(name), Buffer.of(0)]);
}

/** `name` is looked up in the folder that `dir` is open on; O_CLOEXEC is always set. The caller closes the result. */
export function openat(dir: number, name: string, flags: number, mode = 0): number {
  return check("openat", c.openat(dir, cName("openat", name), flags | O_CLOEXEC, mode), name);
}

export function mkdirat(dir: number, name: string, mode: number): void {
  check("mkdirat", c.mkdirat(dir, cName("mkdirat", name), mode), name);
}

export function symlinkat(target: string, dir: number, name: string): void {
  check("symlinkat", c.symlinkat(cName("symlinkat", target), dir, cName("symlinkat", name)), name);
}

/** A hard link to the very thing `oldName` names: a symbolic link is linked, not followed. */
export function linkat(oldDir: number, oldName: string, newDir: number, newName: string): void {
  check("linkat", c.linkat(oldDir, cName("linkat", oldName), newDir, cName("linkat", newName), 0), newName);
}

/** `mode` includes the type (S_IFCHR …). */
export function mknodat(dir: number, name: string, mode: number, major = 0, minor = 0): void {
  check("mknodat", c.mknodat(dir, cName("mknodat", name), mode, makeDevice(major, minor)), name);
}

export function unlinkat(dir: number, name: string, flags = 0): void {
  check("unlinkat", c.unlinkat(dir, cName("unlinkat", name), flags), name);
}

export function renameat(oldDir: number, oldName: string, newDir: number, newName: string): void {
  check("renameat", c.renameat(oldDir, cName("renameat", oldName), newDir, cName("renameat", newName)), newName);
}

/** Each of the two gets the other's name, at one instant. Throws EINVAL where the file system can't. */
export function exchangeat(dir: number, name: string, otherDir: number, otherName: string): void {
  const names = [cName("renameat2", name), cName("renameat2", otherName)];
  check("renameat2", c.renameat2(dir, names[0], otherDir, names[1], RENAME_EXCHANGE), otherName);
}

/** Never follows a symbolic link. `name` may be "" with a descriptor of the thing itself. */
export function fchownat(dir: number, name: string, uid: number, gid: number): void {
  const flags = AT.symlinkNofollow | (name === "" ? AT.emptyPath : 0);
  check("fchownat", c.fchownat(dir, cName("fchownat", name), uid, gid, flags), name);
}

/** Follows a symbolic link (Linux has no modes on those): make sure first that `name` isn't one. */
export function fchmodat(dir: number, name: string, mode: number): void {
  check("fchmodat", c.fchmodat(dir, cName("fchmodat", name), mode, 0), name);
}

export function fchmod(fd: number, mode: number): void {
  check("fchmod", c.fchmod(fd, mode));
}

/** A point in time: whole seconds since 1970 (may be negative) and 0 … 999,999,999 nanoseconds after them. */
export interface FileTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

const times = Buffer.alloc(32);

/** Sets access and modification time to the nanosecond, of a symbolic link itself. "" means the descriptor. */
export function utimensat(dir: number, name: string, accessed: FileTime, modified: FileTime): void {
  writeTime(0, accessed);
  writeTime(16, modified);
  if (name === "") check("futimens", c.futimens(dir, times));
  else check("utimensat", c.utimensat(dir, cName("utimensat", name), times, AT.symlinkNofollow), name);
}

function writeTime(at: number, time: FileTime): void {
  times.writeInt32LE(time.seconds | 0, at);
  times.writeInt32LE(Math.floor(time.seconds / 0x1_0000_0000), at + 4);
  times.writeInt32LE(time.nanoseconds, at + 8);
}

const linkBuffer = Buffer.alloc(4097);

/** What a symbolic link holds, its bytes. */
export function readlinkat(dir: number, name: string): Buffer {
  const length = c.readlinkat(dir, cName("readlinkat", name), linkBuffer, linkBuffer.length) as number;
  check("readlinkat", length, name);
  return Buffer.from(linkBuffer.subarray(0, length));
}

export interface FileStat {
  /** Type and permission bits, as st_mode. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: number;
  /** Bytes. */
  readonly size: number;
  /** 512-byte blocks on disk. */
  readonly blocks: number;
  readonly atime: FileTime;
  readonly mtime: FileTime;
  readonly ctime: FileTime;
  /** Of a device node. */
  readonly rdev: { readonly major: number; readonly minor: number };
  /** Of the file system it is on. */
  readonly dev: string;
  /** Something is mounted right here. */
  readonly isMountRoot: boolean;
}

const STATX_BASIC = 0x7ff;
const STATX_ATTR_MOUNT_ROOT = 0x2000;
const stat = Buffer.alloc(256);

/** lstat by name in a folder; "" for the descriptor itself. */
export function fstatat(dir: number, name: string): FileStat {
  check("statx", callStatx(dir, name), name);
  return readStat();
}

/** The same; undefined for a name that isn't there. */
export function statIfThere(dir: number, name: string): FileStat | undefined {
  if (callStatx(dir, name) >= 0) return readStat();
  if (isMissing()) return undefined;
  throw errnoError("statx", name);
}

function callStatx(dir: number, name: string): number {
  const flags = AT.symlinkNofollow | (name === "" ? AT.emptyPath : 0);
  return c.statx(dir, cName("statx", name), flags, STATX_BASIC, stat) as number;
}

function readStat(): FileStat {
  return {
    nlink: stat.readUInt32LE(16),
    uid: stat.readUInt32LE(20),
    gid: stat.readUInt32LE(24),
    mode: stat.readUInt16LE(28),
    ino: readWord(32),
    size: readWord(40),
    blocks: readWord(48),
    atime: { seconds: readWord(64), nanoseconds: stat.readUInt32LE(72) },
    ctime: { seconds: readWord(96), nanoseconds: stat.readUInt32LE(104) },
    mtime: { seconds: readWord(112), nanoseconds: stat.readUInt32LE(120) },
    rdev: { major: stat.readUInt32LE(128), minor: stat.readUInt32LE(132) },
    dev: `${stat.readUInt32LE(136)}:${stat.readUInt32LE(140)}`,
    isMountRoot: (stat.readUInt32LE(8) & STATX_ATTR_MOUNT_ROOT) !== 0,
  };
}

function readWord(at: number): number {
  return stat.readUInt32LE(at) + stat.readInt32LE(at + 4) * 0x1_0000_0000;
}

/** Writes everything of the file system that `fd` is on to the disk, on a thread of the pool. */
export function syncfs(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    c.syncfs.async(fd, (error: unknown, result: number) => {
      if (error !== null && error !== undefined) reject(error);
      // errno belongs to the thread that made the call; a failed write-back is what this call reports.
      else if (result < 0) reject(syscallError("syncfs", EIO));
      else resolve();
    });
  });
}

/** glibc's encoding of a device number (sys/sysmacros.h). */
function makeDevice(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return (low & 0xffn) | ((high & 0xfffn) << 8n) | ((low & ~0xffn) << 12n) | ((high & ~0xfffn) << 32n);
}
