import type { Logger } from "../base/log.ts";
import type { Blob, ContentStore } from "../content/content-store.ts";
import type { EventBus } from "../events/bus.ts";
import type { LentLayer, WantedLayer } from "../lazy/lazy-layers.ts";
import type { Descriptor, Manifest } from "../oci/image.ts";
import type { Reference } from "../oci/reference.ts";
import type { Credentials } from "../remote/credentials.ts";
import type { Registries } from "../remote/registry.ts";
import type { Repository } from "../remote/repository.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import type { Store } from "../state/store.ts";
import type { Bases } from "./bases.ts";
import type { BlobSources } from "./blob-sources.ts";
import type { ClaimScope, Claims } from "./claims.ts";
import type { ImageUse } from "./image.ts";
import type { LayerTimes } from "./layer-time.ts";
import type { Leases } from "./lease.ts";
import type { PackedLayers } from "./packed-layers.ts";
import type { ImageRecord, ImageRecords, LayerRecord, UnderWay } from "./record.ts";
import type { SnapshotLayers } from "./snapshot-layers.ts";

/** What `bootstrap` makes images of. */
export interface BootstrapConfig {
  /** Folder of the machine's package sources; `/etc/apt`. */
  readonly aptRoot: string;
  /** `/usr/bin/mmdebstrap`. */
  readonly mmdebstrap: string;
  /** A static busybox; `/bin/busybox`. */
  readonly busybox: string;
  /** For what is made on the way; under the data root, emptied at start. */
  readonly tempRoot: string;
}

/** A layer that a pull wants: its place among the others, and when what it lies on is there. */
export interface LayerWish {
  readonly descriptor: Descriptor;
  readonly diffId: string;
  readonly chainId: string;
  /** Chain id below; undefined for the first. */
  readonly parent: string | undefined;
  /** Resolves when the parent's snapshot is committed. */
  readonly parentReady: Promise<unknown>;
}

/** What becomes of a layer, in this order; `exists` and `done` are the last. */
export type LayerStep = "waiting" | "downloading" | "verifying" | "downloaded" | "extracting" | "done" | "exists";

/** Bytes of the blob: how many of them have come so far, or were extracted. */
export type OnLayerProgress = (step: LayerStep, current: number, total: number) => void;

/** A blob's bytes from an offset on; not verified. */
export type OpenBlob = (descriptor: Descriptor, offset: number, signal: AbortSignal) => AsyncIterable<Buffer>;

/** Makes sure of layers' blobs and snapshots; each is worked at once, however many pulls want it. */
export interface LayerSource {
  fetch(
    scope: ClaimScope,
    wish: LayerWish,
    open: OpenBlob,
    options: {
      readonly signal?: AbortSignal;
      readonly onProgress?: OnLayerProgress;
    },
  ): Promise<LayerRecord>;
}

/** Makes layers' blobs of snapshots. */
export interface Packing {
  /** The layer of a snapshot as a blob. */
  pack(snapshot: string, signal: AbortSignal): Promise<Blob>;
  /**
   * The layer of a snapshot as a blob, and extracted over `parent`. `onRead` is called when the snapshot is needed no
   * longer.
   */
  packTwin(
    key: string,
    parent: string | undefined,
    options: { readonly signal: AbortSignal | undefined; readonly onRead: () => void },
  ): Promise<Twin>;
}

/** A layer that was packed and extracted; its taker commits it, or discards it. */
export interface Twin {
  readonly blob: Blob;
  /** Makes it the committed snapshot `name`, or nothing if there is one. Resolves with the bytes of its files. */
  commit(name: string): Promise<number>;
  discard(): Promise<void>;
}

/** Shows files of layers that are not here yet, by tables of contents and ranges of their blobs. */
export interface LazyServing {
  /** Why it doesn't; undefined if it does. */
  readonly refusal: string | undefined;
  /** Whether a layer says that it can be served. */
  canServe(blob: Descriptor): boolean;
  /** Rejects where a layer can't be served, nothing is left of it then, and where it is served from another blob. */
  serve(wanted: WantedLayer, options?: { readonly signal?: AbortSignal }): Promise<LentLayer>;
  /** What is served for an engine before this one. */
  adopt(): Promise<readonly LentLayer[]>;
  /** Ends a layer's service; it isn't mounted any more. */
  release(chainId: string): Promise<void>;
  /** Whether a root filesystem that is mounted has the layer in this way. */
  isMounted(chainId: string): boolean;
  /** Resolves when nobody has waited for a registry for so long, or after `mostMs`. */
  quiet(quietMs: number, mostMs: number, signal: AbortSignal): Promise<void>;
  /** Removes what is kept of layers that nobody serves. */
  sweep(): Promise<void>;
  /** Called when a layer is served in another folder than before. */
  onMoved(listener: (layer: LentLayer) => void): void;
}

/** What goes on for images that can be started before they are whole. */
export interface RestPulls {
  /** Layers that are served for a pull: they stay until the result is disposed of, and then if an image has them. */
  hold(chains: readonly string[]): Disposable & { lend(image: ImageRecord, layers: readonly LentLayer[]): void };
  /** Pulls the rest of an image; of one that is being pulled, with these credentials from now on. */
  pull(underWay: Pick<UnderWay, "image">, credentials: Credentials): void;
  /** Ends what goes on for an image whose record has gone, and keeps nothing of it for a next pull. */
  drop(image: Pick<ImageRecord, "id" | "manifest">): Promise<void>;
  /** As the registry of images has it. */
  whole(id: string, what: string, options?: { readonly signal?: AbortSignal }): Promise<void>;
}

/** An image that is about to get a record. */
export interface Admission {
  /** What was asked for. */
  readonly reference: Reference;
  /** The digest that the name points to, and that of the image's own manifest where it is another: of an index. */
  readonly digests: readonly string[];
  /** `sha256:…` of its config. */
  readonly id: string;
  /** Where it comes from. */
  readonly repository: Repository;
  readonly signal: AbortSignal;
  /** True where nothing comes: the image is judged, and nothing of it kept. */
  readonly isTrial?: boolean;
}

/** What an `ImageStore` is made of. */
export interface ImagePorts {
  readonly content: ContentStore;
  readonly snapshots: Snapshotter;
  readonly store: Store;
  readonly events: EventBus;
  /** Containers by the id of the image that they were made of. */
  readonly inUse: () => ReadonlyMap<string, readonly ImageUse[]>;
  readonly bootstrap: BootstrapConfig;
  /** Blobs and committed snapshots that others need, such as a build's cache. */
  readonly keep?: () => Iterable<string>;
  readonly registries: Pick<Registries, "reading" | "writing">;
  /** Throws for an image that the engine's policy does not let in. */
  readonly admit?: (admission: Admission) => Promise<void>;
  /**
   * Adds the signatures of a manifest that lie at cosign's tag elsewhere to those in this repository, which has their
   * payloads. Where it is missing, they take the place of what is there.
   */
  readonly joinSignatures?: (
    repository: Repository,
    digest: string,
    brought: Manifest,
    options: { readonly signal: AbortSignal },
  ) => Promise<unknown>;
  /** Undefined pulls every image whole before it can be used. */
  readonly lazy?: LazyServing;
  readonly log?: Logger;
  readonly onPulled?: (result: "done" | "failed") => void;
  readonly onPushed?: (result: "done" | "failed") => void;
  /** Blobs that are pushed at a time, whoever pushes them. */
  readonly maxUploads: () => number;
  /** True for a registry that foreign layers may be pushed to. */
  readonly takesForeignLayers: (domain: string) => Promise<boolean>;
  readonly layerSettings: () => LayerSettings;
  readonly layerTimes?: LayerTimes;
  /** Path of layers/worker.ts, or of what it was bundled to. */
  readonly layerWorker: string;
  /** Path of packing/worker.ts, or of what it was bundled to. */
  readonly packWorker: string;
}

export interface LayerSettings {
  /** Layers that are downloaded at a time, whoever pulls them. */
  readonly maxDownloads: number;
  /** Times its size that a layer may unpack to; a gigabyte in any case. */
  readonly maxUnpackRatio: number;
}

/** What the files of this folder share: the ports, the records and the claims of one store. */
export interface ImageContext extends ImagePorts {
  readonly records: ImageRecords;
  readonly claims: Claims;
  readonly leases: Leases;
  readonly bases: Bases;
  readonly sources: BlobSources;
  readonly packed: PackedLayers;
  readonly snapshotLayers: SnapshotLayers;
  readonly layers: LayerSource;
  readonly packer: Packing;
  readonly underWay: RestPulls;
}
