import { Socket } from "node:net";
import type { Writable } from "node:stream";
import { unixSocketPair } from "../kernel/unix-socket.ts";
import type { StepOutput } from "../runtime/step.ts";

const HEADER = 8;

/**
 * A connection whose other end takes a process's output: no more is read than is taken, so that a process whose output
 * nobody takes waits for it.
 */
export class TakenOutput implements Disposable {
  /** For the runtime to attach, with frames; it is given away. */
  readonly socket: Socket;
  /** Resolves when the output has ended and all of it was taken; rejects as `take` does. */
  readonly ended: Promise<void>;
  readonly #near: Socket;
  #isClosed = false;

  constructor(output: StepOutput) {
    const [mine, theirs] = unixSocketPair();
    this.#near = new Socket({ fd: mine });
    this.socket = new Socket({ fd: theirs });
    this.socket.pause();
    this.ended = this.#pass(output);
    this.ended.catch(() => {});
  }

  /** What the process reads, where that is attached as well. */
  get input(): Writable {
    return this.#near;
  }

  /** Lets go of both ends. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.socket.destroy();
    this.#near.destroy();
  }

  async #pass(output: StepOutput): Promise<void> {
    this.#near.on("error", () => {});
    const frames = new Frames();
    try {
      for await (const bytes of this.#near as AsyncIterable<Buffer>) {
        for (const { stream, parts } of frames.split(bytes)) {
          await output.take(stream, parts.length === 1 ? parts[0]! : Buffer.concat(parts));
        }
      }
    } catch (error) {
      // Closed from here: whoever did that knows why.
      if (!this.#isClosed) throw error;
    }
  }
}

interface Run {
  readonly stream: 1 | 2;
  readonly parts: Buffer[];
}

/** Takes Docker's frames apart: a byte for the stream, three for nothing, four for the length. */
export class Frames {
  readonly #header = Buffer.alloc(HEADER);
  #filled = 0;
  #stream: 1 | 2 = 1;
  #left = 0;

  /** What a piece of the connection holds: neighbours of one stream together. */
  split(bytes: Buffer): Run[] {
    const runs: Run[] = [];
    for (let at = 0; at < bytes.length; ) {
      if (this.#left === 0) {
        const count = bytes.copy(this.#header, this.#filled, at, at + HEADER - this.#filled);
        at += count;
        this.#filled += count;
        if (this.#filled < HEADER) break;
        this.#filled = 0;
        this.#stream = this.#header[0] === 2 ? 2 : 1;
        this.#left = this.#header.readUInt32BE(4);
        continue;
      }
      const part = bytes.subarray(at, at + this.#left);
      at += part.length;
      this.#left -= part.length;
      const last = runs.at(-1);
      if (last?.stream === this.#stream) last.parts.push(part);
      else runs.push({ stream: this.#stream, parts: [part] });
    }
    return runs;
  }
}
