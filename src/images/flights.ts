import type { ProgressMessage } from "../api/image.ts";
import { cancelled, throwIfAborted } from "../base/abort.ts";
import type { Progress } from "./image.ts";

interface Flight {
  readonly controller: AbortController;
  readonly listeners: Set<(message: ProgressMessage) => void>;
  readonly history: History;
  readonly done: Promise<void>;
}

/** What an act is given: a signal that comes when nobody wants it any longer, and all who watch it. */
export interface FlightProgress {
  readonly signal: AbortSignal;
  readonly onProgress: (message: ProgressMessage) => void;
}

/**
 * The same act once, however many ask for it at the same time: who comes later is told what happened so far, and then
 * what happens. An abort ends one caller's wait; the act itself ends when all of them have left.
 */
export class Flights {
  readonly #flights = new Map<string, Flight>();

  async run(key: string, progress: Progress, act: (progress: FlightProgress) => Promise<void>): Promise<void> {
    const { onProgress, signal } = progress;
    throwIfAborted(signal);
    const flight = this.#flights.get(key) ?? this.#start(key, act);
    // A function of its own for each caller: two may have passed the same one.
    const listener = (message: ProgressMessage): void => onProgress?.(message);
    for (const message of flight.history.messages()) listener(message);
    flight.listeners.add(listener);
    const left = Promise.withResolvers<never>();
    const leave = (): void => {
      flight.listeners.delete(listener);
      if (flight.listeners.size === 0) this.#giveUp(key, flight);
      left.reject(cancelled());
    };
    signal?.addEventListener("abort", leave, { once: true });
    try {
      await Promise.race([flight.done, left.promise]);
      // The last who leaves waits until what was begun is undone.
    } catch (error) {
      if (flight.listeners.size === 0) await flight.done.catch(() => {});
      throw error;
    } finally {
      signal?.removeEventListener("abort", leave);
      flight.listeners.delete(listener);
    }
  }

  #start(key: string, act: (progress: FlightProgress) => Promise<void>): Flight {
    const controller = new AbortController();
    const listeners: Flight["listeners"] = new Set();
    const history = new History();
    const onProgress = (message: ProgressMessage): void => {
      history.add(message);
      for (const listener of listeners) listener(message);
    };
    const begun = Promise.resolve().then(() => act({ signal: controller.signal, onProgress }));
    const flight: Flight = {
      controller,
      listeners,
      history,
      done: begun.finally(() => {
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      }),
    };
    // Whoever has left isn't there to hear of it.
    flight.done.catch(() => {});
    this.#flights.set(key, flight);
    return flight;
  }

  /** Who asks from now on begins anew. */
  #giveUp(key: string, flight: Flight): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
    flight.controller.abort();
  }
}

/** What was told so far, of each row that moves only the latest. */
class History {
  readonly #messages = new Map<string | number, ProgressMessage>();

  add(message: ProgressMessage): void {
    const { id, progressDetail } = message;
    const isRow = id !== undefined && progressDetail !== undefined;
    this.#messages.set(isRow ? id : this.#messages.size, message);
  }

  messages(): ProgressMessage[] {
    return [...this.#messages.values()];
  }
}
