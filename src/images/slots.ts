import { cancelled, throwIfAborted } from "../base/abort.ts";

/** As many at a time as a setting allows, in order of arrival. */
export class Slots {
  readonly #most: () => number;
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  /** `most` is asked each time, since settings change. */
  constructor(most: () => number) {
    this.#most = most;
  }

  get isFull(): boolean {
    return this.#taken >= Math.max(1, this.#most());
  }

  /** Disposing of the result gives the slot back. */
  async take(signal: AbortSignal): Promise<Disposable> {
    throwIfAborted(signal);
    if (this.isFull || this.#waiting.size > 0) await this.#wait(signal);
    else this.#taken++;
    return {
      [Symbol.dispose]: () => {
        this.#taken--;
        this.#pass();
      },
    };
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        this.#waiting.delete(go);
        reject(cancelled());
      };
      const go = (): void => {
        signal.removeEventListener("abort", stop);
        resolve();
      };
      this.#waiting.add(go);
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  #pass(): void {
    for (const go of this.#waiting) {
      if (this.isFull) return;
      this.#waiting.delete(go);
      this.#taken++;
      go();
    }
  }
}
