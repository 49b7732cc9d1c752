import { Breath } from "../base/breath.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { FileOrder, isRegular } from "./file-order.ts";
import type { Packet, Stat } from "./packet.ts";
import type { PacketStream } from "./packet-stream.ts";

/** Files that are being sent at a time. A client takes 128 requests before it stops reading them. */
const WANTED = 64;
/** Bytes of a file that wait for who writes it; then the client waits. */
const BUFFERED = 1 << 20;

/** Where files go: it says whose bytes it wants. */
export interface SyncTarget {
  /** Called once for each file, in the order of a walk. True asks for its bytes. */
  file(stat: Stat): boolean | Promise<boolean>;
  /** The bytes of a file that was asked for. Several at a time. */
  contents(stat: Stat, bytes: AsyncIterable<Uint8Array>): Promise<void>;
  /** All were told and have come. */
  end(): Promise<void>;
}

/**
 * The receiving side of fsutil's protocol: the client tells its files, those that are asked for come in pieces, four or
 * so at a time. Resolves when all are there. Rejects, after it has told the client why, with what went wrong.
 */
export async function receiveFiles(stream: PacketStream, target: SyncTarget): Promise<void> {
  const sync = new Sync(stream, target);
  try {
    await sync.run();
  } catch (thrown) {
    const error = sync.failure(thrown);
    await sync.stop(error);
    throw error;
  }
}

interface Wanted {
  readonly id: number;
  readonly stat: Stat;
}

class Sync {
  readonly #stream: PacketStream;
  readonly #target: SyncTarget;
  readonly #order = new FileOrder();
  readonly #breath = new Breath();
  /** Asked for by the receiver, not yet by us; taken from the front. */
  #waiting: Wanted[] = [];
  #next = 0;
  readonly #arriving = new Map<number, FilePieces>();
  readonly #writing = new Set<Promise<void>>();
  #failed: { readonly error: unknown } | undefined;
  #count = 0;
  #toldAll = false;
  #ending = false;

  constructor(stream: PacketStream, target: SyncTarget) {
    this.#stream = stream;
    this.#target = target;
  }

  async run(): Promise<void> {
    for await (const packets of this.#stream.batches()) {
      for (const packet of packets) {
        if (this.#failed !== undefined) throw this.#failed.error;
        const wait = this.#take(packet);
        if (wait !== undefined) await wait;
        if (this.#breath.isDue) await this.#breath.take();
      }
    }
    if (this.#failed !== undefined) throw this.#failed.error;
    if (!this.#ending) throw new GantryError("invalid", "the client ended before it had sent all files");
    await this.#target.end();
  }

  /** What went wrong first: what was thrown, or what made it be. */
  failure(thrown: unknown): unknown {
    return this.#failed === undefined ? thrown : this.#failed.error;
  }

  /** Tells the client, and waits for who still writes. */
  async stop(error: unknown): Promise<void> {
    try {
      // It may have gone, or never read this.
      this.#stream.send({ type: "error", message: messageOf(error).slice(0, 1000) })?.catch(ignore);
    } catch {
      // As above.
    }
    for (const pieces of this.#arriving.values()) pieces.fail(error);
    this.#stream.cancel?.();
    await Promise.allSettled(this.#writing);
  }

  #take(packet: Packet): Promise<void> | undefined {
    switch (packet.type) {
      case "stat":
        return packet.stat === undefined ? this.#end() : this.#file(packet.stat);
      case "data":
        return this.#data(packet.id, packet.bytes);
      case "error":
        throw new GantryError("invalid", `error from sender: ${packet.message.slice(0, 1000)}`);
      case "end":
        // The client's answer to ours; before it, it has lost count.
        if (!this.#ending) throw new GantryError("invalid", "the client ended before it had sent all files");
        return undefined;
      case "request":
        throw new GantryError("invalid", "the client asks for files, which it has to send");
    }
  }

  #file(stat: Stat): Promise<void> | undefined {
    if (this.#toldAll) throw new GantryError("invalid", "the client tells files after the last one");
    this.#order.check(stat);
    const id = this.#count++;
    const wanted = this.#target.file(stat);
    if (wanted === true) return this.#want({ id, stat });
    if (wanted === false) return undefined;
    return wanted.then((is) => (is ? this.#want({ id, stat }) : undefined));
  }

  #want(wanted: Wanted): undefined {
    if (!isRegular(wanted.stat.mode)) {
      throw new GantryError("internal", `${JSON.stringify(wanted.stat.path)} has no bytes to ask for`);
    }
    this.#waiting.push(wanted);
    this.#request();
  }

  #request(): void {
    while (this.#arriving.size < WANTED && this.#next < this.#waiting.length) {
      const { id, stat } = this.#waiting[this.#next++]!;
      // What was asked for need not be kept; moving the rest each time would take the square of their number.
      if (this.#next === 1024) {
        this.#waiting = this.#waiting.slice(this.#next);
        this.#next = 0;
      }
      const pieces = new FilePieces();
      this.#arriving.set(id, pieces);
      const written = this.#target.contents(stat, pieces).catch((error: unknown) => {
        this.#failed ??= { error };
        // Whoever waits for it to be taken goes on, and finds the failure.
        pieces.fail(error);
        this.#stream.cancel?.();
      });
      this.#writing.add(written);
      void written.then(() => this.#writing.delete(written));
      // Of so few small packets none has to be waited for; if one is lost, the reading ends as well.
      this.#stream.send({ type: "request", id })?.catch(ignore);
    }
  }

  #data(id: number, bytes: Uint8Array): Promise<void> | undefined {
    const pieces = this.#arriving.get(id);
    if (pieces === undefined) throw new GantryError("invalid", `the client sends file ${id}, which nobody asked for`);
    if (bytes.length > 0) return pieces.push(bytes);
    pieces.end();
    this.#arriving.delete(id);
    this.#request();
    return this.#finishIfDone();
  }

  #end(): Promise<void> | undefined {
    this.#toldAll = true;
    return this.#finishIfDone();
  }

  #finishIfDone(): Promise<void> | undefined {
    const isDone = this.#toldAll && this.#arriving.size === 0 && this.#next === this.#waiting.length;
    return isDone && !this.#ending ? this.#finish() : undefined;
  }

  async #finish(): Promise<void> {
    this.#ending = true;
    await Promise.all(this.#writing);
    if (this.#failed !== undefined) throw this.#failed.error;
    await this.#stream.send({ type: "end" });
    this.#stream.end?.();
  }
}

/** The bytes of a file on their way from the connection to who writes them. */
class FilePieces implements AsyncIterable<Uint8Array> {
  #pieces: Uint8Array[] = [];
  #size = 0;
  #isEnded = false;
  #failure: { readonly error: unknown } | undefined;
  #abandoned = false;
  #readable: (() => void) | undefined;
  #writable: (() => void) | undefined;

  push(piece: Uint8Array): Promise<void> | undefined {
    if (this.#abandoned || this.#failure !== undefined) return undefined;
    this.#pieces.push(piece);
    this.#size += piece.length;
    this.#readable?.();
    if (this.#size < BUFFERED) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#writable = resolve;
    return promise;
  }

  end(): void {
    this.#isEnded = true;
    this.#readable?.();
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#readable?.();
    this.#writable?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    try {
      for (;;) {
        if (this.#failure !== undefined) throw this.#failure.error;
        const pieces = this.#pieces;
        if (pieces.length > 0) {
          this.#pieces = [];
          this.#size = 0;
          this.#writable?.();
          yield* pieces;
          continue;
        }
        if (this.#isEnded) return;
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#readable = resolve;
        await promise;
        this.#readable = undefined;
      }
    } finally {
      this.#abandoned = true;
      this.#pieces = [];
      this.#writable?.();
    }
  }
}

function ignore(): void {}
