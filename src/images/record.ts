import { GantryError } from "../base/errors.ts";
import type { Descriptor, ImageConfig } from "../oci/image.ts";
import { familiarString, formatReference, parseNormalized, type Reference } from "../oci/reference.ts";
import type { Collection, Store } from "../state/store.ts";
import { type IndexRecord, imagesOf, merged, withoutImage } from "./index-record.ts";
import { ImageIndexes, ownImageOf } from "./indexes.ts";

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
  /** Of an index: the image that this machine runs of it. */
  readonly image: string;
  /** Digest of the index that it means. */
  readonly index?: string;
  /** As engines before indexes were kept wrote it: for which platform the image of an index's digest was chosen. */
  readonly platform?: string;
}

/** A name that is given to an image, or to an index that has it. */
export type Naming = readonly [name: Reference, id: string, index?: string | undefined];

/** What is written together with images and their names. */
export interface Additions {
  /** Known ones keep what they have. */
  readonly indexes?: readonly IndexRecord[];
  readonly also?: () => void;
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
  /** Called when an image that was under way is whole. */
  onWhole: ((id: string) => void) | undefined;
  readonly indexes: ImageIndexes;
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
    this.indexes = new ImageIndexes(store);
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

  ids(): Iterable<string> {
    return this.#imageById.keys();
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
  addUnderWay(underWay: UnderWay, names: readonly Naming[], additions: Additions = {}): void {
    const { id } = underWay.image;
    if (this.whole(id) !== undefined) throw new GantryError("internal", `cannot pull ${id}: it is here`);
    const former = this.#underWayById.get(id);
    this.#underWayById.set(id, underWay);
    this.#imageById.set(id, underWay.image);
    try {
      this.#underWay.put(id, underWay);
      this.add([], names, additions);
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

  /** It keeps its id and loses its names; an index is what it is without it. */
  breakUnderWay(id: string, why: string): void {
    const underWay = this.#underWayById.get(id);
    if (underWay === undefined) return;
    const broken = { ...underWay, broken: why };
    this.#withdraw(id, () => this.#underWay.put(id, broken));
    this.#underWayById.set(id, broken);
  }

  /** The image that a whole reference names. */
  named(reference: Reference): ImageRecord | undefined {
    const record = this.#recordByName.get(formatReference(reference));
    return record === undefined ? undefined : this.#imageById.get(record.image);
  }

  /** The index that a whole reference names; undefined for one of an image alone. */
  indexNamed(reference: Reference): IndexRecord | undefined {
    const digest = this.#recordByName.get(formatReference(reference))?.index;
    return digest === undefined ? undefined : this.indexes.get(digest);
  }

  /** For which platform the image of an index's digest was chosen, where no record of the index tells. */
  platformOf(reference: Reference): string | undefined {
    return this.#recordByName.get(formatReference(reference))?.platform;
  }

  /** The indexes of which this machine runs an image. */
  indexesRunning(id: string): IndexRecord[] {
    return this.indexes.having(id).filter(({ image }) => image === id);
  }

  /** The names that mean an index, sorted. */
  namesOfIndex({ descriptor: { digest }, image }: IndexRecord): ImageName[] {
    return this.namesOf(image).filter(({ key }) => this.#recordByName.get(key)?.index === digest);
  }

  /**
   * What an image is here beside itself: the index that its first name means which means one, or without names the one
   * that it was the image of. Undefined for an image that stands alone.
   */
  indexOf(id: string): IndexRecord | undefined {
    const running = this.indexesRunning(id);
    if (running.length === 0) return undefined;
    const names = this.namesOf(id);
    if (names.length === 0) return running.at(-1);
    for (const { reference } of names) {
      const index = this.indexNamed(reference);
      if (index !== undefined) return index;
    }
    return undefined;
  }

  /** True for an image that some index has beside the one that this machine runs. */
  isMember(id: string): boolean {
    return this.indexes.having(id).some(({ image }) => image !== id);
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

  /** The names that mean an image alone, sorted: not those of indexes that have it. */
  ownNamesOf(id: string): ImageName[] {
    return this.namesOf(id).filter(({ key }) => this.#recordByName.get(key)?.index === undefined);
  }

  /**
   * Names in familiar form: `tags` of the form name:tag, `digests` of the form name@digest. All of an image, or what is
   * given of them.
   */
  familiarNames(id: string, names: readonly ImageName[] = this.namesOf(id)): { tags: string[]; digests: string[] } {
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
   * Adds images and indexes and moves names to them, all or nothing, together with what `also` writes. A record that
   * exists stays as it is; of an index is here what was and what is added, and its names mean the image of it that suits
   * this machine best from now on.
   */
  add(images: readonly ImageRecord[], names: readonly Naming[] = [], additions: Additions = {}): void {
    const now = new Date().toISOString();
    const changed = new Map<string, ImageRecord>();
    // One that was under way is whole now: it keeps what it was given meanwhile.
    const lastTagged = (id: string) => this.#imageById.get(id)?.lastTagged;
    for (const image of images) {
      if (this.whole(image.id) !== undefined) continue;
      const tagged = lastTagged(image.id);
      changed.set(image.id, tagged === undefined ? image : { ...image, lastTagged: tagged });
    }
    const imageOf = (id: string) => changed.get(id) ?? this.#imageById.get(id);
    const indexes = this.#merge(additions.indexes ?? [], (id) => imageOf(id)?.config);
    const records = new Map<string, NameRecord>();
    for (const index of indexes) {
      const { digest } = index.descriptor;
      const former = this.indexes.get(digest);
      if (former === undefined || former.image === index.image) continue;
      for (const { key } of this.namesOfIndex(former)) records.set(key, { image: index.image, index: digest });
    }
    const retagged = new Map<string, UnderWay>();
    for (const [reference, given, digest] of names) {
      const index = indexes.find(({ descriptor }) => descriptor.digest === digest) ?? this.indexes.get(digest ?? "");
      const id = index?.image ?? given;
      const image = imageOf(id);
      if (image === undefined) throw new GantryError("internal", `cannot name ${id}: it has no record`);
      records.set(formatReference(reference), { image: id, ...(index !== undefined && { index: digest! }) });
      if (reference.tag === undefined) continue;
      const underWay = changed.has(id) ? undefined : this.#underWayById.get(id);
      if (underWay === undefined) changed.set(id, { ...image, lastTagged: now });
      else retagged.set(id, { ...underWay, image: { ...image, lastTagged: now } });
    }
    this.#store.transaction(() => {
      for (const [id, image] of changed) {
        this.#images.put(id, image);
        if (this.#underWayById.has(id)) this.#underWay.delete(id);
      }
      for (const [id, underWay] of retagged) this.#underWay.put(id, underWay);
      for (const index of indexes) this.indexes.put(index.descriptor.digest, index);
      for (const [key, record] of records) this.#names.put(key, record);
      additions.also?.();
    });
    for (const [id, image] of changed) {
      this.#imageById.set(id, image);
      if (this.#underWayById.delete(id)) this.onWhole?.(id);
    }
    for (const [id, underWay] of retagged) {
      this.#imageById.set(id, underWay.image);
      this.#underWayById.set(id, underWay);
    }
    for (const index of indexes) this.indexes.show(index.descriptor.digest, index);
    for (const [key, record] of records) this.#name(key, record);
  }

  removeName(key: string): void {
    this.#names.delete(key);
    this.#unname(key);
  }

  /** Removes an image with its names; indexes are what they are without it, and go where it was their last. */
  remove(id: string): void {
    this.#withdraw(id, () => {
      this.#images.delete(id);
      if (this.#underWayById.has(id)) this.#underWay.delete(id);
    });
    this.#imageById.delete(id);
    this.#underWayById.delete(id);
  }

  /** Takes an image from the indexes that have it: it stays under the names of its own. */
  leaveIndexes(id: string): void {
    this.#withdraw(id, () => {}, "indexes");
  }

  /** Removes an index with its names. Its images stay. */
  removeIndex(index: IndexRecord): void {
    const { digest } = index.descriptor;
    const names = this.namesOfIndex(index);
    this.#store.transaction(() => {
      for (const { key } of names) this.#names.delete(key);
      this.indexes.put(digest, undefined);
    });
    for (const { key } of names) this.#unname(key);
    this.indexes.show(digest, undefined);
  }

  /** Takes an image's names from it, and itself from the indexes that have it; names of these mean what is left of them. */
  #withdraw(id: string, also: () => void, from: "indexes" | "indexes and names" = "indexes and names"): void {
    const indexes = this.indexes.having(id).map((index) => {
      const left = withoutImage(index, id);
      const platformOf = (image: string) => this.#imageById.get(image)?.config;
      const after = left === undefined ? undefined : { ...left, image: ownImageOf(left, platformOf) };
      return { digest: index.descriptor.digest, after };
    });
    const names = this.namesOf(id).flatMap(({ key }) => {
      const digest = this.#recordByName.get(key)?.index;
      if (digest === undefined && from === "indexes") return [];
      const after = indexes.find((index) => index.digest === digest)?.after;
      return [
        { key, record: after === undefined ? undefined : { image: after.image, index: after.descriptor.digest } },
      ];
    });
    this.#store.transaction(() => {
      for (const { key, record } of names) {
        if (record === undefined) this.#names.delete(key);
        else this.#names.put(key, record);
      }
      for (const { after, digest } of indexes) this.indexes.put(digest, after);
      also();
    });
    for (const { key, record } of names) {
      if (record === undefined) this.#unname(key);
      else this.#name(key, record);
    }
    for (const { after, digest } of indexes) this.indexes.show(digest, after);
  }

  #merge(added: readonly IndexRecord[], platformOf: (id: string) => ImageConfig | undefined): IndexRecord[] {
    const all = new Map<string, IndexRecord>();
    for (const index of added) {
      const { digest } = index.descriptor;
      const known = all.get(digest) ?? this.indexes.get(digest);
      const whole = known === undefined ? index : merged(known, index);
      for (const id of imagesOf(whole)) {
        if (platformOf(id) === undefined)
          throw new GantryError("internal", `cannot keep ${digest}: ${id} has no record`);
      }
      all.set(digest, { ...whole, image: ownImageOf(whole, platformOf) });
    }
    return [...all.values()];
  }

  /** Every blob that some image or index needs. */
  blobs(): Set<string> {
    const blobs = new Set(this.indexes.content());
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
