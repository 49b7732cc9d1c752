import { writev } from "node:fs";
import { hasCode } from "../../base/errors.ts";

/** Buffers given to one writev; the kernel takes 1024. */
const BATCH = 256;

/**
 * Writes to a descriptor without copying and without stopping this thread while the reader is slow: what arrives during
 * one write goes out together with the next.
 */
export class DescriptorWriter {
  readonly #fd: number;
  readonly #onDrain: () => void;
  #queue: Uint8Array[] = [];
  #size = 0;
  #writing = false;
  #error: NodeJS.ErrnoException | undefined;
  #idle: (() => void)[] = [];

  constructor(fd: number, onDrain: () => void) {
    this.#fd = fd;
    this.#onDrain = onDrain;
  }

  /** Bytes that are still to be written. */
  get size(): number {
    return this.#size;
  }

  /** What the first failed write said; after it everything is dropped. */
  get error(): Error | undefined {
    return this.#error;
  }

  write(data: Uint8Array): void {
    if (this.#error !== undefined || data.length === 0) return;
    this.#queue.push(data);
    this.#size += data.length;
    if (!this.#writing) this.#next();
  }

  /** Settles when everything is written or nothing can be any more. */
  async flushed(): Promise<void> {
    if (this.#writing) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #next(): void {
    if (this.#queue.length === 0 || this.#error !== undefined) {
      this.#writing = false;
      this.#queue = [];
      this.#size = 0;
      for (const wake of this.#idle.splice(0)) wake();
      return;
    }
    this.#writing = true;
    const batch = this.#queue.length <= BATCH ? this.#queue : this.#queue.slice(0, BATCH);
    this.#queue = this.#queue.length <= BATCH ? [] : this.#queue.slice(BATCH);
    this.#send(batch);
  }

  #send(batch: Uint8Array[]): void {
    writev(this.#fd, batch, (error, written) => {
      if (hasCode(error, "EAGAIN")) {
        // The terminal was made non-blocking by somebody else; it has no event to wait on here.
        setTimeout(() => this.#send(batch), 2);
        return;
      }
      if (error !== null && error !== undefined) {
        this.#error = error;
        this.#next();
        this.#onDrain();
        return;
      }
      this.#size -= written;
      const rest = after(batch, written);
      if (rest.length > 0) this.#send(rest);
      else this.#next();
      this.#onDrain();
    });
  }
}

function after(batch: readonly Uint8Array[], written: number): Uint8Array[] {
  let left = written;
  for (let at = 0; at < batch.length; at++) {
    const buffer = batch[at] as Uint8Array;
    if (left < buffer.length) return [buffer.subarray(left), ...batch.slice(at + 1)];
    left -= buffer.length;
  }
  return [];
}
