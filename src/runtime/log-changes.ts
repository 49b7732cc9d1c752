import { type FSWatcher, watch } from "node:fs";
import { dirname } from "node:path";

const RECHECK_MS = 1000;

/** Tells when a log may have grown, rotated or ended. */
export class LogChanges implements Disposable {
  readonly #watcher: FSWatcher | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #told = (): void => this.#wake();
  #ended = false;
  #changed = false;
  #wakeUp: (() => void) | undefined;

  constructor(path: string, ended: Promise<unknown> | undefined, signal: AbortSignal | undefined) {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#told);
    const end = (): void => {
      this.#ended = true;
      this.#wake();
    };
    ended?.then(end, end);
    try {
      this.#watcher = watch(dirname(path), { persistent: false }, this.#told);
      this.#watcher.on("error", () => undefined);
    } catch {
      // The folder is not there yet, or the user's inotify quota is used up: looking now and then must do.
    }
  }

  /** True once no more will be written, or nobody wants it. */
  get isOver(): boolean {
    return this.#ended || this.#signal?.aborted === true;
  }

  /** Resolves at the next change, or after a second. */
  async next(): Promise<void> {
    if (!this.#changed && !this.isOver) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wakeUp = resolve;
      const timer = setTimeout(resolve, RECHECK_MS);
      await promise;
      clearTimeout(timer);
      this.#wakeUp = undefined;
    }
    this.#changed = false;
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    this.#signal?.removeEventListener("abort", this.#told);
  }

  #wake(): void {
    this.#changed = true;
    this.#wakeUp?.();
  }
}
