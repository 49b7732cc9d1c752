import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import {
  acceptSocket,
  bindSocket,
  boundPort,
  newPeer,
  type Peer,
  portOf,
  receiveFrom,
  sendTo,
  setReceiveRoom,
} from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Nftables } from "../kernel/nftables.ts";
import { Readiness } from "../kernel/readiness.ts";
import { Allowance } from "./allowance.ts";
import { forwardQuery, framed, type Transport, Upstreams } from "./dns-forward.ts";
import {
  cutTo,
  type DnsAnswer,
  type DnsQuery,
  fits,
  RCODE,
  readQuery,
  reverseAddress,
  writeAnswer,
  writeFailure,
} from "./dns-message.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Upstream } from "./host-dns.ts";
import type { Names } from "./names.ts";

/** The host's own name, as seen from any container. */
export const HOST_NAME = "host.docker.internal";

/** Where containers on networks of the user's ask for names. */
export const RESOLVER_ADDRESS = "127.0.0.11";

const DNS_PORT = 53;
/** Queries of one sandbox that wait for other servers; more are refused. */
const MOST_FORWARDS = 256;
const MOST_CONNECTIONS = 32;
const CONNECTION_IDLE_MS = 10_000;
const MAX_MESSAGE = 65_535;
const TABLE = "gantry-dns";
/** Of the event loop's time: what the questions of one sandbox may take, and those of all. Beyond it they wait. */
const SHARE = { share: 0.2, mostMs: 8 };
const SHARE_OF_ALL = { share: 0.4, mostMs: 20 };
/** What others wait for at most while questions are answered. */
const SLICE_MS = 1;
/** No descriptor is free, or the like: it is not asked again at once. */
const FAILED_MS = 1000;
/** Datagrams that wait; more are lost, as anywhere. */
const RECEIVE_ROOM = 1 << 20;

/** What the resolvers of one engine may take together. */
export function resolversAllowance(): Allowance {
  return new Allowance(SHARE_OF_ALL);
}

export interface ResolverPorts {
  readonly sandbox: string;
  readonly names: Names;
  /** The sandbox's own endpoints, as they are at each query. */
  readonly endpoints: () => Iterable<Endpoint>;
  /** The host's addresses that the sandbox reaches. */
  readonly hostAddresses: () => readonly string[];
  /** None where nothing may be asked outside. */
  readonly upstreams: () => readonly Upstream[];
  readonly logger: Logger;
  /** Of all the engine's resolvers. */
  readonly allowance: Allowance;
  /** An earlier engine may have left its rules inside. */
  readonly isInherited: boolean;
}

/**
 * The name server of one sandbox: sockets of this process inside its network namespace, at 127.0.0.11. They are at ports
 * of the kernel's choice, so that a server of the container's can have port 53 of all addresses; two rules inside lead
 * port 53 of 127.0.0.11 there and back, without the kernel following connections for it.
 */
export class Resolver {
  readonly #ports: ResolverPorts;
  readonly #allowance: Allowance;
  readonly #udp: Doorway;
  readonly #tcp: Doorway;
  readonly #clients = new Set<Socket>();
  readonly #ended = new AbortController();
  readonly #servers = new Upstreams();
  #forwards = 0;

  constructor(ports: ResolverPorts) {
    this.#ports = ports;
    this.#allowance = new Allowance({ ...SHARE, whole: ports.allowance });
    const { udp, tcp } = inNetns(ports.sandbox, bindBoth);
    const complain = (error: unknown) => this.#complain(error);
    this.#udp = new Doorway(udp, this.#allowance, () => this.#takeDatagram(), complain);
    this.#tcp = new Doorway(tcp, this.#allowance, () => this.#takeConnection(), complain);
    try {
      this.#leadPorts();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    this.#udp.close();
    this.#tcp.close();
    for (const client of this.#clients) client.destroy();
  }

  #leadPorts(): void {
    const own = rules(boundPort(this.#udp.fd), boundPort(this.#tcp.fd));
    // The kernel takes 12 ms to be done with a deletion, even of what was not there.
    const script = this.#ports.isInherited ? `add table ip ${TABLE}\ndelete table ip ${TABLE}\n${own}` : own;
    inNetns(this.#ports.sandbox, () => {
      const nft = new Nftables();
      try {
        nft.run(script);
      } finally {
        nft.close();
      }
    });
  }

  #takeDatagram(): boolean {
    const size = receiveFrom(this.#udp.fd, incoming, sender);
    if (size === undefined) return false;
    // Nobody is at port 0: whoever says so made the packet up.
    if (portOf(sender) === 0) return true;
    const bytes = incoming.subarray(0, size);
    const answer = this.#answerNow(bytes, "udp");
    if (answer === "forward") void this.#forwardDatagram(Buffer.from(bytes), copyOf(sender));
    else if (answer !== undefined) sendTo(this.#udp.fd, answer, sender);
    return true;
  }

  async #forwardDatagram(bytes: Buffer, peer: Peer): Promise<void> {
    const reply = await this.#forward(bytes, "udp");
    if (!this.#ended.signal.aborted) sendTo(this.#udp.fd, reply, peer);
  }

  #takeConnection(): boolean {
    const fd = acceptSocket(this.#tcp.fd);
    if (fd === undefined) return false;
    if (this.#clients.size >= MOST_CONNECTIONS) {
      closeSync(fd);
      return true;
    }
    const socket = new Socket({ fd, allowHalfOpen: true });
    this.#clients.add(socket);
    socket.unref();
    socket.setTimeout(CONNECTION_IDLE_MS, () => socket.destroy());
    socket.on("error", () => {});
    socket.once("close", () => this.#clients.delete(socket));
    void this.#serve(socket).catch(() => socket.destroy());
    return true;
  }

  /** One query after the other: a client that sends more than it reads waits. */
  async #serve(socket: Socket): Promise<void> {
    let rest = Buffer.alloc(0);
    for await (const piece of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      rest = Buffer.concat([rest, piece]);
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
        const end = 2 + rest.readUInt16BE(0);
        const query = rest.subarray(2, end);
        rest = rest.subarray(end);
        await this.#turn();
        const now = this.#allowance.spend(() => this.#answerNow(query, "tcp"));
        const reply = now === "forward" ? await this.#forward(query, "tcp") : now;
        if (reply === undefined) continue;
        if (!socket.write(framed(reply)))
          await new Promise((resolve) => socket.once("drain", resolve).once("close", resolve));
        if (socket.destroyed) return;
      }
    }
    socket.end();
  }

  /** Lets others have their turn, and waits while too much was asked. */
  async #turn(): Promise<void> {
    const { signal } = this.#ended;
    await turn();
    for (let ms = this.#allowance.waitMs(); ms > 0; ms = this.#allowance.waitMs()) {
      await delay(ms, undefined, { signal, ref: false });
    }
  }

  /** The answer to what can be answered at once, none for what deserves none. */
  #answerNow(bytes: Buffer, transport: Transport): Buffer | "forward" | undefined {
    const read = readQuery(bytes);
    if (read === undefined) return undefined;
    if ("refusal" in read) return read.refusal;
    const { query } = read;
    const local = this.#local(query);
    if (local !== undefined) {
      return writeAnswer(query, local.answer, transport === "udp" ? query.udpSize : MAX_MESSAGE);
    }
    const isFull = this.#forwards >= MOST_FORWARDS;
    return isFull || this.#ports.upstreams().length === 0 ? writeFailure(bytes, RCODE.serverFailure) : "forward";
  }

  async #forward(bytes: Buffer, transport: Transport): Promise<Buffer> {
    this.#forwards++;
    try {
      const { sandbox } = this.#ports;
      const { signal } = this.#ended;
      const options = { sandbox, transport, servers: this.#servers, signal };
      const reply = await forwardQuery(bytes, this.#ports.upstreams(), options);
      if (reply === undefined) return writeFailure(bytes, RCODE.serverFailure);
      return transport === "tcp" ? reply : cutTo(reply, udpSizeOf(bytes));
    } finally {
      this.#forwards--;
    }
  }

  /** What the engine itself knows; undefined for a name that is none of its containers'. */
  #local(query: DnsQuery): { readonly answer: DnsAnswer | undefined } | undefined {
    if (!query.isInternet) return undefined;
    const { names } = this.#ports;
    const reverse = reverseAddress(query.name);
    if (reverse !== undefined) {
      const target = names.reverse(this.#ports.endpoints(), reverse);
      if (target === undefined) return undefined;
      return { answer: query.type === "PTR" && fits(target) ? { type: "PTR", target } : undefined };
    }
    const found = names.find(this.#ports.endpoints(), query.name);
    const isHost = found === undefined && query.name.toLowerCase() === HOST_NAME;
    if (found === undefined && !isHost) return undefined;
    const { type } = query;
    if (type !== "A" && type !== "AAAA") return { answer: undefined };
    if (found === undefined) return { answer: { type, addresses: this.#ports.hostAddresses().filter(isOf[type]) } };
    const addresses = found
      .map(({ address }) => (type === "A" ? address.ipv4Address : address.ipv6Address))
      .filter((address) => address !== "");
    return { answer: { type, addresses: shuffled(addresses) } };
  }

  #complain(error: unknown): void {
    this.#ports.logger.warn("a container's name server failed", {
      sandbox: this.#ports.sandbox,
      cause: messageOf(error),
    });
  }
}

/**
 * Takes what comes to a socket, one thing after the other, for no longer at a time than others can wait and for no more
 * than its allowance; meanwhile the kernel keeps what comes, or loses it. Owns the descriptor.
 */
class Doorway {
  readonly fd: number;
  readonly #allowance: Allowance;
  /** Takes one; false if none is there. */
  readonly #take: () => boolean;
  readonly #complain: (error: unknown) => void;
  readonly #readiness: Readiness;
  #rest: NodeJS.Timeout | undefined;

  constructor(fd: number, allowance: Allowance, take: () => boolean, complain: (error: unknown) => void) {
    this.fd = fd;
    this.#allowance = allowance;
    this.#take = take;
    this.#complain = complain;
    this.#readiness = new Readiness(fd, () => this.#takeSome());
    this.#open();
  }

  close(): void {
    clearTimeout(this.#rest);
    this.#readiness.close();
    closeSync(this.fd);
  }

  #open(): void {
    this.#readiness.watch(true);
    this.#readiness.unref();
  }

  #takeSome(): void {
    let wait = this.#allowance.waitMs();
    if (wait === 0) {
      const isWell = this.#allowance.spend(() => this.#takeSlice());
      wait = isWell ? this.#allowance.waitMs() : FAILED_MS;
    }
    if (wait === 0) return;
    this.#readiness.watch(false);
    this.#rest = setTimeout(() => this.#open(), wait).unref();
  }

  #takeSlice(): boolean {
    const end = performance.now() + SLICE_MS;
    try {
      while (this.#take() && performance.now() < end);
      return true;
    } catch (error) {
      this.#complain(error);
      return false;
    }
  }
}

/** Nothing runs between the receiving of a datagram and the use, or a copy, of it. */
const incoming = Buffer.allocUnsafe(MAX_MESSAGE);
const sender = newPeer();

function copyOf({ bytes, size }: Peer): Peer {
  return { bytes: Buffer.from(bytes), size: Buffer.from(size) };
}

function bindBoth(): { udp: number; tcp: number } {
  const udp = bindSocket("udp", RESOLVER_ADDRESS, 0);
  try {
    setReceiveRoom(udp, RECEIVE_ROOM);
    return { udp, tcp: bindSocket("tcp", RESOLVER_ADDRESS, 0) };
  } catch (error) {
    closeSync(udp);
    throw error;
  }
}

const isOf = {
  A: (address: string) => !address.includes(":"),
  AAAA: (address: string) => address.includes(":"),
} as const;

/** What the asker of a query that was read before takes over UDP. */
function udpSizeOf(bytes: Buffer): number {
  const read = readQuery(bytes);
  return read !== undefined && "query" in read ? read.query.udpSize : 0;
}

/** Several that share a name take turns. */
function shuffled<T>(items: T[]): T[] {
  for (let at = items.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1));
    [items[at], items[other]] = [items[other] as T, items[at] as T];
  }
  return items;
}

/** Before the kernel follows a connection on the way there, after it on the way back, so that it sees one and the same. */
function rules(udp: number, tcp: number): string {
  return `table ip ${TABLE} {
  chain there {
    type filter hook output priority raw; policy accept;
    ip daddr ${RESOLVER_ADDRESS} udp dport ${DNS_PORT} udp dport set ${udp}
    ip daddr ${RESOLVER_ADDRESS} tcp dport ${DNS_PORT} tcp dport set ${tcp}
  }
  chain back {
    type filter hook output priority mangle; policy accept;
    ip saddr ${RESOLVER_ADDRESS} udp sport ${udp} udp sport set ${DNS_PORT}
    ip saddr ${RESOLVER_ADDRESS} tcp sport ${tcp} tcp sport set ${DNS_PORT}
  }
}
`;
}
