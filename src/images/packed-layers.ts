import type { Collection, Store } from "../state/store.ts";

/** What the uncompressed blob of a layer became on its way to a registry. */
export interface PackedLayer {
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
}

/**
 * The compressed forms that layers were pushed in, by the digest of the uncompressed: the next push asks for them, and
 * gives the image the same manifest again. What is lost is compressed anew.
 */
export class PackedLayers {
  readonly #store: Store;
  readonly #packed: Collection<PackedLayer>;

  constructor(store: Store) {
    this.#store = store;
    this.#packed = store.collection("packed-layers");
  }

  of(digest: string): PackedLayer | undefined {
    return this.#packed.get(digest);
  }

  put(digest: string, packed: PackedLayer): void {
    this.#store.relaxed(() => this.#packed.put(digest, packed));
  }

  /** Forgets blobs that are here no longer. */
  forget(digests: Iterable<string>): void {
    this.#store.relaxed(() => {
      for (const digest of digests) this.#packed.delete(digest);
    });
  }
}
