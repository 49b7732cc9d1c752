import type { Collection, Store } from "../state/store.ts";

const DAY_MS = 24 * 3600_000;

/** What an unfinished pull has and wants to find again. */
export interface Lease {
  /** The name that was pulled, for people. */
  readonly name: string;
  readonly blobs: readonly string[];
  /** Chain ids, bottom first. */
  readonly chains: readonly string[];
  /** Unix milliseconds. */
  readonly until: number;
}

/**
 * Blobs and snapshots of pulls that did not come to their end, by the digest of the manifest: kept for a day, so that
 * the next pull goes on from what is whole. A power loss may take a lease, and then the next start what it kept.
 */
export class Leases {
  readonly #store: Store;
  readonly #leases: Collection<Lease>;
  readonly #byManifest: Map<string, Lease>;
  /** Pulls under way. */
  readonly #holders = new Map<object, string>();
  readonly #now: () => number;

  constructor(store: Store, now: () => number = Date.now) {
    this.#store = store;
    this.#leases = store.collection("leases");
    this.#byManifest = new Map(this.#leases.list().map(({ key, value }) => [key, value]));
    this.#now = now;
  }

  /** Keeps these from now on for a day, and until the result is disposed of in any case. */
  hold(manifest: string, lease: Omit<Lease, "until">): Disposable {
    const whole = { ...lease, until: this.#now() + DAY_MS };
    this.#store.relaxed(() => this.#leases.put(manifest, whole));
    this.#byManifest.set(manifest, whole);
    const holder = {};
    this.#holders.set(holder, manifest);
    return { [Symbol.dispose]: () => void this.#holders.delete(holder) };
  }

  /** Deletes one's record alone, as a part of a transaction; `drop` when that has come to its end. */
  erase(manifest: string): void {
    this.#leases.delete(manifest);
  }

  /** Gives one up; returns what it kept, which the caller sweeps. */
  drop(manifest: string): Lease | undefined {
    const lease = this.#byManifest.get(manifest);
    if (lease === undefined) return undefined;
    this.#store.relaxed(() => this.#leases.delete(manifest));
    this.#byManifest.delete(manifest);
    return lease;
  }

  /** Gives up those whose day is over, or all; but none of a pull under way. */
  dropMany(which: "expired" | "all"): Lease[] {
    const now = this.#now();
    const held = new Set(this.#holders.values());
    const over = [...this.#byManifest].filter(
      ([manifest, { until }]) => !held.has(manifest) && (which === "all" || until <= now),
    );
    return over.flatMap(([manifest]) => this.drop(manifest) ?? []);
  }

  all(): Lease[] {
    return [...this.#byManifest.values()];
  }

  /** Blobs and chain ids that some lease keeps. */
  *needed(): Generator<string> {
    for (const { blobs, chains } of this.#byManifest.values()) {
      yield* blobs;
      yield* chains;
    }
  }
}
