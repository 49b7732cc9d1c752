import { Socket } from "node:net";
import { unixSocketPair } from "../kernel/unix-socket.ts";

/** A connection whose other end takes a process's output and keeps no more of it than was asked for. */
export class CapturedOutput {
  /** For the runtime to attach; it is given away. */
  readonly socket: Socket;
  /** Resolves when the output has ended. */
  readonly ended: Promise<void>;
  readonly #near: Socket;
  readonly #parts: Buffer[] = [];
  #room: number;
  #isCut = false;

  /** Keeps the first `limit` bytes. */
  constructor(limit: number) {
    const [mine, theirs] = unixSocketPair();
    this.#room = limit;
    this.#near = new Socket({ fd: mine });
    this.socket = new Socket({ fd: theirs });
    this.socket.pause();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#near.on("data", (bytes: Buffer) => this.#take(bytes));
    this.#near.on("error", () => {});
    this.#near.once("close", () => resolve());
  }

  /** What came so far as text, with `...` where more came than is kept. */
  get text(): string {
    return `${Buffer.concat(this.#parts).toString("utf8")}${this.#isCut ? "..." : ""}`;
  }

  /** Lets go of both ends. */
  close(): void {
    this.socket.destroy();
    this.#near.destroy();
  }

  #take(bytes: Buffer): void {
    if (bytes.length > this.#room) this.#isCut = true;
    if (this.#room === 0) return;
    const kept = bytes.subarray(0, this.#room);
    // A copy: the slice would keep the whole chunk alive.
    this.#parts.push(Buffer.from(kept));
    this.#room -= kept.length;
  }
}
