import { setImmediate as nextTurn } from "node:timers/promises";

const LONGEST_MS = 8;

/**
 * Lets long synchronous work give the event loop a turn: await `take()` between steps, it does so when it is time and
 * says whether it did.
 */
export class Breath {
  #since = performance.now();

  /** Whether it is time: spares those who take many small steps a promise for each. */
  get isDue(): boolean {
    return performance.now() - this.#since >= LONGEST_MS;
  }

  async take(): Promise<boolean> {
    if (!this.isDue) return false;
    await nextTurn();
    this.#since = performance.now();
    return true;
  }
}
