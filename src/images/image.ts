import type { Readable } from "node:stream";
import type { Filters } from "../api/filters.ts";
import type { ImageDeleteRow, ImageHistoryRow, ImageInspect, ImageSummary, ProgressMessage } from "../api/image.ts";
import type { ImageDescriptor } from "../api/image-descriptor.ts";
import type { PullPlan } from "../api/registry.ts";
import type { ImageConfig, ImageProcess, Platform } from "../oci/image.ts";
import type { Reference } from "../oci/reference.ts";
import type { Credentials } from "../remote/credentials.ts";
import type { ManifestDocument } from "../remote/document.ts";

/** An image as `containers` needs it to make one of it. */
export interface ResolvedImage {
  /** `sha256:…` of its config. */
  readonly id: string;
  readonly config: ImageConfig;
  /** Chain id of its topmost layer; undefined for an image of no layers. */
  readonly chainId: string | undefined;
  /** The name it was asked for in familiar form, for events and records. */
  readonly name: string;
  /** Ids of the images for other platforms that the name means, too. */
  readonly others?: readonly string[];
  /** Its manifest, by the index that the name means if it means one, and its platform. */
  readonly manifest?: ImageDescriptor;
}

export interface ImageListOptions {
  readonly all?: boolean;
  readonly filters?: Filters;
  readonly sharedSize?: boolean;
  /** Show what manifests each image has. */
  readonly manifests?: boolean;
}

export interface ImageInspectOptions {
  readonly manifests?: boolean;
  /** Refuse with not-found if the image is for another platform. */
  readonly platform?: Platform | undefined;
}

export interface ImportOptions {
  /** Dockerfile instructions: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. */
  readonly changes: readonly string[];
  readonly message: string;
  /** Where it comes from, for the image's comment; `-` unless it is said. */
  readonly source?: string;
  /** `repository[:tag]`; empty leaves it untagged. */
  readonly reference: string;
  readonly platform?: string;
}

/** An image made of what was changed in a container. */
export interface CommitOptions {
  /** Id of the image that the container was made of. */
  readonly parent: string;
  /** Key of the container's root filesystem, over the image's; what it adds may be nothing. */
  readonly snapshot: string;
  /** Called when the snapshot was read: from then on its changes are none of the image's. */
  readonly onRead: () => void;
  readonly config: ImageProcess;
  readonly containerId: string;
  /** What history calls the step. */
  readonly createdBy: string;
  readonly author: string;
  readonly comment: string;
  /** Undefined leaves it untagged. */
  readonly reference: Reference | undefined;
  readonly signal?: AbortSignal;
}

export interface Progress {
  readonly signal?: AbortSignal;
  readonly onProgress?: (message: ProgressMessage) => void;
}

export interface PullOptions {
  /** Undefined is the machine's own. */
  readonly platform?: Platform | undefined;
  /** Every tag of the repository; the name has none then. */
  readonly allTags: boolean;
  readonly credentials: Credentials;
  /** False waits until the image is whole, also where the engine would have it started before. */
  readonly lazy?: boolean;
}

export interface PushOptions {
  /** Of an index the image for it alone; refuses images of other platforms with not-found. */
  readonly platform?: Platform | undefined;
  readonly credentials: Credentials;
}

export interface CopyOptions {
  /** None copies all; one its image alone; several an index of them. */
  readonly platforms: readonly Platform[];
  /** Every tag of the repository; neither name has one then. */
  readonly allTags: boolean;
  /** Signatures and what else refers to the images, too. */
  readonly signatures: boolean;
  /** Registries may be without TLS. */
  readonly insecure: boolean;
  readonly credentialsOf: (domain: string) => Credentials;
}

export interface PutManifestOptions {
  /** Repositories, of any registry, that have what the manifest names. */
  readonly from: readonly Reference[];
  readonly insecure: boolean;
  readonly credentials: Credentials;
  /** For the other registries of `from`. */
  readonly credentialsOf: (domain: string) => Credentials;
}

/** Who uses an image: asked before one is removed. */
export interface ImageUse {
  readonly containerId: string;
  readonly running: boolean;
}

/** The images of one engine. Errors carry Docker's texts ("No such image: x:latest", "conflict: unable to …"). */
export interface ImageRegistry {
  /** With `platform`, of an index the image for that if it is here; else what this machine runs. */
  resolve(nameOrId: string, options?: { readonly platform?: Platform | undefined }): ResolvedImage;
  /**
   * Resolves when an image is whole, at once for nearly all. Rejects if what was pulled so far shows that it never will
   * be, and while the rest of it can't be had; `what` follows "cannot".
   */
  whole(id: string, what: string, options?: { readonly signal?: AbortSignal }): Promise<void>;
  inspect(nameOrId: string, options?: ImageInspectOptions): ImageInspect;
  history(nameOrId: string, options?: { platform?: Platform | undefined }): ImageHistoryRow[];
  list(options: ImageListOptions): Promise<ImageSummary[]>;
  count(): number;
  /** Bytes of the layers of all images unpacked, each counted once. */
  layersSize(): number;
  tag(nameOrId: string, repository: string, tag: string): void;
  /** With `platforms`, what is here for them and no more; refuses with not-found what isn't. */
  remove(
    nameOrId: string,
    options: { force: boolean; prune: boolean; platforms?: readonly Platform[] },
  ): Promise<ImageDeleteRow[]>;
  prune(filters: Filters): Promise<{ deleted: ImageDeleteRow[]; spaceReclaimed: number }>;
  import(archive: Readable, options: ImportOptions, progress: Progress): Promise<string>;
  /** Resolves with the new image's id, `sha256:…`. */
  commit(options: CommitOptions): Promise<string>;
  /** With `platform`, the images for it and no others; refuses an archive that has none. Indexes stay what they are. */
  load(archive: Readable, progress: Progress, options?: { platform?: Platform | undefined }): Promise<void>;
  /**
   * Pulls what a name with a tag or a digest points to, or all tags of a repository. The same at the same time is one
   * pull; what a failed one got whole is kept for a day.
   */
  pull(name: string, options: PullOptions, progress: Progress): Promise<void>;
  /** What a pull of one name would download. */
  planPull(
    name: string,
    options: Pick<PullOptions, "credentials" | "platform">,
    signal: AbortSignal,
  ): Promise<PullPlan>;
  /**
   * Pushes the image, or the index with all that it has, of a name with a tag, or those of all tags of a repository. It
   * has a name by the digest that it has there afterwards.
   */
  push(name: string, options: PushOptions, progress: Progress): Promise<void>;
  /** Copies between registries, or within one; nothing of it is kept here. */
  copy(from: Reference, to: Reference, options: CopyOptions, progress: Progress): Promise<void>;
  /** Puts a manifest of a client's own into a registry, after what it names. */
  putManifest(
    reference: Reference,
    document: ManifestDocument,
    options: PutManifestOptions,
    progress: Progress,
  ): Promise<void>;
  /** A tar that both `docker load` and OCI tools read; with `platform` of an index the image for it alone. */
  save(names: readonly string[], options?: { platform?: Platform | undefined }): AsyncIterable<Uint8Array>;
  /** Makes `debian:SUITE` or `busybox` of the machine's own package sources. Resolves with the image's id. */
  bootstrap(what: string, progress: Progress): Promise<string>;
}
