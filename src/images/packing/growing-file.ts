import { closeSync, openSync, readSync } from "node:fs";
import { throwIfAborted } from "../../base/abort.ts";
import { GantryError } from "../../base/errors.ts";

const INPUT = 1 << 18;

/** A file that another writes meanwhile, and says how far. */
export class GrowingFile {
  readonly #path: string;
  #size = 0;
  #isWhole = false;
  #change = Promise.withResolvers<void>();

  constructor(path: string) {
    this.#path = path;
  }

  /** So many bytes are there. */
  grow(size: number, isWhole: boolean): void {
    this.#size = size;
    this.#isWhole = isWhole;
    this.#wake();
  }

  /** All of it as it comes; a piece is done with when the next is asked for. An abort ends the wait for more. */
  async *read(signal: AbortSignal): AsyncGenerator<Buffer> {
    const fd = openSync(this.#path, "r");
    const wake = (): void => this.#wake();
    signal.addEventListener("abort", wake);
    try {
      const input = Buffer.allocUnsafeSlow(INPUT);
      for (let at = 0; ; ) {
        throwIfAborted(signal);
        if (at < this.#size) {
          const count = readSync(fd, input, 0, Math.min(INPUT, this.#size - at), at);
          if (count === 0) throw new GantryError("internal", `cannot read ${this.#path}: it has been cut short`);
          at += count;
          yield input.subarray(0, count);
        } else if (this.#isWhole) return;
        else await this.#change.promise;
      }
    } finally {
      signal.removeEventListener("abort", wake);
      closeSync(fd);
    }
  }

  #wake(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}
