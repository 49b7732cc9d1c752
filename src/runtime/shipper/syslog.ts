import { setImmediate as turn } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import type { ServiceAddress, SyslogService } from "../shipment.ts";
import { UdpDatagrams, UnixDatagrams } from "./datagram-connection.ts";
import type { LogSender, ShippedLine } from "./sender.ts";
import { StreamConnection } from "./stream-connection.ts";

const ERROR = 3;
const INFO = 6;
const AT_ONCE = 64;
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

type Connection =
  | { readonly kind: "stream"; readonly to: StreamConnection; readonly counted: boolean }
  | { readonly kind: "unixgram"; readonly to: UnixDatagrams }
  | { readonly kind: "udp"; readonly to: UdpDatagrams };

/** Messages in the forms of RFC 3164 and RFC 5424, to whatever socket a syslog listens on. */
export class SyslogSender implements LogSender {
  readonly #service: SyslogService;
  #connection: Connection | undefined;

  constructor(service: SyslogService) {
    this.#service = service;
  }

  get isCertain(): boolean {
    return this.#connection?.kind === "unixgram";
  }

  get isBroken(): boolean {
    return this.#connection?.to.isBroken ?? true;
  }

  async connect(signal: AbortSignal): Promise<void> {
    const { addresses } = this.#service;
    const failures: string[] = [];
    for (const address of addresses) {
      try {
        this.#connection = await open(address, this.#service, signal);
        return;
      } catch (error) {
        failures.push(messageOf(error));
      }
    }
    // The places of the host's own syslog are nobody's choice: each one's reason would not help.
    throw new Error(addresses.length === 1 ? failures[0] : "Unix syslog delivery error");
  }

  async send(lines: readonly ShippedLine[], signal: AbortSignal): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined) throw new Error("not connected");
    // An empty line says nothing: Docker leaves it out.
    const messages = lines.filter(({ data }) => data.length > 0).map((line) => syslogMessage(this.#service, line));
    if (connection.kind === "stream") {
      const pieces = connection.counted
        ? messages.flatMap((bytes) => [Buffer.from(`${bytes.length} `), bytes])
        : messages;
      if (pieces.length > 0) await connection.to.write(Buffer.concat(pieces), signal);
      return;
    }
    for (const [index, message] of messages.entries()) {
      await connection.to.send(message, signal);
      if (index % AT_ONCE === AT_ONCE - 1) await turn();
      signal.throwIfAborted();
    }
  }

  close(): void {
    this.#connection?.to.close();
    this.#connection = undefined;
  }
}

async function open(address: ServiceAddress, { format }: SyslogService, signal: AbortSignal): Promise<Connection> {
  if (address.network === "unixgram") return { kind: "unixgram", to: new UnixDatagrams(address.path) };
  if (address.network === "udp") return { kind: "udp", to: await UdpDatagrams.open(address.host, address.port) };
  const counted = address.network === "tcp" && address.tls !== undefined && format.startsWith("rfc5424");
  return { kind: "stream", to: await StreamConnection.open(address, signal), counted };
}

export function syslogMessage(service: SyslogService, { stream, timeNano, data }: ShippedLine): Buffer {
  const { facility, format, hostname, tag } = service;
  const priority = `<${facility * 8 + (stream === 2 ? ERROR : INFO)}>`;
  const source = `${tag}[${process.pid}]`;
  let head: string;
  switch (format) {
    case "":
      head = `${priority}${stampOf(timeNano)} ${source}: `;
      break;
    case "rfc3164":
      head = `${priority}${stampOf(timeNano)} ${hostname} ${source}: `;
      break;
    case "rfc5424":
    case "rfc5424micro":
      head = `${priority}1 ${rfc3339(timeNano, format)} ${hostname} ${tag} ${process.pid} ${tag} - `;
  }
  const isEnded = data.at(-1) === 10;
  return Buffer.concat([Buffer.from(head), data, Buffer.from(isEnded ? "" : "\n")]);
}

/** `Jan _2 15:04:05` in local time. */
function stampOf(nano: bigint): string {
  const time = new Date(Number(nano / 1_000_000n));
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
  return `${MONTHS[time.getMonth()]} ${String(time.getDate()).padStart(2)} ${clock}`;
}

/** Local time with its offset, `Z` for none; to the second or the microsecond. */
function rfc3339(nano: bigint, format: "rfc5424" | "rfc5424micro"): string {
  const ms = Number(nano / 1_000_000n);
  const offset = -new Date(ms).getTimezoneOffset();
  const local = new Date(ms + offset * 60_000).toISOString().slice(0, 19);
  const micro = format === "rfc5424micro" ? `.${String((nano / 1000n) % 1_000_000n).padStart(6, "0")}` : "";
  const far = Math.abs(offset);
  const zone = offset === 0 ? "Z" : `${offset < 0 ? "-" : "+"}${two(Math.floor(far / 60))}:${two(far % 60)}`;
  return `${local}${micro}${zone}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
