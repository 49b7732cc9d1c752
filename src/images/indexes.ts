import type { Platform } from "../oci/image.ts";
import { machinePlatform } from "../oci/machine-platform.ts";
import { choosePlatform } from "../oci/platform.ts";
import type { Collection, Store } from "../state/store.ts";
import { contentOf, type IndexRecord, imagesOf } from "./index-record.ts";

const NONE: readonly IndexRecord[] = [];

/** The records of indexes by their digests, mirrored in memory. `ImageRecords` writes them, with the names. */
export class ImageIndexes {
  readonly #collection: Collection<IndexRecord>;
  readonly #byDigest: Map<string, IndexRecord>;
  /** Which indexes have an image: asked for each image of a list. */
  readonly #byImage = new Map<string, Set<string>>();

  constructor(store: Store) {
    this.#collection = store.collection("image-indexes");
    this.#byDigest = new Map();
    for (const { key, value } of this.#collection.list()) this.show(key, value);
  }

  get(digest: string): IndexRecord | undefined {
    return this.#byDigest.get(digest);
  }

  all(): IndexRecord[] {
    return [...this.#byDigest.values()];
  }

  /** Those that have an image, whichever image this machine runs of them. */
  having(id: string): readonly IndexRecord[] {
    const digests = this.#byImage.get(id);
    return digests === undefined ? NONE : [...digests].flatMap((digest) => this.#byDigest.get(digest) ?? []);
  }

  /** Digests of all that is here of indexes. */
  *content(): Generator<string> {
    for (const index of this.#byDigest.values()) yield* contentOf(index);
  }

  /** As a part of a transaction; undefined deletes. `show` when it has come to its end. */
  put(digest: string, index: IndexRecord | undefined): void {
    if (index === undefined) this.#collection.delete(digest);
    else this.#collection.put(digest, index);
  }

  /** What all see from now on. */
  show(digest: string, index: IndexRecord | undefined): void {
    for (const id of imagesOf(this.#byDigest.get(digest) ?? { entries: [] })) {
      const digests = this.#byImage.get(id);
      digests?.delete(digest);
      if (digests?.size === 0) this.#byImage.delete(id);
    }
    if (index === undefined) {
      this.#byDigest.delete(digest);
      return;
    }
    this.#byDigest.set(digest, index);
    for (const id of imagesOf(index)) {
      const digests = this.#byImage.get(id) ?? new Set();
      this.#byImage.set(id, digests.add(digest));
    }
  }
}

/** The image that this machine runs of an index: the one that suits it best, else the one that is meant anyway. */
export function ownImageOf(index: IndexRecord, platformOf: (id: string) => Platform | undefined): string {
  return choosePlatform(imagesOf(index), machinePlatform(), platformOf) ?? index.image;
}
