import { closeSync, readFileSync } from "node:fs";
import { check, errnoError, isForLater, libc } from "./libc.ts";
import { addressBytes } from "./netlink/address.ts";

const socket = libc("int socket(int domain, int type, int protocol)");
const bind = libc("int bind(int fd, const void *address, uint32_t length)");
const listen = libc("int listen(int fd, int backlog)");
const connect = libc("int connect(int fd, const void *address, uint32_t length)");
const setsockopt = libc("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)");
const getsockname = libc("int getsockname(int fd, void *address, void *length)");
const accept4 = libc("int accept4(int fd, void *address, void *length, int flags)");
const recvfrom = libc("ssize_t recvfrom(int fd, void *bytes, size_t size, int flags, void *address, void *length)");
const sendto = libc(
  "ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const void *address, uint32_t length)",
);

const AF = { inet: 2, inet6: 10 } as const;
const SOCK = { stream: 1, dgram: 2, nonblock: 0o4000, cloexec: 0o2000000 } as const;
const KIND = {
  tcp: { type: SOCK.stream, protocol: 6 },
  udp: { type: SOCK.dgram, protocol: 17 },
  sctp: { type: SOCK.stream, protocol: 132 },
} as const;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_RCVBUFFORCE = 33;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** A socket address of any family fits. */
const ADDRESS_ROOM = 28;
/** Where an IPv6 one says which link. */
const SCOPE_AT = 24;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const BACKLOG = 4096;
const EINPROGRESS = 115;
const ONE = Buffer.from([1, 0, 0, 0]);
const ZERO = Buffer.alloc(4);

/**
 * A socket bound to a host address and port, listening if it is of a stream kind; IPv6 sockets take no IPv4 unless
 * `both` is wanted, with which "::" is all addresses of both families. `backlog` is how many connections may wait to be
 * accepted. Returns its descriptor, which the caller owns.
 * Throws SyscallError: EADDRINUSE, EADDRNOTAVAIL, EACCES, and EPROTONOSUPPORT or EAFNOSUPPORT where the kernel lacks
 * the protocol.
 */
export function bindSocket(
  kind: "tcp" | "udp" | "sctp",
  address: string,
  port: number,
  options: { readonly both?: boolean; readonly backlog?: number } = {},
): number {
  const raw = addressBytes(address);
  const family = raw.length === 4 ? AF.inet : AF.inet6;
  const { type, protocol } = KIND[kind];
  const fd = check("socket", socket(family, type | SOCK.nonblock | SOCK.cloexec, protocol), kind);
  try {
    // Not for UDP, where it would let two sockets share one port.
    if (kind !== "udp") check("setsockopt", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, ONE, 4), "SO_REUSEADDR");
    if (family === AF.inet6) {
      const only = options.both === true ? ZERO : ONE;
      check("setsockopt", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, only, 4), "IPV6_V6ONLY");
    }
    const name = socketAddress(family, raw, port);
    if (bind(fd, name, name.length) !== 0) throw errnoError("bind", `${address} port ${port}`);
    // Two sockets with SO_REUSEADDR may both be bound; only one may listen.
    if (kind !== "udp" && listen(fd, options.backlog ?? BACKLOG) !== 0)
      throw errnoError("listen", `${address} port ${port}`);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * A socket on its way to a peer: a UDP one takes datagrams of that peer alone, a TCP one is connected, or failed, when
 * it can be written to. It belongs to the network namespace that the thread is in. The caller owns the descriptor. The
 * address may name a link of this process's network namespace (fe80::1%eth0).
 */
export function connectSocket(kind: "tcp" | "udp", address: string, port: number): number {
  const [bare = "", link] = address.split("%");
  const raw = addressBytes(bare);
  const family = raw.length === 4 ? AF.inet : AF.inet6;
  const { type, protocol } = KIND[kind];
  const fd = check("socket", socket(family, type | SOCK.nonblock | SOCK.cloexec, protocol), kind);
  const name = socketAddress(family, raw, port);
  if (link !== undefined) name.writeUInt32LE(linkIndex(link), SCOPE_AT);
  if (connect(fd, name, name.length) === 0) return fd;
  const error = errnoError("connect", `${address} port ${port}`);
  if (error.errno === EINPROGRESS) return fd;
  closeSync(fd);
  throw error;
}

/** The port that a socket is bound to. */
export function boundPort(fd: number): number {
  const name = Buffer.alloc(ADDRESS_ROOM);
  check("getsockname", getsockname(fd, name, uint32(ADDRESS_ROOM)));
  return name.readUInt16BE(2);
}

/** The next connection of a listening socket, non-blocking, the caller's to close; undefined if none waits. */
export function acceptSocket(fd: number): number | undefined {
  const accepted = accept4(fd, null, null, SOCK.nonblock | SOCK.cloexec);
  if (accepted >= 0) return accepted;
  if (isForLater()) return undefined;
  const error = errnoError("accept4");
  // One that came and went is none.
  if (error.code === "ECONNABORTED") return undefined;
  throw error;
}

/** Lets so many bytes of datagrams wait, whatever the machine's limit is. */
export function setReceiveRoom(fd: number, bytes: number): void {
  check("setsockopt", setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, uint32(bytes), 4), "SO_RCVBUFFORCE");
}

/** Who sent a datagram, as the kernel writes it. */
export interface Peer {
  readonly bytes: Buffer;
  readonly size: Buffer;
}

export function newPeer(): Peer {
  return { bytes: Buffer.alloc(ADDRESS_ROOM), size: uint32(ADDRESS_ROOM) };
}

export function portOf(peer: Peer): number {
  return peer.bytes.readUInt16BE(2);
}

/** Takes one datagram, and writes its sender into `peer`. Returns its size; undefined if none is there. */
export function receiveFrom(fd: number, into: Buffer, peer: Peer): number | undefined {
  peer.size.writeUInt32LE(ADDRESS_ROOM);
  const size = Number(recvfrom(fd, into, into.length, MSG_DONTWAIT, peer.bytes, peer.size));
  if (size >= 0) return size;
  if (isForLater()) return undefined;
  throw errnoError("recvfrom");
}

/** Takes what a stream has, as far as there is room. Returns its size, 0 at its end; undefined if nothing is there now. */
export function receiveSome(fd: number, into: Uint8Array): number | undefined {
  const size = Number(recvfrom(fd, into, into.length, MSG_DONTWAIT, null, null));
  if (size >= 0) return size;
  if (isForLater()) return undefined;
  throw errnoError("recvfrom");
}

/** Gives a stream what it takes now. Returns how much that is. Throws SyscallError where nobody takes it any more. */
export function sendSome(fd: number, bytes: Uint8Array): number {
  const size = Number(sendto(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, null, 0));
  if (size >= 0) return size;
  if (isForLater()) return 0;
  throw errnoError("sendto");
}

/** Sends one datagram; one that can't go now, or not there, is lost. */
export function sendTo(fd: number, bytes: Uint8Array, peer: Peer): void {
  sendto(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, peer.bytes, peer.size.readUInt32LE());
}

/** 0, which the kernel refuses, for a link that isn't there. */
function linkIndex(name: string): number {
  if (/^\d+$/.test(name)) return Number(name) >>> 0;
  if (!/^[^\s/]{1,15}$/.test(name) || name.startsWith(".")) return 0;
  try {
    return Number(readFileSync(`/sys/class/net/${name}/ifindex`, "utf8"));
  } catch {
    return 0;
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function socketAddress(family: number, raw: Buffer, port: number): Buffer {
  const name = Buffer.alloc(family === AF.inet ? 16 : 28);
  name.writeUInt16LE(family, 0);
  name.writeUInt16BE(port, 2);
  raw.copy(name, family === AF.inet ? 4 : 8);
  return name;
}
