import { pause } from "../base/pause.ts";
import { RefusedError, UnreachableError } from "./failure.ts";
import type { TimeLimits, Waiting } from "./settings.ts";

/** Answers after which the same request may be answered well. */
const PASSING: readonly number[] = [408, 425, 429, 500, 502, 503, 504];

/**
 * The tries of one piece of work: how often, and how long to wait between two. Waits grow by the factor 2, with up to
 * half of each left to chance so that many clients don't come back together; a `Retry-After` is kept to.
 */
export class Retries {
  readonly #limits: TimeLimits;
  readonly #waiting: Waiting;
  readonly #most: number;
  readonly #isPatient: boolean;
  #failed = 0;

  /** `most` counts the first try too. A patient one tries again also what couldn't be reached at all. */
  constructor(most: number, limits: TimeLimits, waiting: Waiting, options: { readonly isPatient?: boolean } = {}) {
    this.#most = most;
    this.#isPatient = options.isPatient ?? false;
    this.#limits = limits;
    this.#waiting = waiting;
  }

  /** Something new came: the failure that ended it doesn't count. */
  reset(): void {
    this.#failed = -1;
  }

  /** Waits until the next try is due; throws the error where none is to be made, `cancelled` at an abort. */
  async after(error: unknown): Promise<void> {
    this.#failed++;
    const pauseMs = this.#failed < this.#most ? this.#pauseAfter(error) : undefined;
    if (pauseMs === undefined) throw error;
    this.#waiting.onWait?.(pauseMs, error);
    await pause(pauseMs, this.#waiting.signal);
  }

  #pauseAfter(error: unknown): number | undefined {
    const growing = Math.min(this.#limits.backOff * 2 ** (this.#failed - 1), this.#limits.longestBackOff);
    const own = growing * (0.5 + Math.random() / 2);
    if (error instanceof RefusedError) {
      if (!PASSING.includes(error.status)) return undefined;
      const told = retryAfter(error.headers["retry-after"], Date.now());
      if (told === undefined) return own;
      return told <= this.#limits.retryAfter ? Math.max(told, this.#limits.backOff) : undefined;
    }
    return error instanceof UnreachableError && (this.#isPatient || error.isPassing) ? own : undefined;
  }
}

/** RFC 9110, 10.2.3: seconds or a date; milliseconds from now. */
export function retryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  // What a lenient parser makes of anything else ("-1" is a year to it) is no date of HTTP's.
  const date = /^[A-Z][a-z]{2,8}, \d/.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
