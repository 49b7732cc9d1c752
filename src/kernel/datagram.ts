import { closeSync } from "node:fs";
import { check, errnoError, libc, syscallError } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const MSG_NOSIGNAL = 0x4000;
const PATH_MAX = 107;
const ENAMETOOLONG = 36;

const socket = libc("int socket(int domain, int type, int protocol)");
const connect = libc("int connect(int fd, const void *address, uint32_t size)");
const sendto = libc(
  "ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const void *address, uint32_t length)",
);

/**
 * Sends one datagram to the Unix socket at `path`; a leading `@` means the abstract name that follows it. Waits while
 * the receiver's queue is full. Throws SyscallError: ENOENT or ECONNREFUSED if nobody is there.
 */
export function sendUnixDatagram(path: string, text: string): void {
  const address = datagramAddress(path);
  const bytes = Buffer.from(text);
  const fd = check("socket", socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  try {
    if (sendto(fd, bytes, bytes.length, MSG_NOSIGNAL, address, address.length) < 0) throw errnoError("sendto", path);
  } finally {
    closeSync(fd);
  }
}

/**
 * A non-blocking datagram socket that is connected to the Unix socket at `path`, the caller's to close. Throws as
 * `sendUnixDatagram`.
 */
export function connectUnixDatagram(path: string): number {
  const address = datagramAddress(path);
  const fd = check("socket", socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (connect(fd, address, address.length) === 0) return fd;
  const error = errnoError("connect", path);
  closeSync(fd);
  throw error;
}

/** An abstract name begins with a zero byte and ends with the address; a path ends with a zero byte. */
function datagramAddress(path: string): Buffer {
  const isAbstract = path.startsWith("@");
  const name = Buffer.from(isAbstract ? `\0${path.slice(1)}` : `${path}\0`);
  if (name.length > PATH_MAX + 1) throw syscallError("sendto", ENAMETOOLONG, path);
  const address = Buffer.alloc(2 + name.length);
  address.writeUInt16LE(AF_UNIX, 0);
  address.set(name, 2);
  return address;
}
