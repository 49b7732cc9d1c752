import { randomInt } from "node:crypto";
import { closeSync, readSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { connectSocket } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Readiness } from "../kernel/readiness.ts";
import { codeOf, hasRecords, isReplyTo, RCODE } from "./dns-message.ts";
import type { Upstream } from "./host-dns.ts";

const DNS_PORT = 53;
const MAX_MESSAGE = 65_535;
/** As resolvers expect it: a client asks again after five seconds. */
const TIMEOUT_MS = 4_000;
/** So long a server is waited for alone; then the next one is asked besides. */
const PATIENCE_MS = 1_000;
/** So long a server that said nothing is asked after the others. */
const SHUNNED_MS = 30_000;
const MOST_SERVERS = 3;
/** Silent servers that are remembered. */
const MOST_SHUNNED = 16;

/** Nothing runs between a read and the copy of what was read. */
const incoming = Buffer.allocUnsafe(MAX_MESSAGE);

export type Transport = "udp" | "tcp";

/** The servers of one sandbox in their order, but for those that said nothing of late: they come last. */
export class Upstreams {
  readonly #shunned = new Map<string, number>();

  inOrder(upstreams: readonly Upstream[]): readonly Upstream[] {
    if (this.#shunned.size === 0) return upstreams;
    const now = performance.now();
    const isShunned = (upstream: Upstream) => (this.#shunned.get(keyOf(upstream)) ?? 0) > now;
    return [...upstreams.filter((each) => !isShunned(each)), ...upstreams.filter(isShunned)];
  }

  isSilent(upstream: Upstream): void {
    if (this.#shunned.size >= MOST_SHUNNED) this.#shunned.clear();
    this.#shunned.set(keyOf(upstream), performance.now() + SHUNNED_MS);
  }

  answers(upstream: Upstream): void {
    this.#shunned.delete(keyOf(upstream));
  }
}

function keyOf({ address, isInside }: Upstream): string {
  return `${address} ${isInside}`;
}

type Outcome = Buffer | "waiting" | "failed";

export interface ForwardOptions {
  readonly sandbox: string;
  readonly transport: Transport;
  readonly servers: Upstreams;
  readonly signal: AbortSignal;
}

/**
 * Asks servers for what this engine does not know, from inside the network namespace at `sandbox` or from the host's:
 * each in its turn when the one before has failed, or besides it when that has said nothing for a second. Resolves with
 * the first answer that is no failure, its id the query's, else with a failure; undefined if none came within four
 * seconds. That there is no such name counts only when no earlier server is still being waited for: servers do not
 * all know the same names. An abort ends it with undefined.
 */
export async function forwardQuery(
  query: Buffer,
  upstreams: readonly Upstream[],
  options: ForwardOptions,
): Promise<Buffer | undefined> {
  const sent = Buffer.from(query);
  sent.writeUInt16BE(randomInt(0x1_0000), 0);
  const reply = await race(sent, options.servers.inOrder(upstreams.slice(0, MOST_SERVERS)), options);
  if (reply !== undefined) query.copy(reply, 0, 0, 2);
  return reply;
}

async function race(
  query: Buffer,
  upstreams: readonly Upstream[],
  options: ForwardOptions,
): Promise<Buffer | undefined> {
  const ended = new AbortController();
  const end = () => ended.abort();
  options.signal.addEventListener("abort", end, { once: true });
  const timer = setTimeout(end, TIMEOUT_MS);
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  ended.signal.addEventListener("abort", () => resolve(undefined), { once: true });
  const asked: Outcome[] = [];
  let patience: NodeJS.Timeout | undefined;

  const decide = () => {
    const first = asked.indexOf("waiting");
    const known = first < 0 ? asked : asked.slice(0, first);
    const found = known.find(isConclusive) ?? asked.find(isPositive);
    if (found !== undefined) return resolve(found);
    if (first < 0 && asked.length === upstreams.length) return resolve(asked.findLast(isAnswer));
    // All that were asked have failed: nobody is waited for any more.
    if (first < 0) askNext();
  };
  const askNext = () => {
    clearTimeout(patience);
    const place = asked.length;
    const upstream = upstreams[place];
    if (upstream === undefined) return;
    asked.push("waiting");
    patience = setTimeout(askNext, PATIENCE_MS);
    const silent = setTimeout(() => options.servers.isSilent(upstream), PATIENCE_MS);
    void askOne(upstream, query, { ...options, signal: ended.signal }).then((reply) => {
      clearTimeout(silent);
      if (reply !== undefined) options.servers.answers(upstream);
      asked[place] = reply ?? "failed";
      decide();
    });
  };
  askNext();
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    clearTimeout(patience);
    options.signal.removeEventListener("abort", end);
    ended.abort();
  }
}

function isAnswer(outcome: Outcome): outcome is Buffer {
  return typeof outcome !== "string";
}

function isConclusive(outcome: Outcome): outcome is Buffer {
  return isAnswer(outcome) && codeOf(outcome) !== RCODE.serverFailure && codeOf(outcome) !== RCODE.refused;
}

/** Something that the name stands for, or more of it than fits. */
function isPositive(outcome: Outcome): outcome is Buffer {
  return isAnswer(outcome) && codeOf(outcome) === RCODE.noError && hasRecords(outcome);
}

/** Undefined if no answer came: no way there, nobody listens, or an abort. */
async function askOne(
  { address, isInside }: Upstream,
  query: Buffer,
  { sandbox, transport, signal }: ForwardOptions,
): Promise<Buffer | undefined> {
  const open = () => connectSocket(transport, address, DNS_PORT);
  try {
    const fd = isInside ? inNetns(sandbox, open) : open();
    return await (transport === "udp" ? askUdp : askTcp)(fd, query, signal);
  } catch {
    return undefined;
  }
}

/** Owns `fd`, a datagram socket that hears its peer alone. */
function askUdp(fd: number, query: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  const readiness = new Readiness(fd, () => {
    try {
      const length = readSync(fd, incoming);
      const reply = Buffer.from(incoming.subarray(0, length));
      if (isReplyTo(reply, query)) resolve(reply);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") resolve(undefined);
    }
  });
  const onAbort = () => resolve(undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    writeSync(fd, query);
    readiness.watch(true);
  } catch {
    resolve(undefined);
  }
  return promise.finally(() => {
    signal.removeEventListener("abort", onAbort);
    readiness.close();
    closeSync(fd);
  });
}

/** Owns `fd`, a stream socket on its way to its peer. */
async function askTcp(fd: number, query: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
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
    let all = Buffer.alloc(0);
    socket.on("data", (piece: Buffer) => {
      all = Buffer.concat([all, piece]);
      if (all.length < 2) return;
      const end = 2 + all.readUInt16BE(0);
      if (all.length < end) return;
      const reply = all.subarray(2, end);
      resolve(isReplyTo(reply, query) ? reply : undefined);
    });
    socket.once("error", () => resolve(undefined));
    socket.once("close", () => resolve(undefined));
    socket.write(framed(query));
    return await promise;
  } finally {
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
