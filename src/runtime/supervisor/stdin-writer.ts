import { closeSync } from "node:fs";
import { writeBytes } from "../../kernel/descriptor.ts";
import { Readiness } from "../../kernel/readiness.ts";

/** The way into a process: its standard input's FIFO or its terminal. What it does not take at once is kept. */
export class StdinWriter {
  /** Called when all that was kept has gone. */
  onDrain: () => void = () => undefined;
  #fd: number;
  readonly #ownsFd: boolean;
  readonly #readiness: Readiness;
  #pending: Buffer[] = [];
  #ending = false;
  #closed = false;

  /**
   * `readiness`: that of a terminal, which watches one descriptor for both directions; then the descriptor is not this
   * writer's. Its owner calls `flush` when it can be written.
   */
  constructor(fd: number, readiness?: Readiness) {
    this.#fd = fd;
    this.#ownsFd = readiness === undefined;
    this.#readiness = readiness ?? new Readiness(fd, () => this.flush());
  }

  get isOpen(): boolean {
    return !this.#closed && !this.#ending;
  }

  get isFull(): boolean {
    return this.#pending.length > 0;
  }

  write(bytes: Buffer): void {
    if (!this.isOpen || bytes.length === 0) return;
    this.#pending.push(Buffer.from(bytes));
    if (this.#pending.length === 1) this.flush();
  }

  /** End of file for the process, once all that was written has gone. */
  end(): void {
    this.#ending = true;
    if (this.#pending.length === 0) this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pending = [];
    if (!this.#ownsFd) return;
    this.#readiness.close();
    closeSync(this.#fd);
  }

  flush(): void {
    if (this.#closed) return;
    const wasFull = this.#pending.length > 0;
    try {
      for (let first = this.#pending[0]; first !== undefined; first = this.#pending[0]) {
        const count = writeBytes(this.#fd, first);
        if (count < 0) break;
        if (count === first.length) this.#pending.shift();
        else this.#pending[0] = first.subarray(count);
      }
    } catch {
      // The process has closed its standard input: what is typed now goes nowhere, as on a terminal without reader.
      this.close();
      this.onDrain();
      return;
    }
    this.#readiness.watchWriting(this.isFull);
    if (this.isFull) return;
    if (this.#ending) this.close();
    if (wasFull) this.onDrain();
  }
}
