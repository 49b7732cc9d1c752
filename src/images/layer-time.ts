/** What a layer's thread does with its time: in the first five it works, `starved` of bytes or `queued` it doesn't. */
export const THREAD_PARTS = ["read", "digest", "expand", "tar-digest", "extract", "starved", "queued"] as const;
export type ThreadPart = (typeof THREAD_PARTS)[number];

/**
 * What the time of a layer goes to. First it waits for a `slot`; then the engine's thread waits for the `network` and
 * sees to it that bytes are in the `store`, while a thread has its own parts beside that; at last it waits for the `sync`
 * and its `parent`, and for its `commit`. A layer's time is its slot, its thread's parts and those three.
 */
export const LAYER_PARTS = ["slot", "network", "store", ...THREAD_PARTS, "sync", "parent", "commit"] as const;
export type LayerPart = (typeof LAYER_PARTS)[number];

/** Hears what layers' time went to, as each part of it ends. */
export interface LayerTimes {
  /** By the clock. */
  spent(part: LayerPart, ms: number): void;
  /** Processor time of the layers' threads, their start included. */
  usedByThreads(ms: number): void;
  /** Bytes that came from registries, and that layers unpacked to. */
  moved(what: "received" | "unpacked", bytes: number): void;
}

/** How long a thread was at each of its parts. Entering one looks at the clock once: for pieces, not for files. */
export class PartClock {
  readonly #ms = new Float64Array(THREAD_PARTS.length);
  #part: number;
  #since = performance.now();

  constructor(part: ThreadPart) {
    this.#part = THREAD_PARTS.indexOf(part);
  }

  get part(): ThreadPart {
    return THREAD_PARTS[this.#part]!;
  }

  enter(part: ThreadPart): void {
    const now = performance.now();
    this.#ms[this.#part]! += now - this.#since;
    this.#since = now;
    this.#part = THREAD_PARTS.indexOf(part);
  }

  /** Milliseconds of each part up to now. */
  read(): Readonly<Record<ThreadPart, number>> {
    this.enter(this.part);
    return Object.fromEntries(THREAD_PARTS.map((part, at) => [part, this.#ms[at]!])) as Record<ThreadPart, number>;
  }
}

/** Resolves or throws as `work` does; what it took is told in any case. */
export async function timed<T>(times: LayerTimes | undefined, part: LayerPart, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  try {
    return await work();
  } finally {
    times?.spent(part, performance.now() - began);
  }
}
