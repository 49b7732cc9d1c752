import type { EventMessage, EventType } from "../api/event.ts";

export interface EventDraft {
  readonly type: EventType;
  readonly action: string;
  readonly id: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** The kept events hold no more text than this: labels may be megabytes each. */
const MOST_TEXT = 16 << 20;

export interface EventBusOptions {
  /** Unix nanoseconds; by default as exact as `Date`. */
  readonly now?: () => bigint;
  /** How many events are kept for replay. */
  readonly capacity?: number;
}

/**
 * What happened, in order. Keeps the last `capacity` events for replay, fewer if they are large; a subscriber that does
 * not read loses the oldest of its own backlog, never holds the publisher.
 */
export class EventBus {
  readonly #past: EventMessage[] = [];
  readonly #listeners = new Set<(event: EventMessage) => void>();
  readonly #now: () => bigint;
  readonly #capacity: number;
  #lastNano = 0n;
  #text = 0;
  #published = 0;

  constructor({ now = dateNano, capacity = 4096 }: EventBusOptions = {}) {
    this.#now = now;
    this.#capacity = capacity;
  }

  publish(draft: EventDraft): void {
    let nano = this.#now();
    if (nano <= this.#lastNano) nano = this.#lastNano + 1n;
    this.#lastNano = nano;
    const legacy =
      draft.type === "container" || draft.type === "image"
        ? { status: draft.action, id: draft.id, from: draft.attributes.image }
        : {};
    const event: EventMessage = {
      ...legacy,
      Type: draft.type,
      Action: draft.action,
      Actor: { ID: draft.id, Attributes: inOrder(draft.attributes) },
      scope: "local",
      time: Number(nano / 1_000_000_000n),
      timeNano: nano,
    };
    this.#published++;
    this.#past.push(event);
    this.#text += textOf(event);
    while (this.#past.length > this.#capacity || this.#text > MOST_TEXT) this.#text -= textOf(this.#past.shift()!);
    for (const listener of this.#listeners) listener(event);
  }

  /** Events kept from the past, oldest first, whose time lies in [sinceNano, untilNano]. */
  past(sinceNano: bigint, untilNano?: bigint): readonly EventMessage[] {
    const isBy = (nano: bigint) => untilNano === undefined || nano <= untilNano;
    return this.#past.filter(({ timeNano }) => timeNano >= sinceNano && isBy(timeNano));
  }

  /** Calls `listener` for each event from now on; the result ends it. The listener must not throw or block. */
  subscribe(listener: (event: EventMessage) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** How many events there were. */
  get published(): number {
    return this.#published;
  }

  /** How many subscriptions there are. */
  get listeners(): number {
    return this.#listeners.size;
  }
}

function dateNano(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/** Maps go over the wire sorted by their keys. */
function inOrder(attributes: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function textOf({ Action, Actor }: EventMessage): number {
  let length = Action.length;
  for (const [name, value] of Object.entries(Actor.Attributes)) length += name.length + value.length;
  return length;
}
