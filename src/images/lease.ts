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
  readonly #now: () => number;

  constructor(store: Store, now: () => number = Date.now) {
    this.#store = store;
    this.#leases = store.collection("leases");
    this.#byManifest = new Map(this.#leases.list().map(({ key, value }) => [key, value]));
    this.#now = now;
  }

  /** Keeps these from now on for a day. */
  put(manifest: string, lease: Omit<Lease, "until">): void {
    const whole = { ...lease, until: this.#now() + DAY_MS };
    this.#store.relaxed(() => this.#leases.put(manifest, whole));
    this.#byManifest.set(manifest, whole);
  }

  /** Gives one up; resolves with what it kept, which the caller sweeps. */
  drop(manifest: string): Lease | undefined {
    const lease = this.#byManifest.get(manifest);
    if (lease === undefined) return undefined;
    this.#store.relaxed(() => this.#leases.delete(manifest));
    this.#byManifest.delete(manifest);
    return lease;
  }

  /** Gives up those whose day is over, or all. */
  dropMany(which: "expired" | "all"): Lease[] {
    const now = this.#now();
    const over = [...this.#byManifest].filter(([, { until }]) => which === "all" || until <= now);
    return over.flatMap(([manifest]) => this.drop(manifest) ?? []);
  }

  /** Blobs and chain ids that some lease keeps. */
  *needed(): Generator<string> {
    for (const { blobs, chains } of this.#byManifest.values()) {
      yield* blobs;
      yield* chains;
    }
  }
}
