import { untilAborted } from "../../base/abort.ts";
import { isKind } from "../../base/errors.ts";
import type { BuildEvent, OnBuildEvent } from "../progress.ts";
import type { Root } from "../root.ts";
import { Audience } from "./audience.ts";

export interface FlightOptions {
  readonly signal: AbortSignal;
  /** Told all that the work tells, from its beginning. */
  readonly onEvent: OnBuildEvent;
  /** Does the work, for whoever joins. It undoes what it did before it rejects. */
  readonly start: (signal: AbortSignal, onEvent: OnBuildEvent) => Promise<Root>;
}

/** What a late one gets of a log: its beginning. */
const MOST_REPLAYED = 2 << 20;
const MOST_EVENTS = 20_000;

/** Work of equal keys that several builds want at once is done once. Who leaves early leaves the others to it. */
export class Flights {
  readonly #byKey = new Map<string, Flight>();

  /** Resolves with a holder of the result, which the caller disposes of. */
  async join(key: string, options: FlightOptions): Promise<Root> {
    for (;;) {
      let flight = this.#byKey.get(key);
      const isOwn = flight === undefined;
      if (flight === undefined) {
        const begun: Flight = new Flight(options, () => {
          if (this.#byKey.get(key) === begun) this.#byKey.delete(key);
        });
        this.#byKey.set(key, begun);
        flight = begun;
      }
      try {
        return await flight.follow(options);
      } catch (error) {
        // It may have failed for want of the client that it was begun for.
        if (isOwn || options.signal.aborted || !flight.isOrphan) throw error;
      }
    }
  }
}

class Flight {
  readonly #controller = new AbortController();
  readonly #owner: AbortSignal;
  readonly #audience = new Audience();
  readonly #told: BuildEvent[] = [];
  readonly #done: Promise<Root>;
  readonly #leave: () => void;
  #toldBytes = 0;

  /** `leave` is called before the last one goes or is told of a failure: nobody comes after. */
  constructor({ signal, start }: FlightOptions, leave: () => void) {
    this.#owner = signal;
    this.#leave = leave;
    this.#done = start(this.#controller.signal, (event) => this.#tell(event));
    // Heard first by this, then by those who follow.
    this.#done.catch(leave);
  }

  /** Whether the build that began it has given up. */
  get isOrphan(): boolean {
    return this.#owner.aborted;
  }

  async follow({ onEvent, signal }: FlightOptions): Promise<Root> {
    const listening = this.#audience.join(onEvent, this.#told);
    try {
      return (await untilAborted(this.#done, signal)).share();
    } catch (error) {
      // Ended for this build, but it may have failed of itself before.
      if (this.#audience.size > 1) throw error;
      this.#controller.abort();
      const failure = await this.#done.then(
        () => error,
        (reason: unknown) => reason,
      );
      throw isKind(failure, "cancelled") ? error : failure;
    } finally {
      listening[Symbol.dispose]();
      if (this.#audience.size === 0) {
        this.#leave();
        this.#controller.abort();
        await this.#done.then(
          (root) => root[Symbol.asyncDispose](),
          () => {},
        );
      }
    }
  }

  #tell(event: BuildEvent): void | Promise<void> {
    const bytes = event.type === "log" ? event.log.data.length : 0;
    if (this.#toldBytes + bytes <= MOST_REPLAYED && this.#told.length < MOST_EVENTS) {
      this.#told.push(event);
      this.#toldBytes += bytes;
    }
    return this.#audience.tell(event);
  }
}
