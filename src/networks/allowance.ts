/** The event loop's clocks, in milliseconds. */
export interface LoopClock {
  readonly now: () => number;
  /** How long the loop has not been waiting for something to do, since it began. */
  readonly activeMs: () => number;
}

const LOOP: LoopClock = {
  now: () => performance.now(),
  activeMs: () => performance.eventLoopUtilization().active,
};

export interface AllowanceOptions {
  /** Of the event loop's time. */
  readonly share: number;
  /** The share while nobody else wants the loop; `share` without it. */
  readonly atLeisure?: number;
  /** Milliseconds at once, after a rest. */
  readonly mostMs: number;
  /** What is spent counts against it too; several share it. */
  readonly whole?: Allowance;
  readonly clock?: LoopClock;
}

/**
 * How much of the event loop's time somebody may take who is not trusted to ask for little: a share of it, which is
 * larger while nobody else wants the loop.
 */
export class Allowance {
  readonly #options: AllowanceOptions;
  readonly #clock: LoopClock;
  readonly #others: OthersUse;
  #leftMs: number;
  #at: number;

  constructor(options: AllowanceOptions) {
    this.#options = options;
    this.#clock = options.clock ?? LOOP;
    this.#others = new OthersUse(this.#clock);
    this.#leftMs = options.mostMs;
    this.#at = this.#clock.now();
  }

  /** Runs `act` and counts the time that it takes before it returns. */
  spend<T>(act: () => T): T {
    const begun = this.#clock.now();
    try {
      return act();
    } finally {
      this.#count(this.#clock.now() - begun);
    }
  }

  /** Milliseconds until more may be spent; 0 for now. */
  waitMs(): number {
    this.#refill();
    const own = this.#leftMs > 0 ? 0 : Math.ceil((LEAST_MS - this.#leftMs) / this.#share);
    return Math.max(own, this.#options.whole?.waitMs() ?? 0);
  }

  get #share(): number {
    const { share, atLeisure = share } = this.#options;
    return share + (atLeisure - share) * this.#others.leisure;
  }

  #count(ms: number): void {
    this.#refill();
    this.#leftMs -= ms;
    this.#others.spentMs += ms;
    const { whole } = this.#options;
    if (whole !== undefined) whole.#count(ms);
  }

  #refill(): void {
    const now = this.#clock.now();
    this.#leftMs = Math.min(this.#options.mostMs, this.#leftMs + (now - this.#at) * this.#share);
    this.#at = now;
    this.#others.look(now);
  }
}

/** Worth going on for. */
const LEAST_MS = 1;
/** So long it is watched what others use before it counts, and after a longer pause nothing is known of them. */
const WATCH_MS = 50;
const PAUSE_MS = 200;
/** What the last watch counts for, beside those before. */
const WEIGHT = 0.4;
/** Of the loop: up to this nobody else is taken to want it, and from that on somebody does. */
const NOBODY = 0.1;
const SOMEBODY = 0.2;

/** What all but one use of the event loop. */
class OthersUse {
  /** What the one has spent until now. */
  spentMs = 0;
  readonly #clock: LoopClock;
  #share = 1;
  #at = Number.NEGATIVE_INFINITY;
  #activeMs = 0;
  #spentMs = 0;

  constructor(clock: LoopClock) {
    this.#clock = clock;
  }

  /** 1: the others have had hardly anything to do lately; 0: they have, or it is not known. */
  get leisure(): number {
    return Math.min(1, Math.max(0, (SOMEBODY - this.#share) / (SOMEBODY - NOBODY)));
  }

  look(now: number): void {
    const ms = now - this.#at;
    if (ms < WATCH_MS) return;
    const activeMs = this.#clock.activeMs();
    const share = (activeMs - this.#activeMs - (this.spentMs - this.#spentMs)) / ms;
    this.#share = ms > PAUSE_MS ? 1 : this.#share + WEIGHT * (Math.min(1, Math.max(0, share)) - this.#share);
    this.#at = now;
    this.#activeMs = activeMs;
    this.#spentMs = this.spentMs;
  }
}
