import { GantryError } from "../base/errors.ts";
import type { Descriptor, ImageConfig } from "../oci/image.ts";
import { familiarString, formatReference, parseNormalized, type Reference } from "../oci/reference.ts";
import type { Collection, Store } from "../state/store.ts";

export interface LayerRecord {
  /** The blob as it came, compressed or not. */
  readonly blob: Descriptor;
  /** Digest of the uncompressed tar. */
  readonly diffId: string;
  /** Name of the snapshot that has this layer and those below it. */
  readonly chainId: string;
  /** Bytes of the files it unpacks to. */
  readonly size: number;
}

/** An image: everything that its blobs say and that is asked for often. The blobs stay the truth. */
export interface ImageRecord {
  /** `sha256:…` of the config. */
  readonly id: string;
  readonly config: ImageConfig;
  readonly manifest: Descriptor;
  readonly configSize: number;
  readonly layers: readonly LayerRecord[];
  /** Image that this one was built of here, for `Parent` and for the order of removal. */
  readonly parent?: string;
  /** RFC 3339; when a name was last given to it. */
  readonly lastTagged?: string;
}

interface NameRecord {
  readonly image: string;
}

/** A name as it is kept: the reference and its normal form, which is the record's key. */
export interface ImageName {
  readonly key: string;
  readonly reference: Reference;
}

/**
 * The records of images and their names, mirrored in memory: this process is the only writer. Every change is one
 * transaction of the store.
 */
export class ImageRecords {
  readonly #store: Store;
  readonly #images: Collection<ImageRecord>;
  readonly #names: Collection<NameRecord>;
  readonly #imageById: Map<string, ImageRecord>;
  readonly #imageByName = new Map<string, string>();
  /** Each image's names as they are shown: a list of many images would read all of them for each. */
  readonly #namesByImage = new Map<string, Map<string, ImageName>>();

  constructor(store: Store) {
    this.#store = store;
    this.#images = store.collection("images");
    this.#names = store.collection("image-names");
    this.#imageById = new Map(this.#images.list().map(({ key, value }) => [key, value]));
    for (const { key, value } of this.#names.list()) this.#name(key, value.image);
  }

  all(): ImageRecord[] {
    return [...this.#imageById.values()];
  }

  get(id: string): ImageRecord | undefined {
    return this.#imageById.get(id);
  }

  /** The image that a whole reference names. */
  named(reference: Reference): ImageRecord | undefined {
    const id = this.#imageByName.get(formatReference(reference));
    return id === undefined ? undefined : this.#imageById.get(id);
  }

  /** The names of an image, sorted: tags and digests. */
  namesOf(id: string): ImageName[] {
    const names = this.#namesByImage.get(id);
    return names === undefined ? [] : [...names.values()].sort((one, other) => (one.key < other.key ? -1 : 1));
  }

  /** Names in familiar form: `tags` of the form name:tag, `digests` of the form name@digest. */
  familiarNames(id: string): { tags: string[]; digests: string[] } {
    const names = this.namesOf(id);
    return {
      tags: names
        .filter(({ reference }) => reference.tag !== undefined)
        .map(({ reference }) => familiarString(reference)),
      digests: names
        .filter(({ reference }) => reference.digest !== undefined)
        .map(({ reference }) => familiarString(reference)),
    };
  }

  /** Images whose parent is this one. */
  childrenOf(id: string): ImageRecord[] {
    return this.all().filter((image) => image.parent === id);
  }

  /** Adds images and moves names to them, all or nothing. A record that exists stays as it is. */
  add(images: readonly ImageRecord[], names: readonly (readonly [Reference, string])[] = []): void {
    const now = new Date().toISOString();
    const changed = new Map<string, ImageRecord>();
    for (const image of images) if (!this.#imageById.has(image.id)) changed.set(image.id, image);
    for (const [, id] of names) {
      const image = changed.get(id) ?? this.#imageById.get(id);
      if (image === undefined) throw new GantryError("internal", `cannot name ${id}: it has no record`);
      changed.set(id, { ...image, lastTagged: now });
    }
    this.#store.transaction(() => {
      for (const [id, image] of changed) this.#images.put(id, image);
      for (const [reference, id] of names) this.#names.put(formatReference(reference), { image: id });
    });
    for (const [id, image] of changed) this.#imageById.set(id, image);
    for (const [reference, id] of names) this.#name(formatReference(reference), id);
  }

  removeName(key: string): void {
    this.#names.delete(key);
    this.#unname(key);
  }

  /** Removes an image with its names. */
  remove(id: string): void {
    const names = this.namesOf(id);
    this.#store.transaction(() => {
      for (const { key } of names) this.#names.delete(key);
      this.#images.delete(id);
    });
    for (const { key } of names) this.#unname(key);
    this.#imageById.delete(id);
  }

  /** Every blob that some image needs. */
  blobs(): Set<string> {
    const blobs = new Set<string>();
    for (const image of this.#imageById.values()) {
      blobs.add(image.id).add(image.manifest.digest);
      for (const layer of image.layers) blobs.add(layer.blob.digest);
    }
    return blobs;
  }

  count(): number {
    return this.#imageById.size;
  }

  /** Bytes of all layers unpacked, those of several images once. */
  layersSize(): number {
    const sizes = new Map<string, number>();
    for (const { layers } of this.#imageById.values()) for (const { chainId, size } of layers) sizes.set(chainId, size);
    return sizes.values().reduce((total, size) => total + size, 0);
  }

  #name(key: string, image: string): void {
    this.#unname(key);
    this.#imageByName.set(key, image);
    let names = this.#namesByImage.get(image);
    if (names === undefined) {
      names = new Map();
      this.#namesByImage.set(image, names);
    }
    names.set(key, { key, reference: parseNormalized(key) });
  }

  #unname(key: string): void {
    const image = this.#imageByName.get(key);
    if (image === undefined) return;
    this.#imageByName.delete(key);
    const names = this.#namesByImage.get(image);
    names?.delete(key);
    if (names?.size === 0) this.#namesByImage.delete(image);
  }

  /** Every snapshot that some image needs. */
  chains(): Set<string> {
    return new Set(this.all().flatMap((image) => image.layers.map((layer) => layer.chainId)));
  }
}

/** Bytes of all layers unpacked. */
export function sizeOf(image: ImageRecord): number {
  return image.layers.reduce((total, layer) => total + layer.size, 0);
}

/** Unix milliseconds; 0 where the config doesn't say. */
export function createdAt(image: ImageRecord): number {
  const time = Date.parse(image.config.created ?? "");
  return Number.isNaN(time) ? 0 : time;
}
