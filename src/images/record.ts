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
  /** Of a manifest that was made here. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Image that this one was built of here, for `Parent` and for the order of removal. */
  readonly parent?: string;
  /** RFC 3339; when a name was last given to it. */
  readonly lastTagged?: string;
}

/** An image that can be started and whose layers are still pulled: its blobs and snapshots are not there before it. */
export interface UnderWay {
  readonly image: ImageRecord;
  /** Where the rest comes from: the name it was pulled by and the digest of its manifest, in their normal form. */
  readonly reference: string;
  /** Chain ids of the layers that are served before they are whole. */
  readonly served: readonly string[];
  /** Why it never becomes whole: its content is not what its manifest says. */
  readonly broken?: string;
}

interface NameRecord {
  readonly image: string;
  /** Of an index's digest: the platform that was asked for when this image of it was chosen. */
  readonly platform?: string;
}

/** A name that is given to an image; `platform` as in its record. */
export type Naming = readonly [name: Reference, id: string, platform?: string | undefined];

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
  /** Called when an image that was under way is whole. */
  onWhole: ((id: string) => void) | undefined;
  readonly #store: Store;
  readonly #images: Collection<ImageRecord>;
  readonly #names: Collection<NameRecord>;
  /** In records of their own: all others are of what is here. */
  readonly #underWay: Collection<UnderWay>;
  readonly #underWayById: Map<string, UnderWay>;
  readonly #imageById: Map<string, ImageRecord>;
  readonly #recordByName = new Map<string, NameRecord>();
  /** Each image's names as they are shown: a list of many images would read all of them for each. */
  readonly #namesByImage = new Map<string, Map<string, ImageName>>();

  constructor(store: Store) {
    this.#store = store;
    this.#images = store.collection("images");
    this.#names = store.collection("image-names");
    this.#underWay = store.collection("images-under-way");
    this.#underWayById = new Map(this.#underWay.list().map(({ key, value }) => [key, value]));
    this.#imageById = new Map(this.#images.list().map(({ key, value }) => [key, value]));
    for (const [id, { image }] of this.#underWayById) if (!this.#imageById.has(id)) this.#imageById.set(id, image);
    for (const { key, value } of this.#names.list()) this.#name(key, value);
  }

  all(): ImageRecord[] {
    return [...this.#imageById.values()];
  }

  get(id: string): ImageRecord | undefined {
    return this.#imageById.get(id);
  }

  /** An image that is pulled while it can be started already. */
  underWay(id: string): UnderWay | undefined {
    return this.#underWayById.get(id);
  }

  allUnderWay(): UnderWay[] {
    return [...this.#underWayById.values()];
  }

  /** As `get`, of those that are whole. */
  whole(id: string): ImageRecord | undefined {
    return this.#underWayById.has(id) ? undefined : this.#imageById.get(id);
  }

  /** Adds an image under way with its names. Without names, as a crash may leave it, it is one that nobody asks for. */
  addUnderWay(underWay: UnderWay, names: readonly Naming[]): void {
    const { id } = underWay.image;
    if (this.whole(id) !== undefined) throw new GantryError("internal", `cannot pull ${id}: it is here`);
    const former = this.#underWayById.get(id);
    this.#underWayById.set(id, underWay);
    this.#imageById.set(id, underWay.image);
    try {
      this.#underWay.put(id, underWay);
      this.add([], names);
    } catch (error) {
      if (former === undefined) {
        this.#underWay.delete(id);
        this.#underWayById.delete(id);
        this.#imageById.delete(id);
      } else {
        this.#underWay.put(id, former);
        this.#underWayById.set(id, former);
        this.#imageById.set(id, former.image);
      }
      throw error;
    }
  }

  /** It keeps its id and loses its names. */
  breakUnderWay(id: string, why: string): void {
    const underWay = this.#underWayById.get(id);
    if (underWay === undefined) return;
    const broken = { ...underWay, broken: why };
    const names = this.namesOf(id);
    this.#store.transaction(() => {
      for (const { key } of names) this.#names.delete(key);
      this.#underWay.put(id, broken);
    });
    for (const { key } of names) this.#unname(key);
    this.#underWayById.set(id, broken);
  }

  /** The image that a whole reference names. */
  named(reference: Reference): ImageRecord | undefined {
    const record = this.#recordByName.get(formatReference(reference));
    return record === undefined ? undefined : this.#imageById.get(record.image);
  }

  /** For which platform the image of an index's digest was chosen; undefined where there was no choice. */
  platformOf(reference: Reference): string | undefined {
    return this.#recordByName.get(formatReference(reference))?.platform;
  }

  /** True if some image has a name of this repository. */
  hasRepository(repository: string): boolean {
    const { length } = repository;
    return this.#recordByName.keys().some((key) => key.startsWith(repository) && /[:@]/.test(key[length] ?? ""));
  }

  /** The names of a repository (`docker.io/library/busybox`), sorted: tags and digests. */
  namesIn(repository: string): ImageName[] {
    const { length } = repository;
    const keys = this.#recordByName
      .keys()
      .filter((key) => key.startsWith(repository) && /[:@]/.test(key[length] ?? ""))
      .toArray()
      .sort();
    return keys.map((key) => ({ key, reference: parseNormalized(key) }));
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

  /**
   * Adds images and moves names to them, all or nothing, together with what `also` writes. A record that exists stays
   * as it is.
   */
  add(images: readonly ImageRecord[], names: readonly Naming[] = [], also: () => void = () => {}): void {
    const now = new Date().toISOString();
    const changed = new Map<string, ImageRecord>();
    // One that was under way is whole now: it keeps what it was given meanwhile.
    const lastTagged = (id: string) => this.#imageById.get(id)?.lastTagged;
    for (const image of images) {
      if (this.whole(image.id) !== undefined) continue;
      const tagged = lastTagged(image.id);
      changed.set(image.id, tagged === undefined ? image : { ...image, lastTagged: tagged });
    }
    const retagged = new Map<string, UnderWay>();
    for (const [{ tag }, id] of names) {
      const image = changed.get(id) ?? this.#imageById.get(id);
      if (image === undefined) throw new GantryError("internal", `cannot name ${id}: it has no record`);
      if (tag === undefined) continue;
      const underWay = changed.has(id) ? undefined : this.#underWayById.get(id);
      if (underWay === undefined) changed.set(id, { ...image, lastTagged: now });
      else retagged.set(id, { ...underWay, image: { ...image, lastTagged: now } });
    }
    const records = names.map(([reference, image, platform]) => ({
      key: formatReference(reference),
      record: { image, ...(platform !== undefined && { platform }) },
    }));
    this.#store.transaction(() => {
      for (const [id, image] of changed) {
        this.#images.put(id, image);
        if (this.#underWayById.has(id)) this.#underWay.delete(id);
      }
      for (const [id, underWay] of retagged) this.#underWay.put(id, underWay);
      for (const { key, record } of records) this.#names.put(key, record);
      also();
    });
    for (const [id, image] of changed) {
      this.#imageById.set(id, image);
      if (this.#underWayById.delete(id)) this.onWhole?.(id);
    }
    for (const [id, underWay] of retagged) {
      this.#imageById.set(id, underWay.image);
      this.#underWayById.set(id, underWay);
    }
    for (const { key, record } of records) this.#name(key, record);
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
      if (this.#underWayById.has(id)) this.#underWay.delete(id);
    });
    for (const { key } of names) this.#unname(key);
    this.#imageById.delete(id);
    this.#underWayById.delete(id);
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

  /** Whether some image has a layer with this blob and diff id. */
  hasLayer(digest: string, diffId: string): boolean {
    const isIt = (layer: LayerRecord): boolean => layer.blob.digest === digest && layer.diffId === diffId;
    // What one under way says is only known when it is whole.
    return this.#imageById.values().some(({ id, layers }) => !this.#underWayById.has(id) && layers.some(isIt));
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

  #name(key: string, record: NameRecord): void {
    const { image } = record;
    this.#unname(key);
    this.#recordByName.set(key, record);
    let names = this.#namesByImage.get(image);
    if (names === undefined) {
      names = new Map();
      this.#namesByImage.set(image, names);
    }
    names.set(key, { key, reference: parseNormalized(key) });
  }

  #unname(key: string): void {
    const image = this.#recordByName.get(key)?.image;
    if (image === undefined) return;
    this.#recordByName.delete(key);
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
