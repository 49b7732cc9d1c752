import { GantryError } from "../../base/errors.ts";

/** Things with an id that may be asked for before they are there. */
export class Arrivals<T> {
  readonly #here = new Map<string, T>();
  readonly #waiting = new Map<string, Set<(one: T) => void>>();
  readonly #patienceMs: number;

  /** `patienceMs` is how long who asks early waits. */
  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** Those that are there. */
  all(): Iterable<T> {
    return this.#here.values();
  }

  find(id: string): T | undefined {
    return this.#here.get(id);
  }

  /** In place of what had the id before. */
  add(id: string, one: T): void {
    this.#here.set(id, one);
    for (const resolve of this.#waiting.get(id) ?? []) resolve(one);
    this.#waiting.delete(id);
  }

  /** Nothing if another one has the id by now. */
  remove(id: string, one: T): void {
    if (this.#here.get(id) === one) this.#here.delete(id);
  }

  /** Rejects with not-found and `missing` after a while without it. */
  async get(id: string, missing: string, signal: AbortSignal): Promise<T> {
    const found = this.#here.get(id);
    if (found !== undefined) return found;
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const waiting = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiting.add(resolve));
    const timer = setTimeout(() => reject(new GantryError("not-found", missing)), this.#patienceMs);
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      waiting.delete(resolve);
      if (waiting.size === 0 && this.#waiting.get(id) === waiting) this.#waiting.delete(id);
    }
  }
}
