import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { nextBackoff } from "./restart-policy.ts";
import type { Entry } from "./table.ts";

/** Brings containers back after a wait that doubles with each failure; until then they are `restarting`. */
export class Restarts {
  readonly #restart: (entry: Entry) => Promise<void>;
  readonly #log: Logger;

  /** `restart` takes the lock, sees whether the container is still `restarting`, and starts it. */
  constructor(restart: (entry: Entry) => Promise<void>, log: Logger) {
    this.#restart = restart;
    this.#log = log;
  }

  /** The container counts as restarting from now on; its wait begins with `arm`. */
  plan(entry: Entry, ranMs: number): void {
    const { transient } = entry;
    transient.restarting = true;
    transient.backoffMs = nextBackoff(transient.backoffMs, ranMs);
  }

  arm(entry: Entry): void {
    const { transient, record } = entry;
    if (!transient.restarting) return;
    transient.restartTimer = setTimeout(() => {
      this.#restart(entry).catch((error: unknown) =>
        this.#log.error(`cannot restart: ${messageOf(error)}`, { container: record.id }),
      );
    }, transient.backoffMs);
  }

  /** True if there was a restart to take back. */
  cancel(entry: Entry): boolean {
    const { transient } = entry;
    const was = transient.restarting;
    clearTimeout(transient.restartTimer);
    transient.restartTimer = undefined;
    transient.restarting = false;
    return was;
  }
}
