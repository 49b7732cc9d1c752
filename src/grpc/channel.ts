import { FRAME, type FrameKind } from "./frames.ts";
import { GrpcError, STATUS } from "./status.ts";

/** Bytes of messages of a call on their way, or waiting to be taken; the last message may go beyond it. */
const WINDOW = 1 << 20;
/** What was taken is told when it is so much. */
const TOLD = WINDOW >> 2;

interface Waiting {
  readonly bytes: Uint8Array | undefined;
  readonly resolve: () => void;
  readonly reject: (error: GrpcError) => void;
}

/** What both ends of a call need of their link. */
export interface CallLink {
  /** True while the connection takes no more. */
  readonly isFull: boolean;
  send(kind: FrameKind, call: number, bytes?: Uint8Array): void;
  /** Bytes of messages that wait to be taken: more, or fewer with a negative number. */
  hold(bytes: number): void;
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
  /** Came, and the other side doesn't know yet that it was taken. */
  #outstanding = 0;
  #ended = false;
  #error: unknown;
  #wakeReader: (() => void) | undefined;
  #window = WINDOW;
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
    if (this.#outstanding >= WINDOW) {
      this.#link.violated();
      return;
    }
    this.#outstanding += bytes.length;
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#link.hold(bytes.length);
    this.#wakeReader?.();
  }

  /** No more comes. */
  finish(): void {
    this.#ended = true;
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
    const bytes = this.#queued;
    this.#queue = [];
    this.#queued = 0;
    this.#link.hold(-bytes);
    this.#taken += bytes;
    if (this.#taken >= TOLD && !this.#ended) {
      const credit = Buffer.allocUnsafe(4);
      credit.writeUInt32BE(this.#taken);
      this.#link.send(FRAME.credit, this.#call, credit);
      this.#outstanding -= this.#taken;
      this.#taken = 0;
    }
    return batch;
  }

  /** Sends a message. A promise where the other side, or the connection, has to catch up first. */
  write(bytes: Uint8Array): Promise<void> | undefined {
    if (this.#closed !== undefined) throw this.#closed;
    const hasRoom = this.#hasRoom;
    if (hasRoom && this.#waiting.length === 0) {
      this.#send(bytes);
      if (this.#hasRoom) return undefined;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // What is sent without waiting stays here until it may leave.
    promise.catch(ignore);
    this.#waiting.push({ bytes: hasRoom ? undefined : bytes, resolve, reject });
    return promise;
  }

  /** Calls back when all that was written has left. */
  after(act: () => void): void {
    if (this.#waiting.every(({ bytes }) => bytes === undefined)) act();
    else this.#waiting.push({ bytes: undefined, resolve: act, reject: ignore });
  }

  /** The other side has taken so much. */
  credit(bytes: number): void {
    this.#window += bytes;
    this.wake();
  }

  /** Who waits to send goes on, as far as there is room. */
  wake(): void {
    while (this.#waiting.length > 0 && this.#hasRoom) {
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
    this.#window -= bytes.length;
    this.#link.send(FRAME.message, this.#call, bytes);
  }
}

function ignore(): void {}
