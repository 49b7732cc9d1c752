import type { Collection, Store } from "../state/store.ts";
import type { ImageRecord } from "./record.ts";

/** An image that a build stands on and that has no name here. */
export interface BaseRecord {
  readonly image: ImageRecord;
  /** What it was fetched as. */
  readonly reference: string;
  /** Unix milliseconds, as the next. */
  readonly createdAt: number;
  readonly lastUsedAt: number;
  readonly usageCount: number;
}

/**
 * Images that builds fetched: no list of images shows them, and they stay until the builds' cache is pruned. A name that
 * is pulled later finds their layers here. One that a power loss takes is fetched again.
 */
export class Bases {
  readonly #store: Store;
  readonly #collection: Collection<BaseRecord>;
  readonly #byId: Map<string, BaseRecord>;

  constructor(store: Store) {
    this.#store = store;
    this.#collection = store.collection("build-bases");
    this.#byId = new Map(this.#collection.list().map(({ key, value }) => [key, value]));
  }

  get(id: string): BaseRecord | undefined {
    return this.#byId.get(id);
  }

  all(): BaseRecord[] {
    return [...this.#byId.values()];
  }

  /** Adds one, or says that it was used again. */
  put(image: ImageRecord, reference: string, now: number = Date.now()): void {
    const known = this.#byId.get(image.id);
    const { createdAt = now, usageCount = 0 } = known ?? {};
    const record = { image, reference, createdAt, lastUsedAt: now, usageCount: usageCount + 1 };
    this.#store.relaxed(() => this.#collection.put(image.id, record));
    this.#byId.set(image.id, record);
  }

  /** What it kept is the caller's to sweep. */
  remove(id: string): void {
    this.#store.relaxed(() => this.#collection.delete(id));
    this.#byId.delete(id);
  }

  /** Whether one has a layer with this blob and diff id. */
  hasLayer(digest: string, diffId: string): boolean {
    const isIt = (layer: ImageRecord["layers"][number]) => layer.blob.digest === digest && layer.diffId === diffId;
    return this.all().some(({ image }) => image.layers.some(isIt));
  }

  hasChain(chainId: string): boolean {
    return this.all().some(({ image }) => image.layers.some((layer) => layer.chainId === chainId));
  }

  /** Blobs and chain ids that they have. */
  *needed(): Generator<string> {
    for (const { image } of this.#byId.values()) {
      yield image.id;
      yield image.manifest.digest;
      for (const { blob, chainId } of image.layers) {
        yield blob.digest;
        yield chainId;
      }
    }
  }
}
