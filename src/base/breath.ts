import { setImmediate as nextTurn } from "node:timers/promises";

const LONGEST_MS = 8;

/**
 * Lets long synchronous work give the event loop a turn: await `take()` between steps, it does so when it is time and
 * says whether it did.
 */
export class Breath {
  #since = performance.now();

  async take(): Promise<boolean> {
    if (performance.now() - this.#since < LONGEST_MS) return false;
    await nextTurn();
    this.#since = performance.now();
    return true;
  }
}
