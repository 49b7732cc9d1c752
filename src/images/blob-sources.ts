import type { Collection, Store } from "../state/store.ts";
import { writeHints } from "./hints.ts";

/** As many as a push would try to mount from. */
const MOST = 16;

/** A repository that had a blob when it was last pulled from or pushed to. */
export interface BlobSource {
  readonly domain: string;
  readonly path: string;
}

/** Where blobs are known to lie, so that a push asks a registry to take them from there. Hints: what is lost is found again. */
export class BlobSources {
  readonly #store: Store;
  readonly #sources: Collection<readonly BlobSource[]>;

  constructor(store: Store) {
    this.#store = store;
    this.#sources = store.collection("blob-sources");
  }

  /** The repositories that have a blob, the latest first. */
  of(digest: string): readonly BlobSource[] {
    return this.#sources.get(digest) ?? [];
  }

  /** Notes that a repository has these blobs. */
  add(digests: Iterable<string>, { domain, path }: BlobSource): void {
    writeHints(this.#store, () => {
      for (const digest of new Set(digests)) {
        const known = this.of(digest);
        const [first] = known;
        if (first?.domain === domain && first.path === path) continue;
        const others = known.filter((one) => one.domain !== domain || one.path !== path);
        this.#sources.put(digest, [{ domain, path }, ...others].slice(0, MOST));
      }
    });
  }

  /** Forgets a repository that turned out to have a blob no longer. */
  remove(digest: string, { domain, path }: BlobSource): void {
    const left = this.of(digest).filter((one) => one.domain !== domain || one.path !== path);
    if (left.length === 0) this.forget([digest]);
    else writeHints(this.#store, () => this.#sources.put(digest, left));
  }

  /** Forgets blobs that are here no longer. */
  forget(digests: Iterable<string>): void {
    writeHints(this.#store, () => {
      for (const digest of digests) this.#sources.delete(digest);
    });
  }
}
