import type { ProgressMessage } from "../../api/image.ts";
import { GantryError, isKind } from "../../base/errors.ts";
import type { DescribedBase } from "../../images/fetch-base.ts";
import type { ResolvedImage } from "../../images/image.ts";
import type { ImageStore } from "../../images/image-store.ts";
import { chainId } from "../../oci/digest.ts";
import type { ImageConfig, Platform } from "../../oci/image.ts";
import { formatPlatform, hostPlatform, suitablePlatforms } from "../../oci/platform.ts";
import { familiarString, formatReference, parseNormalized, type Reference, tagNameOnly } from "../../oci/reference.ts";
import type { BuildOptions, BuildRequest, CacheUsage } from "../builder.ts";
import type { ImageOperation, LayoutOperation } from "../graph.ts";
import type { Operator, OperatorContext, ResolvedSource } from "../operator.ts";
import type { CacheHolder } from "../parts.ts";
import type { ResolvedBase, ResolvedLayout } from "../plan/types.ts";
import type { OnBuildEvent } from "../progress.ts";
import type { Root } from "../root.ts";
import type { Roots } from "../roots.ts";
import { LayoutSource, layoutReference } from "./layout.ts";
import { statusOf, type TellStatus, toldStep } from "./told-step.ts";

/** Descriptions of images that plans asked for and steps may never want; the oldest go first. */
const MOST_DESCRIBED = 256;

export interface BaseImagesPorts {
  readonly images: ImageStore;
  readonly roots: Roots;
  readonly snapshots: { has(name: string): boolean };
  /** Whether an image that is here may be built on, by the name it was asked for by; throws `forbidden`. */
  readonly admit?: (image: ResolvedImage, asked: string) => Promise<void>;
}

/**
 * The images that builds begin with: those that are here, or what their registries have. Only what a plan needs to know
 * is fetched at first; layers come when a step wants them.
 */
export class BaseImages implements CacheHolder {
  readonly image: Operator<ImageOperation> = {
    resolve: (operation, context) => this.#resolve(operation, context),
  };
  readonly layout: Operator<LayoutOperation> = {
    resolve: (operation, context) => this.#resolveLayout(operation, context),
  };
  readonly #ports: BaseImagesPorts;
  /** By id: how to bring what is not here yet. */
  readonly #described = new Map<string, DescribedBase>();

  constructor(ports: BaseImagesPorts) {
    this.#ports = ports;
  }

  /** An image for a platform, by its normal form; told as a step. */
  async base(
    request: BuildRequest,
    { onEvent, signal }: BuildOptions,
    text: string,
    platform: Platform,
    pull: boolean,
  ): Promise<ResolvedBase> {
    return toldStep(`[internal] load metadata for ${text}`, onEvent, async (tell) => {
      if (!pull) {
        const local = await this.#local(request, text, platform);
        if (local !== undefined) return local;
      }
      const reference = tagNameOnly(parseNormalized(text));
      const credentials = await request.credentialsOf(reference.domain);
      if (request.origin === "docker") return this.#pull(reference, platform, credentials, tell, signal);
      const base = await this.#ports.images.describeBase(reference, { platform, credentials }, { signal });
      this.#remember(base);
      return { id: base.id, config: base.config, reference: withDigest(reference, base.digest) };
    });
  }

  /** What stands behind `oci-layout://`. */
  async lent(
    request: BuildRequest,
    { onEvent, signal }: BuildOptions,
    value: string,
    platform: Platform,
  ): Promise<ResolvedLayout> {
    return toldStep(`[internal] load metadata for oci-layout://${value}`, onEvent, async () => {
      const { digest, store } = layoutReference(value);
      const base = await this.#describeLent(request, store, digest, platform, signal);
      return { store, digest: base.manifest, config: base.config };
    });
  }

  async usage(): Promise<readonly CacheUsage[]> {
    const { images, roots } = this.#ports;
    const shared = images.chains();
    return images.bases().map(({ createdAt, image, lastUsedAt, reference, usageCount }) => ({
      ...{ id: idOf(image.id), parents: [], type: "regular", description: `pulled from ${reference}` },
      size: image.layers.reduce((total, layer) => total + layer.size, 0),
      inUse: image.layers.some(({ chainId: chain }) => roots.isHeld(chain)),
      shared: image.layers.some(({ chainId: chain }) => shared.has(chain)),
      ...{ createdAt, lastUsedAt, usageCount },
    }));
  }

  async remove(id: string): Promise<number | undefined> {
    const row = (await this.usage()).find((one) => one.id === id);
    const base = this.#ports.images.bases().find(({ image }) => idOf(image.id) === id);
    if (row === undefined || base === undefined || row.inUse) return undefined;
    await this.#ports.images.removeBase(base.image.id);
    return row.shared ? 0 : row.size;
  }

  /** Only what is for the platform, unless nobody asked for one: then what is here is what is meant. */
  async #local(request: BuildRequest, text: string, platform: Platform): Promise<ResolvedBase | undefined> {
    const isAsked = request.platforms.length > 0 || formatPlatform(platform) !== formatPlatform(hostPlatform());
    const found = this.#find(text, isAsked ? platform : undefined);
    if (found === undefined) return undefined;
    if (isAsked && !suitablePlatforms(platform).includes(formatPlatform(found.config))) return undefined;
    await this.#ports.admit?.(found, text);
    return { id: found.id, config: found.config, reference: text };
  }

  #find(text: string, platform: Platform | undefined): ResolvedImage | undefined {
    const { images } = this.#ports;
    // A short id reads as the name of an image of Docker Hub's.
    const hex = /^docker\.io\/library\/([0-9a-f]{4,64}):latest$/.exec(text)?.[1];
    for (const name of hex === undefined ? [text] : [text, hex]) {
      try {
        return images.resolve(name, { platform });
      } catch (error) {
        if (!isKind(error, "not-found")) throw error;
      }
    }
    return undefined;
  }

  /** As Docker's first builder: the image has its name here afterwards. */
  async #pull(
    reference: Reference,
    platform: Platform,
    credentials: Awaited<ReturnType<BuildRequest["credentialsOf"]>>,
    tell: TellStatus,
    signal: AbortSignal,
  ): Promise<ResolvedBase> {
    const { images } = this.#ports;
    const name = familiarString(reference);
    const options = { platform, credentials, allTags: false, lazy: false };
    let digest: string | undefined;
    const onProgress = (message: ProgressMessage) => {
      digest = /^Digest: (sha256:[0-9a-f]{64})$/.exec(message.status ?? "")?.[1] ?? digest;
      tellPull(message, tell);
    };
    await images.pull(name, options, { signal, onProgress });
    const { id, config } = images.resolve(name, { platform });
    return { id, config, reference: digest === undefined ? formatReference(reference) : withDigest(reference, digest) };
  }

  async #resolve(
    { id, reference }: ImageOperation,
    { onEvent, signal, vertex }: OperatorContext,
  ): Promise<ResolvedSource> {
    const config = this.#ports.images.base(id)?.config ?? this.#described.get(id)?.config ?? this.#underWay(id);
    if (config === undefined) throw new GantryError("not-found", `No such image: ${reference}`);
    const digest = this.#described.get(id)?.digest ?? this.#ports.images.base(id)?.manifest.digest;
    const source = this.#source(id, config, reference, vertex.id, onEvent, signal);
    return { ...source, ...(digest !== undefined && { digest }) };
  }

  async #resolveLayout(
    { digest, platform, store }: LayoutOperation,
    { onEvent, request, signal, vertex }: OperatorContext,
  ): Promise<ResolvedSource> {
    const base = await this.#describeLent(request, store, digest, platform, signal);
    return this.#source(base.id, base.config, `oci-layout://${store}@${digest}`, vertex.id, onEvent, signal);
  }

  /** Two names of one image, and two images of the same layers, are one source. */
  #source(
    id: string,
    config: ImageConfig,
    name: string,
    vertex: string,
    onEvent: OnBuildEvent,
    signal: AbortSignal,
  ): ResolvedSource {
    const top = chainId(config.rootfs.diff_ids).at(-1);
    return {
      key: top ?? "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      root: () => this.#root(id, top, name, statusOf(vertex, onEvent), signal),
    };
  }

  async #root(
    id: string,
    top: string | undefined,
    name: string,
    tell: TellStatus,
    signal: AbortSignal,
  ): Promise<Root | undefined> {
    const { images, roots, snapshots } = this.#ports;
    if (top === undefined) return undefined;
    // Held before one looks: nobody takes it away any more.
    const root = roots.snapshot(top);
    try {
      await images.whole(id, "build on", { signal });
      const described = this.#described.get(id);
      if (described !== undefined) {
        await described.fetch({ signal, onProgress: (message) => tellPull(message, tell) });
      }
      if (!snapshots.has(top)) throw new GantryError("conflict", `cannot build on ${name}: it was removed meanwhile`);
      return root;
    } catch (error) {
      await root[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Of one that can be started before it is whole. */
  #underWay(id: string): ImageConfig | undefined {
    try {
      return this.#ports.images.resolve(id).config;
    } catch (error) {
      if (isKind(error, "not-found")) return undefined;
      throw error;
    }
  }

  async #describeLent(
    { session }: BuildRequest,
    store: string,
    digest: string,
    platform: Platform,
    signal: AbortSignal,
  ): Promise<DescribedBase> {
    if (session === undefined) throw new GantryError("invalid", `no client lends the OCI layout ${store}`);
    const source = new LayoutSource(session.content(`oci:${store}`), signal);
    const reference = { domain: "oci-layout", path: store, digest };
    const base = await this.#ports.images.describeLent(source, reference, platform, { signal });
    this.#remember(base);
    return base;
  }

  #remember(base: DescribedBase): void {
    this.#described.delete(base.id);
    this.#described.set(base.id, base);
    for (const id of this.#described.keys()) {
      if (this.#described.size <= MOST_DESCRIBED) break;
      this.#described.delete(id);
    }
  }
}

/** A row of a pull as a row of a step. */
function tellPull({ id, status = "", progressDetail }: ProgressMessage, tell: TellStatus): void {
  if (id === undefined || progressDetail === undefined) return;
  const { current = 0, total = 0 } = progressDetail as { current?: number; total?: number };
  const isDone = /^(Pull complete|Already exists)$/.test(status);
  if (status === "Extracting") tell(`extracting ${id}`, current, total);
  else if (isDone) tell(id, 0, 0, true);
  else if (status === "Downloading") tell(id, current, total);
}

function withDigest({ domain, path, tag }: Reference, digest: string): string {
  return formatReference({ domain, path, ...(tag !== undefined && { tag }), digest });
}

/** What the cache calls one. */
function idOf(image: string): string {
  return image.slice("sha256:".length, "sha256:".length + 25);
}
