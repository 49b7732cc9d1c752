import { GantryError } from "../base/errors.ts";
import type { TimeLimits } from "./settings.ts";

/** A source that keeps a download waiting for ever by sending next to nothing. */
export class TooSlowError extends GantryError {}

/**
 * Ends a download that brings less than so many bytes a second over a whole window of waiting. Time in which
 * nobody waits for the source, as its reader is busy, doesn't count.
 */
export class RateFloor {
  readonly #leastRate: number;
  readonly #windowMs: number;
  readonly #what: string;
  #waitedMs = 0;
  #since: number | undefined = performance.now();
  #bytes = 0;

  constructor(leastRate: number, { rateWindow }: TimeLimits, what: string) {
    this.#leastRate = leastRate;
    this.#windowMs = rateWindow;
    this.#what = what;
  }

  pause(): void {
    if (this.#since !== undefined) this.#waitedMs += performance.now() - this.#since;
    this.#since = undefined;
  }

  resume(): void {
    this.#since ??= performance.now();
  }

  /** Counts bytes that came. Throws `TooSlowError` at a window's end where they were too few. */
  took(bytes: number): void {
    this.#bytes += bytes;
    this.pause();
    this.resume();
    if (this.#waitedMs < this.#windowMs) return;
    const rate = (this.#bytes * 1000) / this.#waitedMs;
    if (rate < this.#leastRate) {
      throw new TooSlowError(
        "unavailable",
        `cannot read ${this.#what}: it comes at ${Math.round(rate)} bytes a second, less than min-transfer-rate (${this.#leastRate})`,
      );
    }
    this.#waitedMs = 0;
    this.#bytes = 0;
  }
}
