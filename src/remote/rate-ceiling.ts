import { setTimeout as after } from "node:timers/promises";

/** What may go at once after a rest, as a time at full rate. */
const BURST_MS = 100;

/**
 * Holds back whoever moves bytes so that all of them together stay below a rate: each is told how long it has to wait,
 * in the order in which they ask.
 */
export class RateCeiling {
  readonly #rateNow: () => number;
  readonly #now: () => number;
  #rate = 0;
  /** When what was let through so far has gone at this rate. */
  #freeAt = Number.NEGATIVE_INFINITY;

  /** Bytes a second, asked for anew each time; 0 for as fast as it goes. `now` in milliseconds. */
  constructor(rate: () => number, now: () => number = () => performance.now()) {
    this.#rateNow = rate;
    this.#now = now;
  }

  get isSet(): boolean {
    return this.#rateNow() > 0;
  }

  /** Milliseconds to wait before these bytes go, or after they came. */
  delay(bytes: number): number {
    const rate = this.#rateNow();
    if (rate <= 0) return 0;
    const now = this.#now();
    // At another rate the waits of before are worth nothing.
    const freeAt = rate === this.#rate ? this.#freeAt : Number.NEGATIVE_INFINITY;
    this.#rate = rate;
    this.#freeAt = Math.max(freeAt, now - BURST_MS) + (bytes * 1000) / rate;
    return Math.max(0, this.#freeAt - now);
  }

  /** Waits so long, and tells whether it had to; ends early, without a failure, when the signal aborts. */
  async pass(bytes: number, signal?: AbortSignal): Promise<boolean> {
    const delay = this.delay(bytes);
    if (delay <= 0) return false;
    await after(delay, undefined, signal === undefined ? {} : { signal }).catch(() => {});
    return true;
  }
}
