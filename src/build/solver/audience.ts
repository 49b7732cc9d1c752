import type { BuildEvent, OnBuildEvent } from "../progress.ts";

/** So long the others wait for one that has no room. */
const PATIENCE_MS = 1000;

/**
 * Those whom one piece of work tells what it does. It waits until they have room for more; one that takes too long
 * holds up nobody but itself: as long as others listen it misses lines, and is told how many bytes of them.
 */
export class Audience {
  readonly #listeners = new Set<Listener>();
  readonly #patienceMs: number;
  #joined = Promise.withResolvers<void>();

  constructor(patienceMs = PATIENCE_MS) {
    this.#patienceMs = patienceMs;
  }

  get size(): number {
    return this.#listeners.size;
  }

  /** Adds one, who gets `told` first; disposal takes it away, and nobody waits for it any more. */
  join(onEvent: OnBuildEvent, told: readonly BuildEvent[]): Disposable {
    for (const event of told) void onEvent(event);
    const listener = new Listener(onEvent);
    this.#listeners.add(listener);
    this.#joined.resolve();
    this.#joined = Promise.withResolvers();
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(listener);
        listener.leave();
      },
    };
  }

  tell(event: BuildEvent): Promise<void> | undefined {
    const hasQuick = this.#hasQuick();
    const waits: Promise<void>[] = [];
    for (const listener of this.#listeners) {
      const wait = listener.take(event, hasQuick);
      if (wait !== undefined && !listener.isSlow) waits.push(listener.patiently(wait, this.#patienceMs));
    }
    return waits.length === 0 && hasQuick ? undefined : this.#room(waits);
  }

  #hasQuick(): boolean {
    for (const { isSlow } of this.#listeners) if (!isSlow) return true;
    return false;
  }

  async #room(waits: readonly Promise<void>[]): Promise<void> {
    await Promise.all(waits);
    while (this.#listeners.size > 0 && !this.#hasQuick()) {
      await Promise.race([this.#joined.promise, ...[...this.#listeners].map((listener) => listener.whenQuick)]);
    }
  }
}

class Listener {
  readonly #onEvent: OnBuildEvent;
  readonly #left = Promise.withResolvers<void>();
  #slow: Promise<void> | undefined;
  #missedBytes = 0;

  constructor(onEvent: OnBuildEvent) {
    this.#onEvent = onEvent;
  }

  get isSlow(): boolean {
    return this.#slow !== undefined;
  }

  get whenQuick(): Promise<void> {
    return this.#slow ?? Promise.resolve();
  }

  leave(): void {
    this.#left.resolve();
  }

  /** Resolves when there is room for more, or when it has left. */
  take(event: BuildEvent, mayMiss: boolean): Promise<void> | undefined {
    if (event.type === "log") {
      const { data } = event.log;
      if (this.isSlow && mayMiss) {
        this.#missedBytes += data.length;
        return undefined;
      }
      if (this.#missedBytes > 0) {
        const text = `\n[${this.#missedBytes} bytes of output are missing here: they were not read in time]\n`;
        this.#missedBytes = 0;
        void this.#onEvent({ type: "log", log: { ...event.log, data: Buffer.from(text) } });
      }
    }
    const wait = this.#onEvent(event);
    return wait === undefined ? undefined : Promise.race([wait, this.#left.promise]);
  }

  /** Waits for a while; then it is slow, until it has room. */
  async patiently(wait: Promise<void>, ms: number): Promise<void> {
    const { promise: patience, resolve } = Promise.withResolvers<"over">();
    const timer = setTimeout(resolve, ms, "over");
    try {
      if ((await Promise.race([wait, patience])) !== "over") return;
    } finally {
      clearTimeout(timer);
    }
    const slow = wait
      .catch(() => {})
      .then(() => {
        if (this.#slow === slow) this.#slow = undefined;
      });
    this.#slow = slow;
  }
}
