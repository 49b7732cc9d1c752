import { closeSync } from "node:fs";
import { hasCode } from "../base/errors.ts";
import { check, errnoError, isForLater, libc, syscallError } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const PATH_MAX = 107;
const ENAMETOOLONG = 36;
const POLLHUP = 0x10;
const SOL_SOCKET = 1;
const SO_DOMAIN = 39;

const c = {
  socket: libc("int socket(int domain, int type, int protocol)"),
  socketpair: libc("int socketpair(int domain, int type, int protocol, _Out_ int *pair)"),
  bind: libc("int bind(int fd, const void *address, uint32_t size)"),
  listen: libc("int listen(int fd, int backlog)"),
  connect: libc("int connect(int fd, const void *address, uint32_t size)"),
  accept4: libc("int accept4(int fd, void *address, void *size, int flags)"),
  shutdown: libc("int shutdown(int fd, int how)"),
  getsockopt: libc("int getsockopt(int fd, int level, int name, void *value, _Inout_ uint32_t *size)"),
  poll: libc("int poll(void *fds, unsigned long count, int timeoutMs)"),
};

function addressOf(path: string): Buffer {
  const name = Buffer.from(path);
  if (name.length > PATH_MAX) throw syscallError("bind", ENAMETOOLONG, path);
  const address = Buffer.alloc(2 + name.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  address.set(name, 2);
  return address;
}

/** A listening stream socket at `path` (at most 107 bytes, must not exist); non-blocking, the caller closes it. */
export function listenUnix(path: string): number {
  const fd = check("socket", c.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const address = addressOf(path);
  if (c.bind(fd, address, address.length) !== 0 || c.listen(fd, 128) !== 0) {
    const error = errnoError("bind", path);
    closeSync(fd);
    throw error;
  }
  return fd;
}

/** Accepts one connection; undefined if none waits. */
export function acceptUnix(fd: number): number | undefined {
  const accepted = c.accept4(fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (accepted >= 0) return accepted;
  if (isForLater()) return undefined;
  const error = errnoError("accept4");
  if (hasCode(error, "ECONNABORTED")) return undefined;
  throw error;
}

/** Connects to a listening Unix socket; ECONNREFUSED or ENOENT if nobody listens. Non-blocking once connected. */
export function connectUnix(path: string): number {
  const fd = check("socket", c.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const address = addressOf(path);
  if (c.connect(fd, address, address.length) === 0) return fd;
  const error = errnoError("connect", path);
  closeSync(fd);
  throw error;
}

/** Two connected, non-blocking stream sockets. */
export function unixSocketPair(): readonly [number, number] {
  const pair = [-1, -1];
  check("socketpair", c.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
  return [pair[0]!, pair[1]!];
}

/** Says that nothing more will be written; what was written still arrives. No error if the peer has left. */
export function endWriting(fd: number): void {
  const SHUT_WR = 1;
  c.shutdown(fd, SHUT_WR);
}

/** True once the peer can neither send nor receive any more (of TCP peers this is known only after both FINs). */
export function isHungUp(fd: number): boolean {
  const row = Buffer.alloc(8);
  row.writeInt32LE(fd, 0);
  return c.poll(row, 1, 0) > 0 && (row.readInt16LE(6) & POLLHUP) !== 0;
}

/** False for sockets of every other family; throws ENOTSOCK for what is no socket. */
export function isUnixSocket(fd: number): boolean {
  const family = Buffer.alloc(4);
  check("getsockopt", c.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, family, [family.length]), `descriptor ${fd}`);
  return family.readInt32LE(0) === AF_UNIX;
}
