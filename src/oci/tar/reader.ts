import { GantryError } from "../../base/errors.ts";
import type { TarEntry } from "./entry.ts";
import { TarParser } from "./parser.ts";

/** One member and its data: all of the file, holes of sparse ones as zeros. The data can be read once, or not at all. */
export interface TarMember {
  readonly entry: TarEntry;
  readonly body: AsyncIterable<Buffer>;
}

type Event = { readonly entry: TarEntry } | { readonly data: Buffer; readonly offset: number } | "end";

const SLICE = 1 << 16;
const ZEROS = Buffer.alloc(SLICE);

/**
 * The members of an archive in order. Asking for the next one passes over what is unread of the last. Leaving the loop
 * closes the source. After the last member the source is read to its end. `invalid` for broken archives.
 */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarMember> {
  const events = new EventReader(source);
  try {
    for (let event = await events.next(); event !== undefined; event = await events.next())
      if (typeof event === "object" && "entry" in event)
        yield { entry: event.entry, body: bodyOf(event.entry, events) };
  } finally {
    await events.close();
  }
}

/** The data of a member as one buffer; `invalid` if it is longer than `limit` bytes, before any is read. */
export async function readBody(member: TarMember, limit: number): Promise<Buffer> {
  if (member.entry.size > limit)
    throw new GantryError("invalid", `cannot read ${member.entry.name}: it is longer than ${limit} bytes`);
  const chunks: Buffer[] = [];
  for await (const chunk of member.body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function* bodyOf(entry: TarEntry, events: EventReader): AsyncGenerator<Buffer> {
  const turn = events.turn;
  let at = 0;
  while (events.turn === turn) {
    const event = await events.next();
    if (event === undefined || event === "end" || "entry" in event) break;
    yield* zeros(event.offset - at);
    yield event.data;
    at = event.offset + event.data.length;
  }
  if (events.turn !== turn) throw new Error(`the data of ${entry.name} has been passed over`);
  yield* zeros(entry.size - at);
}

function* zeros(count: number): Generator<Buffer> {
  for (; count > 0; count -= SLICE) yield count >= SLICE ? ZEROS : ZEROS.subarray(0, count);
}

class EventReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #parser: TarParser;
  #events: Event[] = [];
  #at = 0;
  #rest: Buffer = Buffer.alloc(0);
  #ended = false;
  /** Counts the entries handed out: a body knows by it that its time is over. */
  turn = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#chunks = source[Symbol.asyncIterator]();
    this.#parser = new TarParser({
      entry: (entry) => this.#events.push({ entry }),
      data: (data, offset) => this.#events.push({ data, offset }),
      end: () => this.#events.push("end"),
    });
  }

  async next(): Promise<Event | undefined> {
    while (this.#at === this.#events.length) {
      if (this.#ended) return undefined;
      this.#events = [];
      this.#at = 0;
      if (this.#rest.length === 0) await this.#fill();
      // In slices, so that a huge chunk of small members does not become as many events at once.
      this.#parser.push(this.#rest.subarray(0, SLICE));
      this.#rest = this.#rest.subarray(SLICE);
    }
    const event = this.#events[this.#at++]!;
    if (typeof event === "object" && "entry" in event) this.turn++;
    return event;
  }

  async #fill(): Promise<void> {
    const next = await this.#chunks.next();
    if (next.done === true) {
      this.#ended = true;
      this.#parser.finish();
    } else this.#rest = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
  }

  async close(): Promise<void> {
    if (!this.#ended) await this.#chunks.return?.();
  }
}
