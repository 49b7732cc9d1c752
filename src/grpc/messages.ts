import type { Http2Stream } from "node:http2";
import { GrpcError, STATUS } from "./status.ts";

/** Messages on a stream: each has a byte that says whether it is compressed, four of its length, and its bytes. */

const PREFIX = 5;
/** So much of what has come waits to be taken; then the stream is paused, and with it the other side. */
const BUFFERED = 256 << 10;

/** Cuts a stream of bytes into messages. */
export class MessageParser {
  readonly #limit: number;
  #rest: Buffer | undefined;
  /** Pieces of a message of which more is to come. */
  #pieces: Buffer[] = [];
  #have = 0;
  #need = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** True between two messages: the stream may end here. */
  get whole(): boolean {
    return this.#rest === undefined && this.#have === 0 && this.#need === 0;
  }

  /** The messages that are complete with these bytes; they may share their memory. */
  feed(chunk: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    let at = 0;
    if (this.#need > 0) {
      const missing = this.#need - this.#have;
      const piece = chunk.subarray(0, missing);
      this.#pieces.push(piece);
      this.#have += piece.length;
      if (this.#have < this.#need) return messages;
      messages.push(Buffer.concat(this.#pieces, this.#need));
      this.#pieces = [];
      this.#have = this.#need = 0;
      at = piece.length;
    }
    let bytes = at === 0 ? chunk : chunk.subarray(at);
    if (this.#rest !== undefined) {
      bytes = Buffer.concat([this.#rest, bytes]);
      this.#rest = undefined;
    }
    at = 0;
    while (bytes.length - at >= PREFIX) {
      const length = this.#lengthAt(bytes, at);
      const end = at + PREFIX + length;
      if (end > bytes.length) {
        this.#need = length;
        this.#have = bytes.length - at - PREFIX;
        this.#pieces = this.#have === 0 ? [] : [bytes.subarray(at + PREFIX)];
        return messages;
      }
      messages.push(bytes.subarray(at + PREFIX, end));
      at = end;
    }
    if (at < bytes.length) this.#rest = bytes.subarray(at);
    return messages;
  }

  #lengthAt(bytes: Buffer, at: number): number {
    if (bytes[at] !== 0) {
      throw new GrpcError(STATUS.unimplemented, "grpc: compressed messages are not supported: none were asked for");
    }
    const length = bytes.readUInt32BE(at + 1);
    if (length > this.#limit) {
      const text = `grpc: received message larger than max (${length} vs. ${this.#limit})`;
      throw new GrpcError(STATUS.resourceExhausted, text);
    }
    return length;
  }
}

/** The messages that come in on a stream, no more of them in memory than are being taken. */
export class Incoming {
  readonly #stream: Http2Stream;
  readonly #parser: MessageParser;
  #queue: Buffer[] = [];
  #queued = 0;
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  constructor(stream: Http2Stream, limit: number) {
    this.#stream = stream;
    this.#parser = new MessageParser(limit);
    stream.on("data", (chunk: Buffer) => this.#take(chunk));
    stream.once("end", () => this.#end());
  }

  /** Ends the reading with an error, after what has come. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  /** The end without an error, where the stream itself tells it too late. */
  finish(): void {
    this.#end();
  }

  /** All that have come since; undefined at the end. Rejects with what went wrong. */
  async next(): Promise<readonly Buffer[] | undefined> {
    while (this.#queue.length === 0) {
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
      this.#wake = undefined;
    }
    const taken = this.#queue;
    this.#queue = [];
    if (this.#queued > BUFFERED) this.#stream.resume();
    this.#queued = 0;
    return taken;
  }

  #take(chunk: Buffer): void {
    if (this.#ended) return;
    try {
      const messages = this.#parser.feed(chunk);
      if (messages.length === 0) return;
      this.#queue = this.#queue.length === 0 ? messages : this.#queue.concat(messages);
      for (const message of messages) this.#queued += message.length;
      if (this.#queued > BUFFERED) this.#stream.pause();
      this.#wake?.();
    } catch (error) {
      this.fail(error);
    }
  }

  #end(): void {
    if (this.#ended) return;
    if (!this.#parser.whole) {
      this.fail(new GrpcError(STATUS.internal, "grpc: the stream ended within a message"));
      return;
    }
    this.#ended = true;
    this.#wake?.();
  }
}

/** Small messages leave together, this many bytes at a time. */
const GATHERED = 16 << 10;

/** The messages that go out on a stream. Small ones that are sent in one go leave as one piece. */
export class Outgoing {
  readonly #stream: Http2Stream;
  #piece: Buffer | undefined;
  #at = 0;

  constructor(stream: Http2Stream) {
    this.#stream = stream;
  }

  /** Resolves when there is room for another one; rejects if the stream is closed meanwhile. */
  write(message: Uint8Array): Promise<void> | undefined {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed || stream.writableEnded) throw closed();
    const size = PREFIX + message.length;
    if (this.#piece !== undefined && this.#at + size > GATHERED && !this.flush()) return this.#after(message);
    if (size > GATHERED) return this.#alone(message);
    return this.#gather(message);
  }

  /** What waits leaves now. False if the stream has no more room. */
  flush(): boolean {
    const piece = this.#piece;
    if (piece === undefined) return true;
    this.#piece = undefined;
    const { destroyed, writableEnded } = this.#stream;
    return destroyed || writableEnded || this.#stream.write(piece.subarray(0, this.#at));
  }

  async #after(message: Uint8Array): Promise<void> {
    await room(this.#stream);
    const wait = this.write(message);
    if (wait !== undefined) await wait;
  }

  #gather(message: Uint8Array): undefined {
    if (this.#piece === undefined) {
      this.#piece = Buffer.allocUnsafe(GATHERED);
      this.#at = 0;
      // After all that is sent before the event loop goes on.
      process.nextTick(() => this.flush());
    }
    const piece = this.#piece;
    piece[this.#at] = 0;
    piece.writeUInt32BE(message.length, this.#at + 1);
    piece.set(message, this.#at + PREFIX);
    this.#at += PREFIX + message.length;
    return undefined;
  }

  #alone(message: Uint8Array): Promise<void> | undefined {
    const prefix = Buffer.alloc(PREFIX);
    prefix.writeUInt32BE(message.length, 1);
    this.#stream.write(prefix);
    return this.#stream.write(message) ? undefined : room(this.#stream);
  }
}

function room(stream: Http2Stream): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onDrain = () => {
    stream.off("close", onClose);
    resolve();
  };
  const onClose = () => {
    stream.off("drain", onDrain);
    reject(closed());
  };
  stream.once("drain", onDrain).once("close", onClose);
  return promise;
}

function closed(): GrpcError {
  return new GrpcError(STATUS.unavailable, "grpc: the other side has closed the stream");
}
