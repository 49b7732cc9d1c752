import type { Descriptor } from "../oci/image.ts";
import type { Collection, Store } from "../state/store.ts";
import type { PackedLayer } from "./packed-layers.ts";

/** The layer that a snapshot is: what its changes are as a tar. */
export interface SnapshotLayer {
  /** Digest of the uncompressed tar. */
  readonly diffId: string;
  /** A blob of it, compressed or not; it may be here no longer. */
  readonly blob: Descriptor;
  /** When it was first packed: Unix milliseconds. */
  readonly created: number;
}

interface Known {
  /** By the time that its files were clamped to; "" is not at all. */
  readonly layers: Readonly<Record<string, SnapshotLayer>>;
  /** What they became, by diff id and compression. */
  readonly forms: Readonly<Record<string, PackedLayer>>;
}

const NOTHING: Known = { layers: {}, forms: {} };

/**
 * Which layers snapshots are, by their names: a layer is packed and compressed once, and a step that was not run again
 * has the time of its first run in each image. What is lost is made again.
 */
export class SnapshotLayers {
  readonly #store: Store;
  readonly #known: Collection<Known>;

  constructor(store: Store) {
    this.#store = store;
    this.#known = store.collection("snapshot-layers");
  }

  /** With `latest`, the layer in which no file is younger than that: Unix seconds. */
  of(snapshot: string, latest?: number): SnapshotLayer | undefined {
    return this.#known.get(snapshot)?.layers[latest ?? ""];
  }

  put(snapshot: string, latest: number | undefined, layer: SnapshotLayer): void {
    const { forms, layers } = this.#known.get(snapshot) ?? NOTHING;
    this.#store.relaxed(() => this.#known.put(snapshot, { forms, layers: { ...layers, [latest ?? ""]: layer } }));
  }

  form(snapshot: string, key: string): PackedLayer | undefined {
    return this.#known.get(snapshot)?.forms[key];
  }

  putForm(snapshot: string, key: string, form: PackedLayer): void {
    const { forms, layers } = this.#known.get(snapshot) ?? NOTHING;
    this.#store.relaxed(() => this.#known.put(snapshot, { layers, forms: { ...forms, [key]: form } }));
  }

  renamed(snapshot: string, to: string): void {
    const known = this.#known.get(snapshot);
    if (known === undefined) return;
    this.#store.relaxed(() => {
      this.#known.delete(snapshot);
      this.#known.put(to, known);
    });
  }

  /** Forgets snapshots that are here no longer. */
  retain(has: (snapshot: string) => boolean): void {
    const lost = this.#known.list().filter(({ key }) => !has(key));
    if (lost.length === 0) return;
    this.#store.relaxed(() => {
      for (const { key } of lost) this.#known.delete(key);
    });
  }
}
