import { GantryError } from "../base/errors.ts";
import type { Connection } from "./connection.ts";
import type { Framing } from "./head.ts";

const MAX_CHUNK_LINE = 8192;

/**
 * The body of one response, read once. Backpressure reaches the socket: nothing is read ahead of the iterator but what
 * one read of the socket brought. Leaving the iteration early closes the connection.
 */
export class ResponseBody implements AsyncIterable<Uint8Array> {
  readonly #socket: Connection;
  readonly #framing: Framing;
  #pending: Buffer[] = [];
  #line = "";
  #left: number;
  #phase: "size" | "data" | "end" | "trailer" = "size";
  #done = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Connection, framing: Framing, head: Buffer) {
    this.#socket = socket;
    this.#framing = framing;
    this.#left = framing.kind === "length" ? framing.bytes : 0;
    if (framing.kind === "none" || (framing.kind === "length" && framing.bytes === 0)) {
      this.#finish();
      return;
    }
    socket.on("data", (chunk: Buffer) => {
      this.#take(chunk);
      if (!this.#done && this.#pending.length > 0) socket.pause();
    });
    socket.on("error", (error) => this.#fail(broken(error.message, error)));
    socket.on("close", () => this.#closed());
    socket.on("end", () => this.#closed());
    if (head.length > 0) this.#take(head);
    if (!this.#done) socket.resume();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const chunks = this.#pending;
        if (chunks.length > 0) {
          this.#pending = [];
          yield* chunks;
        } else if (this.#error !== undefined) {
          throw this.#error;
        } else if (this.#done) {
          return;
        } else {
          const { promise, resolve } = Promise.withResolvers<void>();
          this.#wake = resolve;
          this.#socket.resume();
          await promise;
        }
      }
    } finally {
      this.#socket.destroy();
    }
  }

  /** The whole body as text; more than `limit` bytes is an error. */
  async text(limit = 256 * 1024 * 1024): Promise<string> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this) {
      size += chunk.length;
      if (size > limit) throw new GantryError("invalid", `the engine's answer is longer than ${limit} bytes`);
      chunks.push(chunk);
    }
    return chunks.length === 1 ? (chunks[0] as Buffer).toString("utf8") : Buffer.concat(chunks).toString("utf8");
  }

  /** Closes the connection without reading the rest. */
  cancel(): void {
    this.#socket.destroy();
    this.#finish();
  }

  #take(chunk: Buffer): void {
    if (this.#done) return;
    if (this.#framing.kind === "close") {
      this.#push(chunk);
    } else if (this.#framing.kind === "length") {
      this.#push(chunk.length > this.#left ? chunk.subarray(0, this.#left) : chunk);
      this.#left -= Math.min(chunk.length, this.#left);
      if (this.#left === 0) this.#finish();
    } else {
      this.#takeChunked(chunk);
    }
  }

  #takeChunked(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#done) {
      if (this.#phase === "data") {
        const end = Math.min(chunk.length, at + this.#left);
        this.#push(chunk.subarray(at, end));
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#phase = "end";
        continue;
      }
      const newline = chunk.indexOf(10, at);
      const end = newline === -1 ? chunk.length : newline;
      this.#line += chunk.toString("latin1", at, end);
      if (this.#line.length > MAX_CHUNK_LINE) {
        this.#fail(broken("a chunk is malformed"));
        return;
      }
      at = end + 1;
      if (newline !== -1) this.#takeLine();
    }
  }

  #takeLine(): void {
    const line = this.#line.endsWith("\r") ? this.#line.slice(0, -1) : this.#line;
    this.#line = "";
    if (this.#phase === "end") {
      this.#phase = "size";
    } else if (this.#phase === "trailer") {
      if (line === "") this.#finish();
    } else {
      const size = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(line)?.[1];
      if (size === undefined) {
        this.#fail(broken("a chunk is malformed"));
        return;
      }
      this.#left = Number.parseInt(size, 16);
      this.#phase = this.#left === 0 ? "trailer" : "data";
    }
  }

  #push(chunk: Buffer): void {
    if (chunk.length > 0) this.#pending.push(chunk);
    this.#notify();
  }

  #closed(): void {
    if (this.#done) return;
    if (this.#framing.kind === "close") this.#finish();
    else this.#fail(broken("unexpected EOF"));
  }

  #finish(): void {
    this.#done = true;
    this.#socket.destroy();
    this.#notify();
  }

  #fail(error: Error): void {
    if (this.#done) return;
    this.#error = error;
    this.#finish();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

function broken(why: string, cause?: Error): GantryError {
  // What its own caller asked for, such as an abort, is told as it is.
  return cause instanceof GantryError
    ? cause
    : new GantryError("unavailable", `cannot read the engine's answer: ${why}`, { cause });
}
