import { createSocket, type Socket as Datagrams, type RemoteInfo } from "node:dgram";
import { closeSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { bindSocket } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Nftables } from "../kernel/nftables.ts";
import { forwardQuery, framed, type Transport } from "./dns-forward.ts";
import {
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

/** Where containers on networks of the user's ask for names. */
export const RESOLVER_ADDRESS = "127.0.0.11";

const DNS_PORT = 53;
/** Queries of one sandbox that wait for other servers; more are refused. */
const MOST_FORWARDS = 256;
const MOST_CONNECTIONS = 32;
const CONNECTION_IDLE_MS = 10_000;
const MAX_MESSAGE = 65_535;
const TABLE = "gantry-dns";

export interface ResolverPorts {
  readonly sandbox: string;
  readonly names: Names;
  /** The sandbox's own endpoints, as they are at each query. */
  readonly endpoints: () => Iterable<Endpoint>;
  /** None where nothing may be asked outside. */
  readonly upstreams: () => readonly Upstream[];
  readonly logger: Logger;
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
  readonly #datagrams: Datagrams;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #ended = new AbortController();
  #forwards = 0;

  constructor(ports: ResolverPorts) {
    this.#ports = ports;
    const { udp, tcp } = inNetns(ports.sandbox, bindBoth);
    this.#datagrams = createSocket("udp4");
    this.#datagrams.on("error", (error) => this.#complain(error));
    this.#datagrams.on("message", (bytes, from) => void this.#onDatagram(bytes, from));
    this.#datagrams.bind({ fd: udp }).unref();
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#onConnection(socket));
    this.#server.maxConnections = MOST_CONNECTIONS;
    this.#server.on("error", (error) => this.#complain(error));
    this.#server.listen({ fd: tcp }).unref();
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
    this.#datagrams.close();
    this.#server.close();
    for (const client of this.#clients) client.destroy();
  }

  #leadPorts(): void {
    const own = rules(this.#datagrams.address().port, (this.#server.address() as AddressInfo).port);
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

  async #onDatagram(bytes: Buffer, from: RemoteInfo): Promise<void> {
    // Nobody is at port 0: whoever says so made the packet up.
    const reply = from.port === 0 ? undefined : await this.#answer(bytes, "udp");
    if (reply === undefined || this.#ended.signal.aborted) return;
    this.#datagrams.send(reply, from.port, from.address, () => {});
  }

  #onConnection(socket: Socket): void {
    this.#clients.add(socket);
    socket.unref();
    socket.setTimeout(CONNECTION_IDLE_MS, () => socket.destroy());
    socket.on("error", () => {});
    socket.once("close", () => this.#clients.delete(socket));
    void this.#serve(socket).catch(() => socket.destroy());
  }

  /** One query after the other: a client that sends more than it reads waits. */
  async #serve(socket: Socket): Promise<void> {
    let rest = Buffer.alloc(0);
    for await (const piece of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      rest = Buffer.concat([rest, piece]);
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
        const end = 2 + rest.readUInt16BE(0);
        const reply = await this.#answer(rest.subarray(2, end), "tcp");
        rest = rest.subarray(end);
        if (reply === undefined) continue;
        if (!socket.write(framed(reply)))
          await new Promise((resolve) => socket.once("drain", resolve).once("close", resolve));
        if (socket.destroyed) return;
      }
    }
    socket.end();
  }

  async #answer(bytes: Buffer, transport: Transport): Promise<Buffer | undefined> {
    const read = readQuery(bytes);
    if (read === undefined) return undefined;
    if ("refusal" in read) return read.refusal;
    const { query } = read;
    const local = this.#local(query);
    if (local !== undefined) {
      return writeAnswer(query, local.answer, transport === "udp" ? query.udpSize : MAX_MESSAGE);
    }
    const upstreams = this.#ports.upstreams();
    if (upstreams.length === 0 || this.#forwards >= MOST_FORWARDS) return writeFailure(query, RCODE.serverFailure);
    this.#forwards++;
    try {
      const { sandbox } = this.#ports;
      const reply = await forwardQuery(query.bytes, upstreams, { sandbox, transport, signal: this.#ended.signal });
      return reply ?? writeFailure(query, RCODE.serverFailure);
    } finally {
      this.#forwards--;
    }
  }

  /** What the engine itself knows; undefined for a name that is none of its containers'. */
  #local(query: DnsQuery): { readonly answer: DnsAnswer | undefined } | undefined {
    const { names } = this.#ports;
    const reverse = reverseAddress(query.name);
    if (reverse !== undefined) {
      const target = names.reverse(this.#ports.endpoints(), reverse);
      if (target === undefined) return undefined;
      return { answer: query.type === "PTR" && fits(target) ? { type: "PTR", target } : undefined };
    }
    const found = names.find(this.#ports.endpoints(), query.name);
    if (found === undefined) return undefined;
    if (query.type !== "A" && query.type !== "AAAA") return { answer: undefined };
    const addresses = found
      .map(({ address }) => (query.type === "A" ? address.ipv4Address : address.ipv6Address))
      .filter((address) => address !== "");
    return { answer: { type: query.type, addresses: shuffled(addresses) } };
  }

  #complain(error: unknown): void {
    this.#ports.logger.warn("a container's name server failed", {
      sandbox: this.#ports.sandbox,
      cause: messageOf(error),
    });
  }
}

function bindBoth(): { udp: number; tcp: number } {
  const udp = bindSocket("udp", RESOLVER_ADDRESS, 0);
  try {
    return { udp, tcp: bindSocket("tcp", RESOLVER_ADDRESS, 0) };
  } catch (error) {
    closeSync(udp);
    throw error;
  }
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
