import { GantryError } from "../base/errors.ts";

/** Those who wait for containers to end or to be gone. A waiter is told once. */
export class Waiters {
  readonly #waiting = new Map<string, Set<(code: number) => void>>();

  /**
   * Resolves at the next `notify` of the key. The wait is in place when the call returns, so nothing that happens
   * later is missed. An abort rejects with `cancelled`.
   */
  next(key: string, signal: AbortSignal | undefined): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const listener = (code: number) => {
      signal?.removeEventListener("abort", aborted);
      resolve(code);
    };
    const aborted = () => {
      this.#waiting.get(key)?.delete(listener);
      reject(new GantryError("cancelled", "the wait was given up"));
    };
    if (signal?.aborted) {
      reject(new GantryError("cancelled", "the wait was given up"));
      return promise;
    }
    signal?.addEventListener("abort", aborted, { once: true });
    let listeners = this.#waiting.get(key);
    if (listeners === undefined) {
      listeners = new Set();
      this.#waiting.set(key, listeners);
    }
    listeners.add(listener);
    return promise;
  }

  notify(key: string, code: number): void {
    const listeners = this.#waiting.get(key);
    this.#waiting.delete(key);
    for (const listener of listeners ?? []) listener(code);
  }
}
