import { closeSync } from "node:fs";
import { check, errnoError, libc } from "./libc.ts";
import { addressBytes } from "./netlink/address.ts";

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, uint32_t length)");
const listen = libc("int listen(int fd, int backlog)");
const connect = libc("int connect(int fd, const void *address, uint32_t length)");
const setsockopt = libc("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)");

const AF = { inet: 2, inet6: 10 } as const;
const SOCK = { stream: 1, dgram: 2, nonblock: 0o4000, cloexec: 0o2000000 } as const;
const KIND = {
  tcp: { type: SOCK.stream, protocol: 6 },
  udp: { type: SOCK.dgram, protocol: 17 },
  sctp: { type: SOCK.stream, protocol: 132 },
} as const;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const BACKLOG = 4096;
const EINPROGRESS = 115;
const ONE = Buffer.from([1, 0, 0, 0]);

/**
 * A socket bound to a host address and port, listening if it is of a stream kind; IPv6 sockets take no IPv4. Returns
 * its descriptor, which the caller owns. Throws SyscallError: EADDRINUSE, EADDRNOTAVAIL, EACCES, and
 * EPROTONOSUPPORT or EAFNOSUPPORT where the kernel lacks the protocol.
 */
export function bindSocket(kind: "tcp" | "udp" | "sctp", address: string, port: number): number {
  const raw = addressBytes(address);
  const family = raw.length === 4 ? AF.inet : AF.inet6;
  const { type, protocol } = KIND[kind];
  const fd = check("socket", socket(family, type | SOCK.nonblock | SOCK.cloexec, protocol), kind);
  try {
    // Not for UDP, where it would let two sockets share one port.
    if (kind !== "udp") check("setsockopt", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, ONE, 4), "SO_REUSEADDR");
    if (family === AF.inet6) check("setsockopt", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, ONE, 4), "IPV6_V6ONLY");
    const name = socketAddress(family, raw, port);
    if (bind(fd, name, name.length) !== 0) throw errnoError("bind", `${address} port ${port}`);
    // Two sockets with SO_REUSEADDR may both be bound; only one may listen.
    if (kind !== "udp" && listen(fd, BACKLOG) !== 0) throw errnoError("listen", `${address} port ${port}`);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * A socket on its way to a peer: a UDP one takes datagrams of that peer alone, a TCP one is connected, or failed, when
 * it can be written to. It belongs to the network namespace that the thread is in. The caller owns the descriptor.
 */
export function connectSocket(kind: "tcp" | "udp", address: string, port: number): number {
  const raw = addressBytes(address);
  const family = raw.length === 4 ? AF.inet : AF.inet6;
  const { type, protocol } = KIND[kind];
  const fd = check("socket", socket(family, type | SOCK.nonblock | SOCK.cloexec, protocol), kind);
  const name = socketAddress(family, raw, port);
  if (connect(fd, name, name.length) === 0) return fd;
  const error = errnoError("connect", `${address} port ${port}`);
  if (error.errno === EINPROGRESS) return fd;
  closeSync(fd);
  throw error;
}

function socketAddress(family: number, raw: Buffer, port: number): Buffer {
  const name = Buffer.alloc(family === AF.inet ? 16 : 28);
  name.writeUInt16LE(family, 0);
  name.writeUInt16BE(port, 2);
  raw.copy(name, family === AF.inet ? 4 : 8);
  return name;
}
