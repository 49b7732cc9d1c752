import { randomBytes } from "node:crypto";
import type { FluentdService } from "../shipment.ts";
import { EventTime, PackedWriter, unpack } from "./msgpack.ts";
import type { LogSender, ShippedLine } from "./sender.ts";
import { StreamConnection } from "./stream-connection.ts";

const ACK_MS = 60_000;

/** The forward protocol of fluentd: many entries of one tag a message, which the service acknowledges if asked to. */
export class FluentdSender implements LogSender {
  readonly #service: FluentdService;
  readonly #extra: Buffer;
  readonly #extraCount: number;
  #connection: StreamConnection | undefined;
  #connectedAt = 0;

  constructor(service: FluentdService) {
    this.#service = service;
    const entries = Object.entries(service.extra);
    const writer = new PackedWriter();
    for (const [key, value] of entries) writer.value(key).value(value);
    this.#extra = writer.bytes;
    this.#extraCount = entries.length;
  }

  get isCertain(): boolean {
    return this.#service.requestAck;
  }

  get isBroken(): boolean {
    return this.#connection?.isBroken ?? true;
  }

  async connect(signal: AbortSignal): Promise<void> {
    this.#connection = await StreamConnection.open(this.#service.address, signal);
    this.#connectedAt = Date.now();
  }

  async send(lines: readonly ShippedLine[], signal: AbortSignal): Promise<void> {
    await this.#renew(signal);
    const connection = this.#connection;
    if (connection === undefined) throw new Error("not connected");
    const { requestAck, writeTimeoutMs } = this.#service;
    const chunk = requestAck ? randomBytes(16).toString("base64") : undefined;
    const limit = writeTimeoutMs > 0 ? AbortSignal.any([signal, AbortSignal.timeout(writeTimeoutMs)]) : signal;
    await connection.write(this.#message(lines, chunk), limit);
    if (chunk === undefined) return;
    const patience = AbortSignal.any([signal, AbortSignal.timeout(ACK_MS)]);
    for (;;) {
      const answer = await connection.read(unpack, patience);
      if ((answer as { ack?: unknown } | null)?.ack === chunk) return;
    }
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  /** A name may stand for other machines by now. Where nobody answers the old connection is kept. */
  async #renew(signal: AbortSignal): Promise<void> {
    const { address, reconnectMs } = this.#service;
    const former = this.#connection;
    if (reconnectMs === 0 || former === undefined || Date.now() - this.#connectedAt < reconnectMs) return;
    this.#connectedAt = Date.now();
    try {
      this.#connection = await StreamConnection.open(address, signal);
      former.end();
    } catch {
      signal.throwIfAborted();
    }
  }

  #message(lines: readonly ShippedLine[], chunk: string | undefined): Buffer {
    const writer = new PackedWriter();
    writer.array(3).value(this.#service.tag).array(lines.length);
    for (const line of lines) this.#entry(writer, line);
    const size = { size: lines.length };
    return writer.value(chunk === undefined ? size : { ...size, chunk }).bytes;
  }

  #entry(writer: PackedWriter, { stream, timeNano, data, part }: ShippedLine): void {
    const seconds = Number(timeNano / 1_000_000_000n);
    const time = this.#service.subSecond ? new EventTime(seconds, Number(timeNano % 1_000_000_000n)) : seconds;
    writer.array(2).value(time);
    writer.map(2 + this.#extraCount + (part === undefined ? 0 : 4));
    writer.value("source").value(stream === 2 ? "stderr" : "stdout");
    writer.value("log").text(data);
    writer.raw(this.#extra);
    if (part === undefined) return;
    writer.value("partial_message").value("true").value("partial_id").value(part.id);
    writer.value("partial_ordinal").value(String(part.ordinal)).value("partial_last").value(String(part.isLast));
  }
}
