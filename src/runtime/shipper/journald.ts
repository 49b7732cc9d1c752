import { timeText } from "../json-time.ts";
import type { JournaldService } from "../shipment.ts";
import { UnixDatagrams } from "./datagram-connection.ts";
import type { LogSender, ShippedLine } from "./sender.ts";

const ERROR = 3;
const INFO = 6;

/** The native protocol of systemd's journal: a datagram of fields a line. */
export class JournaldSender implements LogSender {
  readonly isCertain = true;
  readonly #path: string;
  readonly #fields: Buffer;
  #journal: UnixDatagrams | undefined;

  constructor({ path, fields }: JournaldService) {
    this.#path = path;
    this.#fields = Buffer.concat(Object.entries(fields).map(([name, value]) => field(name, Buffer.from(value))));
  }

  get isBroken(): boolean {
    return this.#journal?.isBroken ?? true;
  }

  async connect(): Promise<void> {
    try {
      this.#journal = new UnixDatagrams(this.#path);
    } catch (error) {
      throw new Error("journald is not enabled on this host", { cause: error });
    }
  }

  async send(lines: readonly ShippedLine[], signal: AbortSignal): Promise<void> {
    const journal = this.#journal;
    if (journal === undefined) throw new Error("not connected");
    for (const line of lines) {
      if (line.data.length > 0) await journal.send(this.#entry(line), signal, true);
    }
  }

  close(): void {
    this.#journal?.close();
    this.#journal = undefined;
  }

  #entry({ stream, timeNano, data, part }: ShippedLine): Buffer {
    let head = `PRIORITY=${stream === 2 ? ERROR : INFO}\nSYSLOG_TIMESTAMP=${timeText(timeNano)}\n`;
    if (part !== undefined) {
      head += `CONTAINER_PARTIAL_ID=${part.id}\nCONTAINER_PARTIAL_ORDINAL=${part.ordinal}\n`;
      head += `CONTAINER_PARTIAL_LAST=${part.isLast}\n`;
      if (!part.isLast) head += "CONTAINER_PARTIAL_MESSAGE=true\n";
    }
    return Buffer.concat([field("MESSAGE", data), Buffer.from(head), this.#fields]);
  }
}

/** `NAME=value`, or with a newline in the value its length as 64 bits before it. */
function field(name: string, value: Buffer): Buffer {
  if (!value.includes(10)) return Buffer.concat([Buffer.from(`${name}=`), value, Buffer.from("\n")]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(value.length));
  return Buffer.concat([Buffer.from(`${name}\n`), size, value, Buffer.from("\n")]);
}
