import { setImmediate } from "node:timers/promises";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";

/**
 * Cleaning that nobody has to wait for: mounts, cgroups and folders of processes that are gone and of containers that
 * no longer exist. In order for each container; what a crash leaves undone, boot does.
 */
export class Sweeps {
  readonly #log: Logger;
  readonly #under = new Map<string, Promise<void>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Runs `act` after what is under way for this container, and after whoever is to be answered was answered. */
  add(id: string, act: () => Promise<void>): void {
    const sweep = this.#run(id, this.#under.get(id), act);
    this.#under.set(id, sweep);
    void sweep.then(() => {
      if (this.#under.get(id) === sweep) this.#under.delete(id);
    });
  }

  async #run(id: string, before: Promise<void> | undefined, act: () => Promise<void>): Promise<void> {
    await before;
    await setImmediate();
    try {
      await act();
    } catch (error) {
      this.#log.error(`cannot sweep: ${messageOf(error)}`, { container: id });
    }
  }

  /** Resolves when nothing is under way for this container. */
  async of(id: string): Promise<void> {
    await this.#under.get(id);
  }

  /** Resolves when nothing is under way at all. */
  async all(): Promise<void> {
    while (this.#under.size > 0) await Promise.all(this.#under.values());
  }
}
