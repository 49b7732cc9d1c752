import { Readable } from "node:stream";
import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import { decompress } from "../oci/compression.ts";
import { chainId, sha256Of } from "../oci/digest.ts";
import { type Descriptor, type ImageConfig, MEDIA_TYPE } from "../oci/image.ts";
import { parseIndex, parseManifest } from "../oci/image-config.ts";
import { familiarString, type Reference } from "../oci/reference.ts";
import type { Credentials } from "../remote/credentials.ts";
import type { Repository } from "../remote/repository.ts";
import type { ClaimScope } from "./claims.ts";
import { clampTimes } from "./clamp-times.ts";
import { type NewImage, storeImage } from "./create.ts";
import { publishImageEvent } from "./event.ts";
import type { FlightProgress } from "./flights.ts";
import { type EntryContent, isWhole, namedBlobs } from "./index-record.ts";
import { keepIndex } from "./keep-index.ts";
import { type FormOptions, formLayer, type LayerForm } from "./layer-forms.ts";
import type { ImageContext, OnLayerProgress, OpenBlob } from "./ports.ts";
import type { BlobPusher } from "./push-blob.ts";
import { type BuiltContent, type PushBuiltOptions, pushBuilt } from "./push-built.ts";
import type { ImageRecord, LayerRecord } from "./record.ts";
import { dropLooseIndexes } from "./remove.ts";
import type { SnapshotLayer } from "./snapshot-layers.ts";
import { sweepThings } from "./sweep.ts";

/** Of a tar of nothing but its end mark. */
const EMPTY_LAYER = sha256Of(Buffer.alloc(1024));
/** Two operations that pack one snapshot do it once. */
const packing = new KeyedLock();

/** A layer of an image that is being made. */
export interface AssembledLayer {
  /** Digest of the uncompressed tar. */
  readonly diffId: string;
  /** In the content store while the operation is open. */
  readonly blob: Descriptor;
  /** Unix milliseconds; the layer's first packing. Of a base image's it is 0. */
  readonly created: number;
  /** Nothing was changed. */
  readonly isEmpty: boolean;
  /** The snapshot that has its files and those below it. */
  readonly snapshot: string;
  /** The layer's files differ from the snapshot's in their times. */
  readonly isClamped: boolean;
}

export interface PackOptions {
  /** No file is younger than that in the layer: Unix seconds. */
  readonly latest?: number | undefined;
  readonly signal: AbortSignal;
}

export interface KeptImage {
  readonly config: ImageConfig;
  readonly configBytes: Uint8Array;
  /** All of them, bottom first; `blob` is how the image has it. */
  readonly layers: readonly AssembledLayer[];
  /** Without them the image gets a manifest of the OCI's kind. */
  readonly manifestBytes?: Uint8Array | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly names: readonly Reference[];
  readonly signal: AbortSignal;
}

/** Images with what is said of them, and the index that names all of it. */
export interface KeptIndex {
  /** Each with its manifest's bytes. */
  readonly images: readonly (Omit<KeptImage, "names" | "signal"> & { readonly manifestBytes: Uint8Array })[];
  /** Manifests of attestations; what they name is this operation's. */
  readonly others: readonly { readonly descriptor: Descriptor; readonly bytes: Uint8Array }[];
  readonly document: { readonly descriptor: Descriptor; readonly bytes: Uint8Array };
  readonly names: readonly Reference[];
  readonly signal: AbortSignal;
}

/** Gives a committed snapshot another name, for all who hold it. */
export type RenameSnapshot = (name: string, to: string) => Promise<void>;

/**
 * One operation that makes images of snapshots. Blobs that it writes stay until it is disposed of, and those that some
 * image has by then stay for good.
 */
export class ImageAssembly implements AsyncDisposable {
  readonly #context: ImageContext;
  readonly #blobs: BlobPusher;
  readonly #scope: ClaimScope;

  private constructor(context: ImageContext, blobs: BlobPusher, scope: ClaimScope) {
    this.#context = context;
    this.#blobs = blobs;
    this.#scope = scope;
  }

  static async open(context: ImageContext, blobs: BlobPusher): Promise<ImageAssembly> {
    return new ImageAssembly(context, blobs, await context.claims.open());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#scope[Symbol.dispose]();
    await sweepThings(this.#context, this.#scope.chains.toReversed(), this.#scope.blobs);
  }

  /** The layers of an image that is here, bottom first; waits until it is whole. undefined if it is not here. */
  async base(id: string, options: { readonly signal: AbortSignal }): Promise<readonly AssembledLayer[] | undefined> {
    const { bases, records, underWay } = this.#context;
    await underWay.whole(id, "build on", options);
    const image = records.get(id) ?? bases.get(id)?.image;
    if (image === undefined) return undefined;
    return image.layers.map(({ blob, chainId: snapshot, diffId }) => {
      this.#scope.claimChain(snapshot);
      this.#scope.noteBlob(blob.digest);
      return { diffId, blob, snapshot, created: 0, isEmpty: false, isClamped: false };
    });
  }

  /**
   * The layer that a committed snapshot is, with a blob that is here: packed in one pass, once for a snapshot. Its name
   * is read when it is used, since it may get another one at any time.
   */
  async layer(snapshot: () => string, { latest, signal }: PackOptions): Promise<AssembledLayer> {
    const { snapshotLayers } = this.#context;
    return packing.run(snapshot(), async () => {
      const plain = await this.#pack(snapshot(), undefined, signal);
      const isEmpty = plain.diffId === EMPTY_LAYER;
      const name = snapshot();
      if (latest === undefined || isEmpty) return { ...plain, isEmpty, snapshot: name, isClamped: false };
      const known = snapshotLayers.of(name, latest);
      const clamped =
        known !== undefined && this.#isHere(known) ? known : await this.#clamp(name, plain, latest, signal);
      return { ...clamped, isEmpty, snapshot: name, isClamped: clamped.diffId !== plain.diffId };
    });
  }

  /** What an image was pulled as, or a cache brought: the next image with this snapshot has the very same layer. */
  learn(snapshot: string, diffId: string, blob: Descriptor, created: number): void {
    this.#scope.noteBlob(blob.digest);
    this.#context.snapshotLayers.put(snapshot, undefined, { diffId, blob, created });
  }

  /** Keeps a snapshot of this name for as long as the operation. */
  claim(snapshot: string): void {
    this.#scope.claimChain(snapshot);
  }

  /** A layer's blob in another form; it is in the content store, unless `isThere` says that it need not be. */
  form(layer: AssembledLayer, form: LayerForm, options: FormOptions): Promise<Descriptor> {
    return formLayer(this.#context, this.#scope, layer, form, options);
  }

  /** Keeps a document for as long as the operation. */
  async document(mediaType: string, bytes: Uint8Array): Promise<Descriptor> {
    const { digest, size } = await this.#context.content.writeBytes(bytes, { digest: sha256Of(bytes) });
    this.#scope.noteBlob(digest);
    return { mediaType, digest, size };
  }

  /** Keeps what a stream brings for as long as the operation. */
  async write(mediaType: string, bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<Descriptor> {
    const { digest, size } = await this.#context.content.write(bytes, { signal });
    this.#scope.noteBlob(digest);
    return { mediaType, digest, size };
  }

  /** A blob's bytes; they are hashed again on the way. */
  read(digest: string): AsyncIterable<Uint8Array> {
    return this.#context.content.open(digest, { verify: true }) as AsyncIterable<Uint8Array>;
  }

  /**
   * Makes an image of the layers: snapshots get their chain ids as names, from the bottom up, and the record comes last,
   * with the names. Where a chain is there already the snapshot stays what it is. Resolves with the image's record.
   */
  async keep(
    image: KeptImage,
    rename: RenameSnapshot,
  ): Promise<{ readonly id: string; readonly manifest: Descriptor }> {
    const { records } = this.#context;
    const record = await this.#record(image, image.signal, rename);
    failpoint("images.assemble.stored");
    // Naming again what has the name costs no sync.
    const moved = image.names.filter((name) => !this.#isNamed(name, record.id, undefined));
    if (moved.length > 0 || records.whole(record.id) === undefined) {
      records.add(
        [record],
        moved.map((name) => [name, record.id]),
      );
    }
    failpoint("images.assemble.added");
    await this.#named(record, image.names);
    return { id: record.id, manifest: records.get(record.id)?.manifest ?? record.manifest };
  }

  /**
   * The same for an index: its images' records and its own come last, with the names. Resolves with the id of the image
   * that this machine runs of it.
   */
  async keepIndex({ document, images, names, others, signal }: KeptIndex, rename: RenameSnapshot): Promise<string> {
    const { records } = this.#context;
    const made: ImageRecord[] = [];
    const here = new Map<string, EntryContent>();
    for (const image of images) {
      const record = await this.#record(image, signal, rename);
      made.push(record);
      const blobs = namedBlobs(parseManifest(image.manifestBytes));
      here.set(sha256Of(image.manifestBytes), { image: record.id, blobs });
    }
    for (const { bytes, descriptor } of others) {
      await this.document(descriptor.mediaType, bytes);
      here.set(descriptor.digest, { blobs: namedBlobs(parseManifest(bytes)) });
    }
    const { bytes, descriptor } = document;
    const { digest } = descriptor;
    const parts = { inner: [], here, image: made[0]!.id };
    const index = await keepIndex(this.#context, this.#scope, { descriptor, bytes, index: parseIndex(bytes) }, parts);
    failpoint("images.assemble.stored");
    const known = records.indexes.get(digest);
    const moved = names.filter((name) => known === undefined || !this.#isNamed(name, known.image, digest));
    const isKnown = known !== undefined && isWhole(known) && made.every(({ id }) => records.whole(id) !== undefined);
    if (moved.length > 0 || !isKnown) {
      const naming = moved.map((name) => [name, index.image, digest] as const);
      records.add(made, naming, { indexes: [index] });
    }
    failpoint("images.assemble.added");
    const own = records.get(records.indexes.get(digest)?.image ?? index.image)!;
    await this.#named(own, names);
    return own.id;
  }

  /** Sends what was made to a registry. */
  async push(
    reference: Reference,
    options: PushBuiltOptions,
    progress: FlightProgress,
    build: (isThere: (digest: string) => Promise<boolean>) => Promise<BuiltContent>,
  ): Promise<Descriptor> {
    return pushBuilt(this.#context, this.#blobs, reference, options, progress, build);
  }

  /** An image here, or an index that has it, is known at a registry by a digest. */
  nameByDigest(id: string, { domain, path }: Reference, digest: string): void {
    const { records } = this.#context;
    const index = records.indexes.get(digest) === undefined ? undefined : digest;
    if (records.get(id) !== undefined) records.add([], [[{ domain, path, digest }, id, index]]);
  }

  /** Runs `act` on a repository, for reading. */
  reading<T>(
    reference: Reference,
    credentials: Credentials,
    options: { readonly insecure: boolean },
    act: (repository: Repository) => Promise<T>,
  ): Promise<T> {
    return this.#context.registries.reading(reference, credentials, act, options);
  }

  /** Brings layers that lie somewhere else, verified, as committed snapshots; `open` gives a blob's bytes from there. */
  async fetch(
    layers: readonly { readonly descriptor: Descriptor; readonly diffId: string; readonly created: number }[],
    open: OpenBlob,
    options: { readonly signal: AbortSignal; readonly onProgress?: OnLayerProgress },
  ): Promise<readonly LayerRecord[]> {
    const chains = chainId(layers.map(({ diffId }) => diffId));
    const tasks: Promise<LayerRecord>[] = [];
    for (const [index, { descriptor, diffId }] of layers.entries()) {
      const wish = {
        descriptor,
        diffId,
        chainId: chains[index]!,
        parent: chains[index - 1],
        parentReady: tasks[index - 1] ?? Promise.resolve(),
      };
      tasks.push(this.#context.layers.fetch(this.#scope, wish, open, options));
    }
    // The first failure is told when all have ended.
    const settled = await Promise.allSettled(tasks);
    for (const one of settled) if (one.status === "rejected") throw one.reason;
    const records = await Promise.all(tasks);
    for (const [index, { blob, chainId: chain, diffId }] of records.entries()) {
      this.learn(chain, diffId, blob, layers[index]!.created);
    }
    return records;
  }

  /** Layers under their chain ids, config and manifest; the record that it resolves with is not added yet. */
  async #record(
    image: Omit<KeptImage, "names" | "signal">,
    signal: AbortSignal,
    rename: RenameSnapshot,
  ): Promise<ImageRecord> {
    const layers: LayerRecord[] = [];
    const chains = chainId(image.layers.map(({ diffId }) => diffId));
    for (const [index, layer] of image.layers.entries()) {
      const chain = chains[index]!;
      this.#scope.claimChain(chain);
      const size = await this.#settle(layer, chain, chains[index - 1], rename, signal);
      layers.push({ blob: layer.blob, diffId: layer.diffId, chainId: chain, size });
    }
    failpoint("images.assemble.named");
    const made: NewImage = {
      config: image.config,
      configBytes: image.configBytes,
      layers,
      ...(image.manifestBytes !== undefined && { manifestBytes: image.manifestBytes }),
      ...(image.annotations !== undefined && { annotations: image.annotations }),
    };
    return storeImage(this.#context, this.#scope, made);
  }

  #isNamed(name: Reference, id: string, index: string | undefined): boolean {
    const { records } = this.#context;
    return records.named(name)?.id === id && records.indexNamed(name)?.descriptor.digest === index;
  }

  async #named(image: ImageRecord, names: readonly Reference[]): Promise<void> {
    for (const name of names) {
      if (name.tag !== undefined) publishImageEvent(this.#context.events, "tag", image, familiarString(name));
    }
    // Last, also where the image was here: whoever waits for a build waits for this.
    publishImageEvent(this.#context.events, "create", image, image.id);
    await dropLooseIndexes(this.#context);
  }

  /** The snapshot of a layer under its chain id; resolves with the bytes of the layer's files. */
  async #settle(
    layer: AssembledLayer,
    chain: string,
    parent: string | undefined,
    rename: RenameSnapshot,
    signal: AbortSignal,
  ): Promise<number> {
    const { claims, content, records, snapshotLayers, snapshots } = this.#context;
    await claims.exclusively(chain, async () => {
      if (snapshots.has(chain)) return;
      // Another image has it under this name.
      const isTaken = records.chains().has(layer.snapshot) || this.#context.bases.hasChain(layer.snapshot);
      if (layer.isClamped || isTaken || !snapshots.has(layer.snapshot)) {
        const { stream } = await decompress(content.open(layer.blob.digest, { verify: true }));
        await snapshots.apply(chain, parent, stream, { signal });
      } else {
        await rename(layer.snapshot, chain);
        snapshotLayers.renamed(layer.snapshot, chain);
      }
      failpoint("images.assemble.renamed");
    });
    return snapshots.usage(chain);
  }

  async #pack(snapshot: string, latest: number | undefined, signal: AbortSignal): Promise<SnapshotLayer> {
    const { packer, snapshotLayers } = this.#context;
    const known = snapshotLayers.of(snapshot, latest) ?? this.#recorded(snapshot);
    if (known !== undefined && this.#isHere(known)) return known;
    const packed = known === undefined ? undefined : this.#packed(known);
    if (packed !== undefined) return packed;
    const written = await packer.pack(snapshot, signal);
    return this.#learned(snapshot, latest, written, known?.created);
  }

  async #clamp(snapshot: string, plain: SnapshotLayer, latest: number, signal: AbortSignal): Promise<SnapshotLayer> {
    const { content } = this.#context;
    const { stream } = await decompress(content.open(plain.blob.digest, { verify: true }));
    const written = await content.write(Readable.from(clampTimes(stream, latest)), { signal });
    return this.#learned(snapshot, latest, written, plain.created);
  }

  #learned(
    snapshot: string,
    latest: number | undefined,
    { digest, size }: { readonly digest: string; readonly size: number },
    created = Date.now(),
  ): SnapshotLayer {
    this.#scope.noteBlob(digest);
    const layer = { diffId: digest, blob: { mediaType: MEDIA_TYPE.ociLayer, digest, size }, created };
    this.#context.snapshotLayers.put(snapshot, latest, layer);
    failpoint("images.assemble.packed");
    return layer;
  }

  /** A layer of an image that is here, with a name or for builds alone. */
  #recorded(snapshot: string): SnapshotLayer | undefined {
    const { bases, records } = this.#context;
    const images = [...records.all(), ...bases.all().map(({ image }) => image)];
    for (const { layers } of images) {
      const layer = layers.find((each) => each.chainId === snapshot);
      if (layer !== undefined) return { diffId: layer.diffId, blob: layer.blob, created: 0 };
    }
    return undefined;
  }

  /** The layer by the blob that pushes make of it, which indexes have in its place. */
  #packed(known: SnapshotLayer): SnapshotLayer | undefined {
    const blob = known.blob.digest === known.diffId ? this.#context.packed.of(known.diffId) : undefined;
    const layer = blob === undefined ? undefined : { ...known, blob };
    return layer !== undefined && this.#isHere(layer) ? layer : undefined;
  }

  #isHere({ blob }: SnapshotLayer): boolean {
    this.#scope.noteBlob(blob.digest);
    return this.#context.content.has(blob.digest);
  }
}

/** Throws for what a name of an image can't be. */
export function requireName(reference: Reference): Reference {
  if (reference.domain === "docker.io" && reference.path === "library/sha256") {
    throw new GantryError("invalid", "refusing to create an ambiguous tag using digest algorithm as name");
  }
  return reference;
}
