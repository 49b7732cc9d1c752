import { throwIfAborted } from "../../base/abort.ts";
import { Breath } from "../../base/breath.ts";

/** The turns that long work gives others, and the place where it hears that it is to end. */
export class Pace {
  readonly #breath = new Breath();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  get isDue(): boolean {
    return this.#breath.isDue;
  }

  /** Rejects with `cancelled` after an abort. */
  async take(): Promise<void> {
    await this.#breath.take();
    throwIfAborted(this.#signal);
  }
}
