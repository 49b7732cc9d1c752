import type { Collection, Store } from "../state/store.ts";
import { writeHints } from "./hints.ts";

/** Of what could not be written: a push asks for its own layers in the end. */
const MOST_UNWRITTEN = 4096;

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
  readonly #unwritten = new Map<string, PackedLayer>();

  constructor(store: Store) {
    this.#store = store;
    this.#packed = store.collection("packed-layers");
  }

  of(digest: string): PackedLayer | undefined {
    return this.#unwritten.get(digest) ?? this.#packed.get(digest);
  }

  put(digest: string, packed: PackedLayer): void {
    this.#unwritten.delete(digest);
    if (writeHints(this.#store, () => this.#packed.put(digest, packed))) return;
    if (this.#unwritten.size >= MOST_UNWRITTEN) this.#unwritten.clear();
    this.#unwritten.set(digest, packed);
  }

  /** Forgets blobs that are here no longer. */
  forget(digests: Iterable<string>): void {
    writeHints(this.#store, () => {
      for (const digest of digests) {
        this.#unwritten.delete(digest);
        this.#packed.delete(digest);
      }
    });
  }
}
