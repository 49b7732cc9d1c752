/**
 * One holder a key at a time, in order of arrival. Never take a second key while holding one, and hold none while
 * waiting on a user or a container.
 */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  isHeld(key: string): boolean {
    return this.#tails.has(key);
  }

  async run<T>(key: string, act: () => Promise<T> | T): Promise<T> {
    const before = this.#tails.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tails.set(key, promise);
    try {
      if (before !== undefined) await before;
      return await act();
    } finally {
      if (this.#tails.get(key) === promise) this.#tails.delete(key);
      resolve();
    }
  }
}
