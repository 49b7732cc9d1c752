import { closeSync, fdatasync, openSync } from "node:fs";
import { promisify } from "node:util";

const sync = promisify(fdatasync);

/** Syncs one file on a pool thread. Those who ask while a sync is under way share the next one. */
export class Flusher {
  readonly #fd: number;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(path: string) {
    this.#fd = openSync(path, "r");
  }

  flush(): Promise<void> {
    if (this.#running === undefined) return this.#start();
    // The one under way may have begun before the caller's bytes were written.
    this.#next ??= this.#running.then(
      () => this.#start(),
      () => this.#start(),
    );
    return this.#next;
  }

  #start(): Promise<void> {
    this.#next = undefined;
    const running = sync(this.#fd).finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  /** To be called when no flush is under way. */
  close(): void {
    closeSync(this.#fd);
  }
}
