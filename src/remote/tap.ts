import type { IncomingMessage } from "node:http";
import type { OnReadOpts, Socket } from "node:net";
import { SLAB_SIZE, takeSlab } from "../base/slabs.ts";

/** What is read at once while heads and small bodies come. */
const SMALL = 64 << 10;
/** A slab with less room than this is full. */
const LEAST_ROOM = 64 << 10;
/** So much is worth a waiting reader's turn; less is handed on after a while. */
const WORTH = 128 << 10;
const LINGER_MS = 100;
const MOST_READY = 2;
/** Shorter bodies come by Node's own parser, which keeps the connection for the next request. */
const LEAST_LENGTH = 16 << 20;

const taps = new WeakMap<Socket, Tap>();

/**
 * The reading end of one connection. Node's HTTP parser is given what comes until a long body begins; that one is read
 * past it, straight into slabs: at a fifth of the processor's time. The connection is of no use afterwards.
 */
export class Tap {
  readonly #small = Buffer.allocUnsafeSlow(SMALL);
  #body: TappedBody | undefined;

  /** For the connection's options; `socket` is what they make. */
  readonly options: OnReadOpts = {
    buffer: () => this.#body?.window() ?? this.#small,
    callback: (count, buffer) => {
      if (this.#body !== undefined) return this.#body.took(count, buffer);
      const { socket } = this;
      if (socket === undefined) return true;
      // Some connections, such as those through a proxy, leave the option alone: they are never heard of here.
      taps.set(socket, this);
      // The parser keeps slices of what it is given.
      socket.emit("data", Buffer.from(buffer.subarray(0, count)));
      return true;
    },
  };
  /** Set as soon as there is one. */
  socket: Socket | undefined;

  /** Takes over a body at its head; undefined where that doesn't pay or can't be. */
  static body(response: IncomingMessage): TappedBody | undefined {
    const { socket, headers } = response;
    const tap = taps.get(socket);
    const length = Number(headers["content-length"] ?? 0);
    if (tap === undefined || !(length >= LEAST_LENGTH) || headers["transfer-encoding"] !== undefined) return undefined;
    const early: Buffer[] = [];
    for (let piece = response.read() as Buffer | null; piece !== null; piece = response.read() as Buffer | null) {
      early.push(piece);
    }
    if (response.complete || response.destroyed) return undefined;
    tap.#body = new TappedBody(response, early, length);
    return tap.#body;
  }
}

/** A long body while it comes, in slabs: whoever is done with one gives it back. */
export class TappedBody {
  readonly #response: IncomingMessage;
  readonly #ready: Buffer[];
  #slab = takeSlab();
  #from = 0;
  #to = 0;
  #left: number;
  #isPaused = false;
  #wake: (() => void) | undefined;

  constructor(response: IncomingMessage, early: Buffer[], length: number) {
    this.#response = response;
    this.#ready = early;
    this.#left = length - early.reduce((sum, { length: bytes }) => sum + bytes, 0);
    response.on("error", () => this.#wake?.()).once("close", () => this.#wake?.());
    response.socket.once("close", () => this.#wake?.());
    response.socket.resume();
  }

  /** Where the next bytes are to be written. */
  window(): Buffer {
    return this.#slab.subarray(this.#to);
  }

  /** Called when bytes were read; false stops reading. The window is asked for anew afterwards. */
  took(count: number, buffer: Uint8Array): boolean {
    const fresh = Math.min(count, this.#left);
    // The first read still goes to where heads are read.
    if (buffer.buffer !== this.#slab.buffer) this.#slab.set(buffer.subarray(0, fresh), this.#to);
    this.#to += fresh;
    this.#left -= fresh;
    const isFull = SLAB_SIZE - this.#to < LEAST_ROOM;
    if (isFull || this.#left === 0 || (this.#wake !== undefined && this.#to - this.#from >= WORTH)) this.#handOn();
    this.#isPaused = this.#ready.length >= MOST_READY;
    return !this.#isPaused && this.#left > 0;
  }

  /** The next bytes; undefined at the end. Throws why the connection ended before, after all that came is read. */
  async next(): Promise<Buffer | undefined> {
    let isLate = false;
    for (;;) {
      const piece = this.#ready.shift();
      if (piece !== undefined) {
        if (this.#isPaused && this.#left > 0) this.#response.socket.resume();
        this.#isPaused = false;
        return piece;
      }
      if (this.#left === 0) {
        this.#response.destroy();
        return undefined;
      }
      const { socket, errored, destroyed } = this.#response;
      const isOver = destroyed || socket.destroyed;
      if (this.#to > this.#from && (isOver || isLate)) {
        // The rest of this slab is being read into: it stays here.
        const copy = Buffer.from(this.#slab.subarray(this.#from, this.#to));
        this.#from = this.#to;
        return copy;
      }
      if (isOver) throw errored ?? new Error("aborted");
      isLate = await this.#more();
    }
  }

  /** Waits for more; true if some has lain here for a while. */
  async #more(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#wake = () => resolve(false);
    const timer = setTimeout(() => resolve(true), LINGER_MS);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#wake = undefined;
    }
  }

  /** Only while no read is under way: the slab is its reader's from now on. */
  #handOn(): void {
    if (this.#to > this.#from) this.#ready.push(this.#slab.subarray(this.#from, this.#to));
    if (this.#left > 0) this.#slab = takeSlab();
    this.#from = 0;
    this.#to = 0;
    this.#wake?.();
  }
}
