import { closeSync } from "node:fs";
import koffi from "koffi";
import { hasCode } from "../base/errors.ts";
import { check, errnoError, isForLater, libc, SYSCALL } from "./libc.ts";

const F_GETFD = 1;
const F_SETFD = 2;
const F_SETPIPE_SZ = 1031;
const FD_CLOEXEC = 1;
const CLOSE_RANGE_CLOEXEC = 4;
const FIRST_BEYOND_STDIO = 3;
const LAST = 0xffff_ffff;
const TIOCSWINSZ = 0x5414;
const SIOCOUTQ = 0x5411;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_DOMAIN = 39;
const AF_UNIX = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_CTRUNC = 0x8;

const c = {
  fcntl: libc("int fcntl(int fd, int command, long argument)"),
  mkfifo: libc("int mkfifo(const char *path, mode_t mode)"),
  closeRange: libc("long syscall(long number, long first, long last, long flags)"),
  flock: libc("int flock(int fd, int operation)"),
  ioctl: libc("int ioctl(int fd, unsigned long request, void *argument)"),
  read: libc("ssize_t read(int fd, uintptr_t bytes, size_t size)"),
  write: libc("ssize_t write(int fd, uintptr_t bytes, size_t size)"),
  send: libc("ssize_t send(int fd, uintptr_t bytes, size_t size, int flags)"),
  sendBytes: libc("ssize_t send(int fd, const void *bytes, size_t size, int flags)"),
  writeBytes: libc("ssize_t write(int fd, const void *bytes, size_t size)"),
  setsockopt: libc("int setsockopt(int fd, int level, int option, const void *value, uint32_t size)"),
  getsockopt: libc("int getsockopt(int fd, int level, int option, void *value, void *size)"),
  sendmsg: libc("ssize_t sendmsg(int fd, uintptr_t message, int flags)"),
  recvmsg: libc("ssize_t recvmsg(int fd, uintptr_t message, int flags)"),
};

/**
 * A block of memory outside the collected heap: `bytes` is a view of it, `address` where it lies, so that a part of it
 * can be passed to a call without making a view. It is never freed: make few.
 */
export interface NativeBlock {
  readonly bytes: Buffer;
  readonly address: number;
}

/** Memory outside of the heap, for calls that read and write in place. */
export function nativeBlock(size: number): NativeBlock {
  const pointer = koffi.alloc("uint8_t", size);
  return { bytes: Buffer.from(koffi.view(pointer, size)), address: Number(koffi.address(pointer)) };
}

/** read(2) into a native block. Returns the count, 0 at the end, -1 if nothing is there yet (EAGAIN, EINTR). */
export function readInto(fd: number, address: number, size: number): number {
  return orAgain("read", Number(c.read(fd, address, size)));
}

/** write(2) from a native block. Returns how much was taken, -1 if nothing can be now. */
export function writeFrom(fd: number, address: number, size: number): number {
  return orAgain("write", Number(c.write(fd, address, size)));
}

/** As `writeFrom` for a socket: never waits and never raises SIGPIPE. */
export function sendFrom(fd: number, address: number, size: number): number {
  return orAgain("send", Number(c.send(fd, address, size, MSG_DONTWAIT | MSG_NOSIGNAL)));
}

/** As `writeFrom` and `sendFrom`, from an ordinary buffer. */
export function writeBytes(fd: number, bytes: Uint8Array): number {
  return orAgain("write", Number(c.writeBytes(fd, bytes, bytes.length)));
}

/** send(2) without waiting and without SIGPIPE; the number of bytes that were taken. */
export function sendBytes(fd: number, bytes: Uint8Array): number {
  return orAgain("send", Number(c.sendBytes(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL)));
}

/**
 * Lets a Unix socket hold `size` bytes that the peer has not read. Others are left alone: TCP finds its own size as
 * long as nobody sets one.
 */
export function growUnixSendBuffer(fd: number, size: number): void {
  const value = Buffer.alloc(4);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(4, 0);
  if (c.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, value, length) !== 0 || value.readInt32LE(0) !== AF_UNIX) return;
  value.writeInt32LE(size, 0);
  c.setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, value, 4);
}

function orAgain(call: string, result: number): number {
  if (result >= 0) return result;
  if (isForLater()) return -1;
  throw errnoError(call);
}

const MOST_FDS = 16;
const DATA_SIZE = 64 * 1024;
// struct iovec, struct msghdr (56 bytes), room for the control message; the data has a block of its own.
const IOVEC = 0;
const MSGHDR = 16;
const CONTROL = 80;
const CMSG_HEADER = 16;
const head = nativeBlock(CONTROL + CMSG_HEADER + 4 * MOST_FDS);
const data = nativeBlock(DATA_SIZE);

function prepare(dataSize: number, controlSize: number): void {
  head.bytes.fill(0, 0, CONTROL);
  head.bytes.writeBigUInt64LE(BigInt(data.address), IOVEC);
  head.bytes.writeBigUInt64LE(BigInt(dataSize), IOVEC + 8);
  head.bytes.writeBigUInt64LE(BigInt(head.address + IOVEC), MSGHDR + 16);
  head.bytes.writeBigUInt64LE(1n, MSGHDR + 24);
  if (controlSize === 0) return;
  head.bytes.writeBigUInt64LE(BigInt(head.address + CONTROL), MSGHDR + 32);
  head.bytes.writeBigUInt64LE(BigInt(controlSize), MSGHDR + 40);
}

/**
 * Sends bytes over a Unix socket, and with them duplicates of `fds` (at most 16; the caller keeps its own). Never
 * waits: returns how many bytes went, -1 if none could. If any went, the descriptors did too.
 */
export function sendFds(socketFd: number, bytes: Uint8Array, fds: readonly number[] = []): number {
  const size = Math.min(bytes.length, DATA_SIZE);
  data.bytes.set(size === bytes.length ? bytes : bytes.subarray(0, size));
  prepare(size, fds.length === 0 ? 0 : CMSG_HEADER + ((4 * fds.length + 7) & ~7));
  if (fds.length > 0) {
    head.bytes.writeBigUInt64LE(BigInt(CMSG_HEADER + 4 * fds.length), CONTROL);
    head.bytes.writeInt32LE(SOL_SOCKET, CONTROL + 8);
    head.bytes.writeInt32LE(SCM_RIGHTS, CONTROL + 12);
    fds.forEach((fd, index) => {
      head.bytes.writeInt32LE(fd, CONTROL + CMSG_HEADER + 4 * index);
    });
  }
  return orAgain("sendmsg", Number(c.sendmsg(socketFd, head.address + MSGHDR, MSG_DONTWAIT | MSG_NOSIGNAL)));
}

/**
 * Receives what a Unix socket has, with the descriptors that came along (close-on-exec; the caller owns them). Never
 * waits: undefined if nothing is there; no bytes at the end.
 */
export function receiveFds(socketFd: number): { readonly bytes: Buffer; readonly fds: readonly number[] } | undefined {
  prepare(DATA_SIZE, CMSG_HEADER + 4 * MOST_FDS);
  const flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
  const count = orAgain("recvmsg", Number(c.recvmsg(socketFd, head.address + MSGHDR, flags)));
  if (count < 0) return undefined;
  const fds = receivedFds(Number(head.bytes.readBigUInt64LE(MSGHDR + 40)));
  if ((head.bytes.readInt32LE(MSGHDR + 48) & MSG_CTRUNC) !== 0) {
    for (const fd of fds) closeSync(fd);
    throw new Error(`more than ${MOST_FDS} descriptors in one message`);
  }
  return { bytes: Buffer.from(data.bytes.subarray(0, count)), fds };
}

function receivedFds(controlSize: number): number[] {
  if (controlSize < CMSG_HEADER || head.bytes.readInt32LE(CONTROL + 12) !== SCM_RIGHTS) return [];
  const count = Math.floor((Number(head.bytes.readBigUInt64LE(CONTROL)) - CMSG_HEADER) / 4);
  return Array.from({ length: count }, (_, index) => head.bytes.readInt32LE(CONTROL + CMSG_HEADER + 4 * index));
}

/** Asks for a larger pipe; a refusal (the user's quota) leaves it as it is. Returns the size in bytes or -1. */
export function setPipeSize(fd: number, size: number): number {
  return c.fcntl(fd, F_SETPIPE_SZ, size);
}

/** mkfifo(3). */
export function makeFifo(path: string, mode: number): void {
  check("mkfifo", c.mkfifo(path, mode), path);
}

/** Takes or gives back the lock of an open file. Returns false if another holds it; never waits. */
export function flock(fd: number, mode: "exclusive" | "shared" | "unlock"): boolean {
  const LOCK_NB = 4;
  const operation = { shared: 1, exclusive: 2, unlock: 8 }[mode];
  if (c.flock(fd, operation | LOCK_NB) === 0) return true;
  const error = errnoError("flock");
  if (hasCode(error, "EAGAIN")) return false;
  throw error;
}

/** Whether a program that this process starts gets the descriptor. */
export function closeOnExec(fd: number, on = true): void {
  const flags = check("fcntl", c.fcntl(fd, F_GETFD, 0));
  check("fcntl", c.fcntl(fd, F_SETFD, on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC));
}

/** No program that this process starts gets any of its descriptors but the standard three and those given to it. */
export function closeAllOnExec(): void {
  const result = Number(c.closeRange(SYSCALL.closeRange, FIRST_BEYOND_STDIO, LAST, CLOSE_RANGE_CLOEXEC));
  check("close_range", result, "CLOSE_RANGE_CLOEXEC");
}

/** Sets the size of a terminal, in characters. */
export function setTerminalSize(fd: number, rows: number, columns: number): void {
  check("ioctl TIOCSWINSZ", c.ioctl(fd, TIOCSWINSZ, new Uint16Array([rows, columns, 0, 0])));
}

/** How many bytes that were written to a socket its peer has not taken: of TCP the peer's kernel, of Unix the peer. */
export function unsentBytes(fd: number): number {
  const count = new Int32Array(1);
  check("ioctl SIOCOUTQ", c.ioctl(fd, SIOCOUTQ, count));
  return count[0]!;
}
