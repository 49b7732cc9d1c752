import { randomInt } from "node:crypto";
import { closeSync, readSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { connectSocket } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Readiness } from "../kernel/readiness.ts";
import { codeOf, isReplyTo, RCODE } from "./dns-message.ts";
import type { Upstream } from "./host-dns.ts";

const DNS_PORT = 53;
const MAX_MESSAGE = 65_535;
/** As resolvers expect it: a client asks again after five seconds. */
const TIMEOUT_MS = 4_000;
const MOST_SERVERS = 3;

/** Nothing runs between a read and the copy of what was read. */
const incoming = Buffer.allocUnsafe(MAX_MESSAGE);

export type Transport = "udp" | "tcp";

/**
 * Asks one server after another for what this engine does not know, from inside the network namespace at `sandbox` or
 * from the host's. Resolves with the answer, its id the query's; undefined if none came. An abort ends it with undefined.
 */
export async function forwardQuery(
  query: Buffer,
  upstreams: readonly Upstream[],
  options: { readonly sandbox: string; readonly transport: Transport; readonly signal: AbortSignal },
): Promise<Buffer | undefined> {
  const id = randomInt(0x1_0000);
  const sent = Buffer.from(query);
  sent.writeUInt16BE(id, 0);
  let last: Buffer | undefined;
  for (const { address, isInside } of upstreams.slice(0, MOST_SERVERS)) {
    const open = () => connectSocket(options.transport, address, DNS_PORT);
    let reply: Buffer | undefined;
    try {
      const fd = isInside ? inNetns(options.sandbox, open) : open();
      const ask = options.transport === "udp" ? askUdp : askTcp;
      reply = await ask(fd, sent, id, options.signal);
    } catch {
      // No way there, or nobody listens: the next one.
    }
    if (options.signal.aborted) return undefined;
    if (reply === undefined) continue;
    query.copy(reply, 0, 0, 2);
    last = reply;
    if (codeOf(reply) !== RCODE.serverFailure && codeOf(reply) !== RCODE.refused) return reply;
  }
  return last;
}

/** Owns `fd`, a datagram socket that hears its peer alone. */
function askUdp(fd: number, query: Buffer, id: number, signal: AbortSignal): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  const readiness = new Readiness(fd, () => {
    try {
      const length = readSync(fd, incoming);
      const reply = Buffer.from(incoming.subarray(0, length));
      if (isReplyTo(reply, id)) resolve(reply);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") resolve(undefined);
    }
  });
  const timer = setTimeout(() => resolve(undefined), TIMEOUT_MS);
  const onAbort = () => resolve(undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    writeSync(fd, query);
    readiness.watch(true);
  } catch {
    resolve(undefined);
  }
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    readiness.close();
    closeSync(fd);
  });
}

/** Owns `fd`, a stream socket on its way to its peer. */
async function askTcp(fd: number, query: Buffer, id: number, signal: AbortSignal): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  const timer = setTimeout(() => resolve(undefined), TIMEOUT_MS);
  const onAbort = () => resolve(undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  const connected = Promise.withResolvers<boolean>();
  void promise.then(() => connected.resolve(false));
  const readiness = new Readiness(fd, () => connected.resolve(true));
  readiness.watch(false, true);
  let socket: Socket | undefined;
  try {
    const isConnected = await connected.promise;
    readiness.close();
    if (!isConnected) {
      closeSync(fd);
      return undefined;
    }
    socket = new Socket({ fd });
    const pieces: Buffer[] = [];
    let length = 0;
    socket.on("data", (piece: Buffer) => {
      pieces.push(piece);
      length += piece.length;
      if (length < 2) return;
      const all = Buffer.concat(pieces);
      const end = 2 + all.readUInt16BE(0);
      if (length < end) return;
      const reply = all.subarray(2, end);
      resolve(isReplyTo(reply, id) ? reply : undefined);
    });
    socket.once("error", () => resolve(undefined));
    socket.once("close", () => resolve(undefined));
    socket.write(framed(query));
    return await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    socket?.destroy();
  }
}

/** A message as it goes over TCP: after its length. */
export function framed(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(2 + message.length);
  frame.writeUInt16BE(message.length, 0);
  message.copy(frame, 2);
  return frame;
}
