import type { IncomingHttpHeaders } from "node:http";
import { type RateLimit, rateLimitOf } from "./rate-limit.ts";

const MOST_KEPT = 64;
/** How often a registry's clock is looked at. */
const LOOK_EVERY_MS = 30_000;

/** How it went with a registry or a mirror lately. */
export interface Observation {
  readonly host: string;
  /** Why it could not be reached the last time; undefined if it answered. */
  readonly problem: string | undefined;
  /** Unix milliseconds of that. */
  readonly at: number;
  /** How far its clock is ahead of this machine's, in milliseconds; undefined where it didn't tell. */
  readonly aheadMs: number | undefined;
  readonly rateLimit: RateLimit | undefined;
}

/** What was seen of registries while they were used: for who looks into what is wrong with them. Memory only. */
export class Observed {
  readonly #rows = new Map<string, Observation>();
  readonly #lookedAt = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  answered(host: string, headers: IncomingHttpHeaders): void {
    const at = this.#now();
    const known = this.#rows.get(host);
    const rateLimit = "ratelimit-limit" in headers ? rateLimitOf(headers) : known?.rateLimit;
    this.#set({ host, problem: undefined, at, aheadMs: this.#aheadMs(host, headers, at), rateLimit });
  }

  failed(host: string, problem: string): void {
    const known = this.#rows.get(host);
    this.#set({ host, problem, at: this.#now(), aheadMs: known?.aheadMs, rateLimit: known?.rateLimit });
  }

  list(): readonly Observation[] {
    return [...this.#rows.values()];
  }

  /** An answer that lay in a cache on the way has the time of then. */
  #aheadMs(host: string, { age, date }: IncomingHttpHeaders, at: number): number | undefined {
    const known = this.#rows.get(host)?.aheadMs;
    if (at - (this.#lookedAt.get(host) ?? Number.NEGATIVE_INFINITY) < LOOK_EVERY_MS || age !== undefined) return known;
    const told = Date.parse(date ?? "");
    if (Number.isNaN(told)) return known;
    this.#lookedAt.set(host, at);
    return told - at;
  }

  #set(row: Observation): void {
    // The last to be used are the last to go.
    this.#rows.delete(row.host);
    this.#rows.set(row.host, row);
    for (const [oldest] of this.#rows) {
      if (this.#rows.size <= MOST_KEPT) break;
      this.#rows.delete(oldest);
      this.#lookedAt.delete(oldest);
    }
  }
}
