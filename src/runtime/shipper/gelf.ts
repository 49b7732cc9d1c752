import { randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { deflateSync, gzipSync } from "node:zlib";
import { messageOf } from "../../base/errors.ts";
import type { GelfService } from "../shipment.ts";
import { UdpDatagrams } from "./datagram-connection.ts";
import type { LogSender, ShippedLine } from "./sender.ts";
import { StreamConnection } from "./stream-connection.ts";

const CHUNK = 1420;
const CHUNK_HEAD = 12;
const MOST_CHUNKS = 128;
const AT_ONCE = 64;
const ERROR = 3;
const INFO = 6;

/** GELF 1.1: over UDP compressed and in chunks, over TCP with a zero byte behind each message. */
export class GelfSender implements LogSender {
  readonly isCertain = false;
  readonly #service: GelfService;
  readonly #extra: string;
  #udp: UdpDatagrams | undefined;
  #tcp: StreamConnection | undefined;

  constructor(service: GelfService) {
    this.#service = service;
    this.#extra = JSON.stringify(
      Object.fromEntries(Object.entries(service.extra).sort(([a], [b]) => (a < b ? -1 : 1))),
    );
  }

  get isBroken(): boolean {
    return (this.#udp ?? this.#tcp)?.isBroken ?? true;
  }

  async connect(signal: AbortSignal): Promise<void> {
    const { address } = this.#service;
    if (address.network === "udp") {
      this.#udp = await UdpDatagrams.open(address.host, address.port);
      return;
    }
    try {
      this.#tcp = await StreamConnection.open(address, signal);
    } catch (error) {
      const place = "path" in address ? address.path : `${address.host}:${address.port}`;
      throw new Error(`gelf: cannot connect to GELF endpoint: ${place} ${messageOf(error)}`, { cause: error });
    }
  }

  async send(lines: readonly ShippedLine[], signal: AbortSignal): Promise<void> {
    const messages = lines.filter(({ data }) => data.length > 0).map((line) => this.#message(line));
    if (this.#tcp !== undefined) {
      if (messages.length > 0) await this.#tcp.write(Buffer.from(`${messages.join("\0")}\0`), signal);
      return;
    }
    const udp = this.#udp;
    if (udp === undefined) throw new Error("not connected");
    let sent = 0;
    for (const message of messages) {
      for (const datagram of chunksOf(this.#packed(message))) {
        await udp.send(datagram);
        if (++sent % AT_ONCE === 0) await turn();
      }
      signal.throwIfAborted();
    }
  }

  close(): void {
    this.#udp?.close();
    this.#tcp?.close();
    this.#udp = undefined;
    this.#tcp = undefined;
  }

  #message({ stream, timeNano, data }: ShippedLine): string {
    const head = JSON.stringify({
      version: "1.1",
      host: this.#service.hostname,
      short_message: data.toString("utf8"),
      timestamp: Number(timeNano / 1_000_000n) / 1000,
      level: stream === 2 ? ERROR : INFO,
    });
    return this.#extra === "{}" ? head : `${head.slice(0, -1)},${this.#extra.slice(1)}`;
  }

  #packed(message: string): Buffer {
    const { compression, level } = this.#service;
    if (compression === "gzip") return gzipSync(message, { level });
    return compression === "zlib" ? deflateSync(message, { level }) : Buffer.from(message);
  }
}

/** The datagrams of one message. More than 128 are not allowed: the rest of such a message is cut off. */
function chunksOf(message: Buffer): Buffer[] {
  if (message.length <= CHUNK) return [message];
  const size = CHUNK - CHUNK_HEAD;
  const count = Math.min(MOST_CHUNKS, Math.ceil(message.length / size));
  const id = randomBytes(8);
  return Array.from({ length: count }, (_, index) => {
    const head = Buffer.concat([Buffer.from([0x1e, 0x0f]), id, Buffer.from([index, count])]);
    return Buffer.concat([head, message.subarray(index * size, (index + 1) * size)]);
  });
}
