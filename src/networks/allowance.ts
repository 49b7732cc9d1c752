/**
 * How much of the event loop's time somebody may take who is not trusted to ask for little: a share of it, and `mostMs`
 * at once after a rest. What is spent counts against `whole` too, which several share.
 */
export class Allowance {
  readonly #share: number;
  readonly #mostMs: number;
  readonly #whole: Allowance | undefined;
  #leftMs: number;
  #at = performance.now();

  constructor({
    share,
    mostMs,
    whole,
  }: { readonly share: number; readonly mostMs: number; readonly whole?: Allowance }) {
    this.#share = share;
    this.#mostMs = mostMs;
    this.#whole = whole;
    this.#leftMs = mostMs;
  }

  /** Runs `act` and counts the time that it takes before it returns. */
  spend<T>(act: () => T): T {
    const begun = performance.now();
    try {
      return act();
    } finally {
      this.#count(performance.now() - begun);
    }
  }

  /** Milliseconds until more may be spent; 0 for now. */
  waitMs(): number {
    this.#refill();
    const own = this.#leftMs > 0 ? 0 : Math.ceil((LEAST_MS - this.#leftMs) / this.#share);
    return Math.max(own, this.#whole?.waitMs() ?? 0);
  }

  #count(ms: number): void {
    this.#refill();
    this.#leftMs -= ms;
    if (this.#whole !== undefined) this.#whole.#count(ms);
  }

  #refill(): void {
    const now = performance.now();
    this.#leftMs = Math.min(this.#mostMs, this.#leftMs + (now - this.#at) * this.#share);
    this.#at = now;
  }
}

/** Worth going on for. */
const LEAST_MS = 1;
