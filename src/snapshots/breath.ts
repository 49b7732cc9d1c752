import { setImmediate as nextTurn } from "node:timers/promises";

const LONGEST_MS = 8;

/** Lets long synchronous work give the event loop a turn: await `take()` between steps, it does so when it is time. */
export class Breath {
  #since = performance.now();

  async take(): Promise<void> {
    if (performance.now() - this.#since < LONGEST_MS) return;
    await nextTurn();
    this.#since = performance.now();
  }
}
