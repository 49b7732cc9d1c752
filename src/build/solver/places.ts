import { cancelled } from "../../base/abort.ts";

/** So many at a time; the others wait in order of arrival, and give up when their signal comes. */
export class Places {
  readonly #waiting = new Set<() => void>();
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  async run<T>(signal: AbortSignal, act: () => Promise<T>): Promise<T> {
    await this.#take(signal);
    try {
      return await act();
    } finally {
      const [next] = this.#waiting;
      if (next === undefined) this.#free++;
      else next();
    }
  }

  async #take(signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw cancelled();
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const enter = (): void => {
      this.#waiting.delete(enter);
      signal.removeEventListener("abort", leave);
      resolve();
    };
    const leave = (): void => {
      this.#waiting.delete(enter);
      reject(cancelled());
    };
    this.#waiting.add(enter);
    signal.addEventListener("abort", leave, { once: true });
    await promise;
  }
}
