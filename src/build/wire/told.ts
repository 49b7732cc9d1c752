import type { BuildEvent } from "../progress.ts";

/** Bytes of log lines that are kept for who has not asked yet, and that wait for who reads slowly. */
const BUFFERED = 1 << 20;
/** Events that come close together go together. */
const GATHER_MS = 20;

/** What a build has told and tells, for any number of listeners, each of which has all of it from the beginning. */
export class Told {
  #events: BuildEvent[] = [];
  #bytes = 0;
  #ended = false;
  readonly #listeners = new Set<Listener>();

  /** Resolves when all who listen have room for more. */
  add(event: BuildEvent): Promise<void> | undefined {
    this.#keep(event);
    let wait: Promise<void> | undefined;
    for (const listener of this.#listeners) {
      const [before, room] = [wait, listener.add(event)];
      wait = before === undefined || room === undefined ? (room ?? before) : before.then(() => room);
    }
    return wait;
  }

  /** No more comes. */
  end(): void {
    this.#ended = true;
    for (const listener of this.#listeners) listener.end();
  }

  /** Groups of events, to the end. Leaving the loop ends the listening. */
  async *listen(signal: AbortSignal): AsyncIterable<readonly BuildEvent[]> {
    const listener = new Listener(this.#events);
    if (this.#ended) listener.end();
    this.#listeners.add(listener);
    const leave = () => listener.leave();
    signal.addEventListener("abort", leave, { once: true });
    try {
      signal.throwIfAborted();
      for (let group = await listener.next(); group !== undefined; group = await listener.next()) {
        signal.throwIfAborted();
        yield group;
      }
      signal.throwIfAborted();
    } finally {
      this.#listeners.delete(listener);
      listener.leave();
      signal.removeEventListener("abort", leave);
    }
  }

  /** Lines that are too many for who comes late are dropped, the oldest first; what is no line stays. */
  #keep(event: BuildEvent): void {
    this.#events.push(event);
    if (event.type !== "log") return;
    this.#bytes += event.log.data.length;
    if (this.#bytes <= BUFFERED) return;
    let excess = this.#bytes - BUFFERED / 2;
    this.#events = this.#events.filter((one) => {
      if (one.type !== "log" || excess <= 0) return true;
      excess -= one.log.data.length;
      this.#bytes -= one.log.data.length;
      return false;
    });
  }
}

class Listener {
  #queue: BuildEvent[];
  #bytes = 0;
  #ended = false;
  #wake: (() => void) | undefined;
  #hurry: (() => void) | undefined;
  #room: PromiseWithResolvers<void> | undefined;

  constructor(events: readonly BuildEvent[]) {
    this.#queue = [...events];
  }

  add(event: BuildEvent): Promise<void> | undefined {
    if (this.#ended) return undefined;
    this.#queue.push(event);
    if (event.type === "log") this.#bytes += event.log.data.length;
    this.#wake?.();
    if (this.#bytes <= BUFFERED) return undefined;
    this.#room ??= Promise.withResolvers<void>();
    return this.#room.promise;
  }

  async next(): Promise<readonly BuildEvent[] | undefined> {
    if (this.#queue.length === 0 && !this.#ended) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
      this.#wake = undefined;
      if (!this.#ended && this.#bytes < BUFFERED / 2) await this.#gather();
    }
    if (this.#queue.length === 0) return undefined;
    const group = this.#queue;
    this.#queue = [];
    this.#bytes = 0;
    this.#room?.resolve();
    this.#room = undefined;
    return group;
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
    this.#hurry?.();
  }

  /** For a while, or until there is nothing more to wait for. */
  async #gather(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, GATHER_MS);
    this.#hurry = resolve;
    await promise;
    this.#hurry = undefined;
    clearTimeout(timer);
  }

  leave(): void {
    this.#queue = [];
    this.end();
    this.#room?.resolve();
    this.#room = undefined;
  }
}
