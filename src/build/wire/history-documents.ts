import { createHash } from "node:crypto";
import { GantryError } from "../../base/errors.ts";
import { StatusResponseSchema } from "../../buildkit/control.ts";
import { encode } from "../../buildkit/message.ts";
import type { BuildHistory } from "../builder.ts";
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
  readonly #logs = new Map<string, { readonly completedAt: number; readonly told: Promise<LogsDescriptor> }>();

  constructor(history: BuildHistory) {
    this.#history = history;
  }

  /** What a build that has ended told. Undefined where there is none. */
  async logs(id: string): Promise<LogsDescriptor | undefined> {
    const completedAt = this.#history.get(id)?.completedAt;
    if (completedAt === undefined) return undefined;
    const known = this.#logs.get(id);
    if (known?.completedAt === completedAt) return known.told;
    const told = this.#measure(id);
    this.#logs.delete(id);
    this.#logs.set(id, { completedAt, told });
    told.catch(() => this.#logs.delete(id));
    for (const old of this.#logs.keys()) {
      if (this.#logs.size <= MOST_REMEMBERED) break;
      this.#logs.delete(old);
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
    for (const [id, { told }] of this.#logs) {
      const logs = await told.catch(() => undefined);
      if (logs?.digest !== digest || this.#history.get(id) === undefined) continue;
      return { size: logs.size, read: (offset) => skipping(this.#transcript(id), offset) };
    }
    throw new GantryError("not-found", `content ${digest.slice(0, 100)}: not found`);
  }

  async #measure(id: string): Promise<LogsDescriptor> {
    const hash = createHash("sha256");
    let size = 0;
    let events = 0;
    for await (const bytes of this.#transcript(id)) {
      hash.update(bytes);
      size += bytes.length;
      events++;
    }
    return { mediaType: LOGS, digest: `sha256:${hash.digest("hex")}`, size, annotations: {}, events };
  }

  /** A message for each event, so that it is the same bytes whenever it is written; each behind its length. */
  async *#transcript(id: string): AsyncIterable<Uint8Array> {
    for await (const event of this.#history.events(id)) {
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
