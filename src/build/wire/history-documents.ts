import { createHash } from "node:crypto";
import { GantryError } from "../../base/errors.ts";
import { StatusResponseSchema } from "../../buildkit/control.ts";
import { encode } from "../../buildkit/message.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { BuildHistory } from "../builder.ts";
import type { BuildEvent } from "../progress.ts";
import { HistoryTrace } from "./history-trace.ts";
import { statusMessages } from "./status-message.ts";

/** A document of the history, as clients are told of it. */
export interface DocumentDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What a build told, as a document. */
export interface LogsDescriptor extends DocumentDescriptor {
  readonly events: number;
}

/** One that can be read. */
export interface HistoryDocument {
  readonly size: number;
  /** Its bytes from an offset on. */
  read(offset: number): AsyncIterable<Uint8Array>;
}

/** What is made of the events of a build. */
interface Told {
  readonly logs: LogsDescriptor;
  readonly trace: DocumentDescriptor;
}

const TRACE = "application/vnd.buildkit.otlp.json.v0";
const LOGS = "application/vnd.buildkit.status.v0";
/** Builds of which it is remembered how long their output is as a document. */
const MOST_REMEMBERED = 2000;

/**
 * The history's documents by their digests: those that are attached to records, and what builds told, which is kept in
 * another form and written out whenever somebody reads it.
 */
export class HistoryDocuments {
  readonly #history: BuildHistory;
  /** By build. The oldest go first. */
  readonly #told = new Map<string, { readonly completedAt: number; readonly told: Promise<Told> }>();

  constructor(history: BuildHistory) {
    this.#history = history;
  }

  /** What a build that has ended told, and when. Undefined where there is none. */
  async told(id: string): Promise<Told | undefined> {
    const completedAt = this.#history.get(id)?.completedAt;
    if (completedAt === undefined) return undefined;
    const known = this.#told.get(id);
    if (known?.completedAt === completedAt) return known.told;
    const told = this.#measure(id);
    this.#told.delete(id);
    this.#told.set(id, { completedAt, told });
    told.catch(() => this.#told.delete(id));
    for (const old of this.#told.keys()) {
      if (this.#told.size <= MOST_REMEMBERED) break;
      this.#told.delete(old);
    }
    return told;
  }

  /** Rejects with not-found for what no record has, or none that was told of. */
  async find(digest: string): Promise<HistoryDocument> {
    for (const { attachments = [], id } of this.#history.list()) {
      const found = attachments.find((one) => one.digest === digest);
      if (found === undefined) continue;
      const bytes = async () => this.#history.attachment(id, digest);
      return { size: found.size, read: (offset) => later(async () => (await bytes()).subarray(offset)) };
    }
    for (const [id, { told }] of this.#told) {
      const { logs, trace } = (await told.catch(() => undefined)) ?? {};
      if (this.#history.get(id) === undefined) continue;
      if (logs?.digest === digest) return { size: logs.size, read: (offset) => skipping(this.#transcript(id), offset) };
      if (trace?.digest !== digest) continue;
      return { size: trace.size, read: (offset) => later(async () => (await this.#trace(id)).subarray(offset)) };
    }
    throw new GantryError("not-found", `content ${digest.slice(0, 100)}: not found`);
  }

  async #measure(id: string): Promise<Told> {
    const hash = createHash("sha256");
    const spans = new HistoryTrace();
    let size = 0;
    let events = 0;
    for await (const bytes of this.#transcript(id, (event) => spans.add(event))) {
      hash.update(bytes);
      size += bytes.length;
      events++;
    }
    const trace = await this.#documentOf(id, spans);
    return {
      logs: { mediaType: LOGS, digest: `sha256:${hash.digest("hex")}`, size, annotations: {}, events },
      trace: { mediaType: TRACE, digest: sha256Of(trace), size: trace.length, annotations: {} },
    };
  }

  async #trace(id: string): Promise<Buffer> {
    const spans = new HistoryTrace();
    for await (const event of this.#history.events(id)) spans.add(event);
    return this.#documentOf(id, spans);
  }

  async #documentOf(id: string, spans: HistoryTrace): Promise<Buffer> {
    const record = this.#history.get(id);
    if (record === undefined) throw new GantryError("not-found", `no build ${id} in the history`);
    return spans.document(record);
  }

  /** A message for each event, so that it is the same bytes whenever it is written; each behind its length. */
  async *#transcript(id: string, onEvent: (event: BuildEvent) => void = () => {}): AsyncIterable<Uint8Array> {
    for await (const event of this.#history.events(id)) {
      onEvent(event);
      for (const message of statusMessages([event])) {
        const bytes = encode(StatusResponseSchema, message);
        const framed = Buffer.allocUnsafe(4 + bytes.length);
        framed.writeUInt32LE(bytes.length, 0);
        framed.set(bytes, 4);
        yield framed;
      }
    }
  }
}

async function* later(read: () => Promise<Uint8Array>): AsyncIterable<Uint8Array> {
  yield await read();
}

async function* skipping(pieces: AsyncIterable<Uint8Array>, offset: number): AsyncIterable<Uint8Array> {
  let left = offset;
  for await (const piece of pieces) {
    const skipped = Math.min(left, piece.length);
    left -= skipped;
    if (skipped < piece.length) yield piece.subarray(skipped);
  }
}
