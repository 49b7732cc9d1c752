import { closeSync } from "node:fs";
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
import { Allowance } from "./allowance.ts";
import { forwardQuery, type Transport, Upstreams } from "./dns-forward.ts";
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
import { QueryStream } from "./query-stream.ts";
import { type Gate, Turnstile } from "./turnstile.ts";

/** The host's own name, as seen from any container. */
export const HOST_NAME = "host.docker.internal";

/** Where containers on networks of the user's ask for names. */
export const RESOLVER_ADDRESS = "127.0.0.11";

const DNS_PORT = 53;
/** Queries of one sandbox that wait for other servers; more are refused. */
const MOST_FORWARDS = 256;
/** Open at once; so many more wait in the kernel, which turns away the rest. */
const MOST_CONNECTIONS = 32;
const MAX_MESSAGE = 65_535;
const TABLE = "gantry-dns";
/** Of the event loop's time: what the questions of one sandbox may take, and those of all. Beyond it they wait. */
const SHARE = { share: 0.2, atLeisure: 0.7, mostMs: 8 };
const SHARE_OF_ALL = { share: 0.4, atLeisure: 0.9, mostMs: 20 };
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
  readonly #turnstile: Turnstile;
  readonly #udp: number;
  readonly #tcp: number;
  readonly #datagrams: Gate;
  readonly #connections: Gate;
  readonly #clients = new Set<QueryStream>();
  readonly #ended = new AbortController();
  readonly #servers = new Upstreams();
  #forwards = 0;

  constructor(ports: ResolverPorts) {
    this.#ports = ports;
    const allowance = new Allowance({ ...SHARE, whole: ports.allowance });
    this.#turnstile = new Turnstile(allowance, (error) => this.#complain(error));
    const { udp, tcp } = inNetns(ports.sandbox, bindBoth);
    this.#udp = udp;
    this.#tcp = tcp;
    this.#datagrams = this.#turnstile.admit(udp, { step: () => this.#takeDatagram(), awaits: "reading" });
    const isFull = () => this.#clients.size >= MOST_CONNECTIONS;
    this.#connections = this.#turnstile.admit(tcp, {
      step: () => !isFull() && this.#takeConnection(),
      get awaits() {
        return isFull() ? "nothing" : "reading";
      },
    });
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
    this.#turnstile.close();
    this.#datagrams.close();
    this.#connections.close();
    for (const client of this.#clients) client.close();
  }

  #leadPorts(): void {
    const own = rules(boundPort(this.#udp), boundPort(this.#tcp));
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
    const size = receiveFrom(this.#udp, incoming, sender);
    if (size === undefined) return false;
    // Nobody is at port 0: whoever says so made the packet up.
    if (portOf(sender) === 0) return true;
    const bytes = incoming.subarray(0, size);
    const answer = this.#answerNow(bytes, "udp");
    if (answer === "forward") void this.#forwardDatagram(Buffer.from(bytes), copyOf(sender));
    else if (answer !== undefined) sendTo(this.#udp, answer, sender);
    return true;
  }

  async #forwardDatagram(bytes: Buffer, peer: Peer): Promise<void> {
    const reply = await this.#forward(bytes, "udp");
    if (!this.#ended.signal.aborted) sendTo(this.#udp, reply, peer);
  }

  #takeConnection(): boolean {
    const fd = acceptSocket(this.#tcp);
    if (fd === undefined) return false;
    const client = new QueryStream(fd, this.#turnstile, {
      answer: (query) => {
        const now = this.#answerNow(query, "tcp");
        return now === "forward" ? this.#forward(query, "tcp") : now;
      },
      onClose: () => {
        this.#clients.delete(client);
        if (this.#clients.size === MOST_CONNECTIONS - 1) this.#connections.call();
      },
    });
    this.#clients.add(client);
    return true;
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
    return { udp, tcp: bindSocket("tcp", RESOLVER_ADDRESS, 0, { backlog: MOST_CONNECTIONS }) };
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
