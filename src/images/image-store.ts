import { mkdirSync, rmSync } from "node:fs";
import type { Readable } from "node:stream";
import type { Filters } from "../api/filters.ts";
import type { ImageDeleteRow, ImageHistoryRow, ImageInspect, ImageSummary } from "../api/image.ts";
import type { PullPlan } from "../api/registry.ts";
import { GantryError } from "../base/errors.ts";
import type { Platform } from "../oci/image.ts";
import { familiarString, isNameOnly, parseNormalized, type Reference, tagNameOnly, withTag } from "../oci/reference.ts";
import type { ManifestDocument } from "../remote/document.ts";
import { ImageAssembly } from "./assemble.ts";
import { type BaseRecord, Bases } from "./bases.ts";
import { BlobSources } from "./blob-sources.ts";
import { bootstrapBusybox } from "./bootstrap-busybox.ts";
import { bootstrapDebian } from "./bootstrap-debian.ts";
import { Claims } from "./claims.ts";
import { commitImage } from "./commit.ts";
import { copyImages, putManifest } from "./copy.ts";
import { publishImageEvent } from "./event.ts";
import { type BaseOptions, type DescribedBase, describeBase, describeLent } from "./fetch-base.ts";
import { type FlightProgress, Flights } from "./flights.ts";
import type {
  CommitOptions,
  CopyOptions,
  ImageInspectOptions,
  ImageListOptions,
  ImageRegistry,
  ImportOptions,
  Progress,
  PullOptions,
  PushOptions,
  PutManifestOptions,
  ResolvedImage,
} from "./image.ts";
import { importImage } from "./import.ts";
import { imagesOf } from "./index-record.ts";
import { imageHistory, inspectImage } from "./inspect.ts";
import { LayerFetcher } from "./layers/layer-fetcher.ts";
import { Leases } from "./lease.ts";
import { listImages } from "./list.ts";
import { loadImages } from "./load.ts";
import { manifestIn, manifestsOf } from "./manifests.ts";
import { PackedLayers } from "./packed-layers.ts";
import { Packer } from "./packing/packer.ts";
import type { ImageContext, ImagePorts } from "./ports.ts";
import { type Pruned, pruneImages } from "./prune.ts";
import { pullImages, pullKey } from "./pull.ts";
import type { ImageSource } from "./pull-manifest.ts";
import { planPull } from "./pull-plan.ts";
import { pushImages } from "./push.ts";
import { BlobPusher } from "./push-blob.ts";
import { type ImageRecord, ImageRecords } from "./record.ts";
import { dropLooseIndexes, type RemoveOptions, removeImage, removePlatforms } from "./remove.ts";
import { findTarget, imageFor, suitableImage, type Target } from "./resolve.ts";
import { saveImages } from "./save.ts";
import { SnapshotLayers } from "./snapshot-layers.ts";
import { kept, sweep } from "./sweep.ts";
import { UnderWayPulls } from "./under-way-pulls.ts";

/**
 * The images of one engine. One store a data root: its records are mirrored in memory. Call `recover` once, after the
 * content store and the snapshotter have recovered and before anything else.
 */
export class ImageStore implements ImageRegistry {
  readonly #context: ImageContext;
  readonly #layers: LayerFetcher;
  readonly #packer: Packer;
  readonly #pulls = new Flights();
  readonly #blobs: BlobPusher;
  readonly #underWay: UnderWayPulls;
  #isPruning = false;

  constructor(ports: ImagePorts) {
    const { store } = ports;
    const own = {
      ...ports,
      records: new ImageRecords(store),
      claims: new Claims(),
      leases: new Leases(store),
      bases: new Bases(store),
      sources: new BlobSources(store),
      packed: new PackedLayers(store),
      snapshotLayers: new SnapshotLayers(store),
    };
    const { content, maxUploads } = ports;
    this.#blobs = new BlobPusher({ content, maxUploads, sources: own.sources, packed: own.packed });
    this.#layers = new LayerFetcher({
      content: ports.content,
      snapshots: ports.snapshots,
      claims: own.claims,
      sizeOf: (chainId) => ports.snapshots.usage(chainId),
      isRecorded: (digest, diffId) => own.records.hasLayer(digest, diffId) || own.bases.hasLayer(digest, diffId),
      settings: ports.layerSettings,
      times: ports.layerTimes,
      workerScript: ports.layerWorker,
    });
    this.#packer = new Packer({ content, snapshots: ports.snapshots, workerScript: ports.packWorker });
    this.#underWay = new UnderWayPulls(() => this.#context);
    this.#context = { ...own, layers: this.#layers, packer: this.#packer, underWay: this.#underWay };
  }

  /** Ends the threads that pack and unpack layers; what is under way fails with `cancelled`. */
  async close(): Promise<void> {
    await this.#underWay.close();
    await this.#layers.close();
    await this.#packer.close();
  }

  /** Serves again the layers of images that are pulled while they can be started; before anything is mounted. */
  async resume(): Promise<void> {
    await this.#underWay.resume();
  }

  /** Pulls the rest of images that can be started; after `recover`. */
  continuePulls(): void {
    this.#underWay.begin();
  }

  /** Images that can be started and are not whole, and why the rest of one can't be had. */
  underWay(): { readonly name: string; readonly problem: string | undefined }[] {
    return this.#underWay.list();
  }

  /** Gives back layers that were served for containers which have ended. */
  releaseLayers(): void {
    this.#underWay.looked();
  }

  async whole(id: string, what: string, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#underWay.whole(id, what, options);
  }

  /** Removes what a crash left behind: blobs and committed snapshots that no record needs, temporary folders. */
  async recover(): Promise<void> {
    const { bootstrap, content, leases, packed, records, snapshotLayers, snapshots, sources } = this.#context;
    rmSync(bootstrap.tempRoot, { recursive: true, force: true });
    mkdirSync(bootstrap.tempRoot, { recursive: true, mode: 0o700 });
    leases.dropMany("expired");
    const { deleted } = await content.collect(new Set([...records.blobs(), ...kept(this.#context)]));
    sources.forget(deleted);
    packed.forget(deleted);
    await dropLooseIndexes(this.#context);
    await this.collectSnapshots();
    snapshotLayers.retain((name) => snapshots.has(name));
  }

  /**
   * Removes committed snapshots that no image needs and nothing stands on. To be called when a container is removed
   * whose image was removed before it.
   */
  async collectSnapshots(): Promise<void> {
    const { claims, records, snapshots } = this.#context;
    for (;;) {
      const needed = new Set([...records.chains(), ...kept(this.#context)]);
      const all = snapshots.list();
      const parents = new Set(all.map(({ parent }) => parent));
      const loose = all.filter(({ id, kind }) => kind === "committed" && !needed.has(id) && !parents.has(id));
      const free = loose.filter(({ id }) => !claims.isClaimed(id));
      if (free.length === 0) return;
      for (const { id } of free) {
        await claims.exclusively(id, async () => {
          // What an operation made meanwhile has its record since.
          if (claims.isClaimed(id) || records.chains().has(id) || kept(this.#context).has(id)) return;
          if (!snapshots.has(id)) return;
          await snapshots.remove(id);
        });
      }
    }
  }

  resolve(nameOrId: string, options: { readonly platform?: Platform | undefined } = {}): ResolvedImage {
    const { records } = this.#context;
    const target = findTarget(records, nameOrId);
    const { index } = target;
    const { platform } = options;
    const chosen = index === undefined || platform === undefined ? undefined : suitableImage(records, index, platform);
    const image = chosen ?? target.image;
    const broken = records.underWay(image.id)?.broken;
    if (broken !== undefined) throw new GantryError("conflict", `cannot use image ${nameOrId}: ${broken}`);
    return {
      id: image.id,
      config: image.config,
      chainId: image.layers.at(-1)?.chainId,
      name: familiarOf(nameOrId),
      manifest: manifestIn(image, index),
      ...(index !== undefined && { others: imagesOf(index).filter((id) => id !== image.id) }),
    };
  }

  inspect(nameOrId: string, options: ImageInspectOptions = {}): ImageInspect {
    const { inUse, records, snapshots } = this.#context;
    const target = this.#find(nameOrId, options.platform);
    const inspected = inspectImage(target, records, snapshots, { isChosen: options.platform !== undefined });
    if (options.manifests !== true) return inspected;
    return { ...inspected, Manifests: manifestsOf(records, target.image, target.index, inUse()) };
  }

  history(nameOrId: string, options: { platform?: Platform | undefined } = {}): ImageHistoryRow[] {
    return imageHistory(this.#find(nameOrId, options.platform), this.#context.records);
  }

  async list(options: ImageListOptions): Promise<ImageSummary[]> {
    return listImages(this.#context.records, options, this.#context.inUse());
  }

  /** The snapshots that images have. */
  chains(): ReadonlySet<string> {
    return this.#context.records.chains();
  }

  /** What a name is at its registry, for a build to stand on: without its layers, and without a name here. */
  describeBase(reference: Reference, options: BaseOptions, progress: Progress): Promise<DescribedBase> {
    return describeBase(this.#context, reference, options, whole(progress));
  }

  /** The same of what a client lends. */
  describeLent(
    source: ImageSource,
    reference: Reference,
    platform: Platform,
    progress: Progress,
  ): Promise<DescribedBase> {
    return describeLent(this.#context, source, reference, platform, whole(progress));
  }

  /** Images that builds fetched and that have no name here. */
  bases(): readonly BaseRecord[] {
    return this.#context.bases.all();
  }

  /** The whole image of an id, with a name or fetched for a build; undefined if it isn't here. */
  base(id: string): Pick<ImageRecord, "config" | "layers" | "manifest"> | undefined {
    const { bases, records } = this.#context;
    return records.whole(id) ?? bases.get(id)?.image;
  }

  /** Gives up an image that a build fetched, and removes what of it nobody else has. */
  async removeBase(id: string): Promise<boolean> {
    const base = this.#context.bases.get(id);
    if (base === undefined) return false;
    this.#context.bases.remove(id);
    await sweep(this.#context, [base.image]);
    return true;
  }

  count(): number {
    return this.#context.records.count();
  }

  layersSize(): number {
    return this.#context.records.layersSize();
  }

  tag(nameOrId: string, repository: string, tag: string): void {
    const { events, records } = this.#context;
    const { image, index } = findTarget(records, nameOrId);
    const name = parseNormalized(repository);
    if (name.digest !== undefined) throw new GantryError("invalid", "refusing to create a tag with a digest reference");
    const reference = tag === "" ? tagNameOnly(name) : withTag(name, tag);
    if (reference.domain === "docker.io" && reference.path === "library/sha256") {
      throw new GantryError("invalid", "refusing to create an ambiguous tag using digest algorithm as name");
    }
    records.add([], [[reference, image.id, index?.descriptor.digest]]);
    publishImageEvent(events, "tag", image, familiarString(reference));
  }

  async remove(
    nameOrId: string,
    options: RemoveOptions & { readonly platforms?: readonly Platform[] },
  ): Promise<ImageDeleteRow[]> {
    const { platforms = [] } = options;
    if (platforms.length > 0) return removePlatforms(this.#context, nameOrId, platforms, options);
    return removeImage(this.#context, nameOrId, options);
  }

  async prune(filters: Filters): Promise<Pruned> {
    if (this.#isPruning) throw new GantryError("conflict", "a prune operation is already running");
    this.#isPruning = true;
    try {
      const pruned = await pruneImages(this.#context, filters);
      await this.collectSnapshots();
      return pruned;
    } finally {
      this.#isPruning = false;
    }
  }

  async import(archive: Readable, options: ImportOptions, progress: Progress): Promise<string> {
    return importImage(this.#context, archive, options, progress);
  }

  async commit(options: CommitOptions): Promise<string> {
    await this.whole(options.parent, "commit", options.signal === undefined ? {} : { signal: options.signal });
    return commitImage(this.#context, options);
  }

  /** The config and layers of the whole image that a name means, if there is one. */
  layersOf(name: string): Pick<ImageRecord, "config" | "layers"> | undefined {
    const image = this.#context.records.named(parseNormalized(name));
    return image === undefined ? undefined : this.#context.records.whole(image.id);
  }

  /** For images made of snapshots; the caller disposes of it. */
  assemble(): Promise<ImageAssembly> {
    return ImageAssembly.open(this.#context, this.#blobs);
  }

  async load(archive: Readable, progress: Progress, options: { platform?: Platform | undefined } = {}): Promise<void> {
    await loadImages(this.#context, archive, progress, options.platform);
  }

  async pull(name: string, options: PullOptions, progress: Progress): Promise<void> {
    const reference = parseNormalized(name);
    if (options.allTags !== isNameOnly(reference)) {
      throw new GantryError("invalid", `tag can't be used with --all-tags/-a`);
    }
    await this.#pulls.run(pullKey(reference, options), progress, (shared) =>
      pullImages(this.#context, reference, options, shared),
    );
  }

  planPull(
    name: string,
    options: Pick<PullOptions, "credentials" | "platform">,
    signal: AbortSignal,
  ): Promise<PullPlan> {
    return planPull(this.#context, parseNormalized(name), options, signal);
  }

  async push(name: string, options: PushOptions, progress: Progress): Promise<void> {
    const reference = parseNormalized(name);
    const { records } = this.#context;
    for (const { image } of records.allUnderWay()) {
      const indexes = records.indexes.having(image.id);
      const names = [...records.namesOf(image.id), ...indexes.flatMap((index) => records.namesOfIndex(index))];
      const isNamed = names.some(({ reference: one }) => pushes(reference, one));
      if (isNamed) await this.whole(image.id, "push", progress);
    }
    await pushImages(this.#context, this.#blobs, reference, options, whole(progress));
  }

  async copy(from: Reference, to: Reference, options: CopyOptions, progress: Progress): Promise<void> {
    await copyImages(this.#context, this.#blobs, from, to, options, whole(progress));
  }

  async putManifest(
    reference: Reference,
    document: ManifestDocument,
    options: PutManifestOptions,
    progress: Progress,
  ): Promise<void> {
    await putManifest(this.#context, this.#blobs, reference, document, options, whole(progress));
  }

  save(names: readonly string[], options: { platform?: Platform | undefined } = {}): AsyncIterable<Uint8Array> {
    return saveImages(this.#context, names, options);
  }

  #find(nameOrId: string, platform: Platform | undefined): Target {
    const { records } = this.#context;
    const target = findTarget(records, nameOrId);
    if (platform === undefined) return target;
    return { ...target, image: imageFor(records, target, nameOrId, platform) };
  }

  async bootstrap(what: string, progress: Progress): Promise<string> {
    if (what === "busybox" || what === "busybox:latest") return bootstrapBusybox(this.#context, progress);
    if (what.startsWith("debian:")) return bootstrapDebian(this.#context, what.slice("debian:".length), progress);
    throw new GantryError("invalid", `cannot make ${JSON.stringify(what)}: it must be busybox or debian:SUITE`);
  }
}

function whole({ signal, onProgress }: Progress): FlightProgress {
  return { signal: signal ?? new AbortController().signal, onProgress: onProgress ?? (() => {}) };
}

/** Whether a push of the first sends what the second names. */
function pushes(wanted: Reference, named: Reference): boolean {
  const isTag = wanted.tag === undefined || wanted.tag === named.tag;
  return isTag && wanted.domain === named.domain && wanted.path === named.path;
}

/** The name that was asked for in familiar form; an id stays as it was written. */
function familiarOf(nameOrId: string): string {
  try {
    return familiarString(parseNormalized(nameOrId));
  } catch {
    return nameOrId;
  }
}
