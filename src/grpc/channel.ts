import { FRAME, type FrameKind } from "./frames.ts";
import { GrpcError, STATUS } from "./status.ts";

/**
 * What messages of a call cost that are on their way, or wait to be taken: so much at first, and so much at most once
 * the other side has taken some and its link has room. The last message may go beyond it.
 */
const FIRST = 64 << 10;
const WIDEST = 1 << 20;
/** What a message costs besides its bytes: one without any takes memory, too. */
const EACH = 128;

/** Bytes of a message, on either side. */
export const MAX_MESSAGE: number = 16 << 20;

interface Waiting {
  readonly bytes: Uint8Array | undefined;
  /** False for what isn't counted: it waits for the connection and for its turn. */
  readonly isCounted: boolean;
  readonly resolve: () => void;
  readonly reject: (error: GrpcError) => void;
}

/** What both ends of a call need of their link. */
export interface CallLink {
  /** True while the connection takes no more. */
  readonly isFull: boolean;
  send(kind: FrameKind, call: number, bytes?: Uint8Array): void;
  /** What messages cost that wait to be taken: more, or less with a negative number. */
  hold(cost: number): void;
  /** Room for more of a call's messages than at first: how much of it is given; a negative number gives back. */
  widen(cost: number): number;
  /** A call that is over. */
  forget(call: number): void;
  /** The other side doesn't keep to what both have to. */
  violated(): void;
}

/** A call's messages on a link, both ways. Who sends waits for who takes. */
export class Channel {
  readonly #link: CallLink;
  readonly #call: number;
  #queue: Buffer[] = [];
  #queued = 0;
  #taken = 0;
  #width = FIRST;
  /** What may still come. */
  #granted = FIRST;
  #ended = false;
  #error: unknown;
  #wakeReader: (() => void) | undefined;
  #window = FIRST;
  #closed: GrpcError | undefined;
  /** Who waits for room, with what has not left yet. */
  #waiting: Waiting[] = [];

  constructor(link: CallLink, call: number) {
    this.#link = link;
    this.#call = call;
  }

  /** A message has come. */
  take(bytes: Buffer): void {
    if (this.#ended) return;
    if (this.#granted <= 0) {
      this.#link.violated();
      return;
    }
    const cost = costOf(bytes);
    this.#granted -= cost;
    this.#queue.push(bytes);
    this.#queued += cost;
    this.#link.hold(cost);
    this.#wakeReader?.();
  }

  /** No more comes. */
  finish(): void {
    this.#ended = true;
    this.#link.widen(FIRST - this.#width);
    this.#width = FIRST;
    this.#wakeReader?.();
  }

  /** No more comes, which is told after what has come. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = error;
    this.finish();
  }

  /** What has come is of no use any more. */
  drop(): void {
    this.#link.hold(-this.#queued);
    this.#queue = [];
    this.#queued = 0;
  }

  /** All messages that have come since; undefined at the end. Rejects with what went wrong. */
  async next(): Promise<readonly Buffer[] | undefined> {
    while (this.#queue.length === 0) {
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wakeReader = resolve;
      await promise;
      this.#wakeReader = undefined;
    }
    const batch = this.#queue;
    this.#taken += this.#queued;
    this.drop();
    if (this.#taken >= this.#width >> 2 && !this.#ended) this.#grant();
    return batch;
  }

  /** Tells what was taken. */
  #grant(): void {
    const more = this.#link.widen(WIDEST - this.#width);
    const granted = this.#taken + more;
    this.#width += more;
    this.#granted += granted;
    this.#taken = 0;
    const credit = Buffer.allocUnsafe(4);
    credit.writeUInt32BE(granted);
    this.#link.send(FRAME.credit, this.#call, credit);
  }

  /** Sends a message. A promise where the other side, or the connection, has to catch up first. */
  write(bytes: Uint8Array): Promise<void> | undefined {
    if (this.#closed !== undefined) throw this.#closed;
    if (bytes.length > MAX_MESSAGE) {
      const text = `grpc: trying to send message larger than max (${bytes.length} vs. ${MAX_MESSAGE})`;
      throw new GrpcError(STATUS.resourceExhausted, text);
    }
    const leaves = this.#hasRoom && this.#waiting.length === 0;
    if (leaves) {
      this.#send(bytes);
      if (this.#hasRoom) return undefined;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // What is sent without waiting stays here until it may leave.
    promise.catch(ignore);
    this.#waiting.push({ bytes: leaves ? undefined : bytes, isCounted: true, resolve, reject });
    return promise;
  }

  /** Calls back when all that was written has left. */
  after(act: () => void): void {
    if (!this.#link.isFull && this.#waiting.every(({ bytes }) => bytes === undefined)) act();
    else this.#waiting.push({ bytes: undefined, isCounted: false, resolve: act, reject: ignore });
  }

  /** The other side has taken so much. */
  credit(bytes: number): void {
    this.#window += bytes;
    this.wake();
  }

  /** Who waits to send goes on, as far as there is room. */
  wake(): void {
    while (this.#waiting.length > 0 && !this.#link.isFull) {
      if (this.#waiting[0]!.isCounted && !this.#hasRoom) return;
      const { bytes, resolve } = this.#waiting.shift()!;
      if (bytes !== undefined) this.#send(bytes);
      resolve();
    }
  }

  /** Nobody is there to send to. */
  close(why = new GrpcError(STATUS.unavailable, "grpc: the other side has closed the stream")): void {
    this.#closed ??= why;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(this.#closed);
  }

  get #hasRoom(): boolean {
    return this.#window > 0 && !this.#link.isFull;
  }

  #send(bytes: Uint8Array): void {
    this.#window -= costOf(bytes);
    this.#link.send(FRAME.message, this.#call, bytes);
  }
}

function costOf(bytes: Uint8Array): number {
  return EACH + bytes.length;
}

function ignore(): void {}
