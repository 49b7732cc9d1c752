import { throwIfAborted } from "../base/abort.ts";
import { GantryError, hasCode, isKind } from "../base/errors.ts";
import { chainId } from "../oci/digest.ts";
import type { Descriptor, ImageConfig } from "../oci/image.ts";
import { MOST_LAYERS, parseImageConfig } from "../oci/image-config.ts";
import { familiarString, type Reference } from "../oci/reference.ts";
import { all } from "./all.ts";
import type { ClaimScope } from "./claims.ts";
import { storeImage } from "./create.ts";
import type { FlightProgress } from "./flights.ts";
import type { ImageContext, LayerWish, OnLayerProgress, OpenBlob } from "./ports.ts";
import type { FetchedManifest, ImageSource } from "./pull-manifest.ts";
import { PullRow } from "./pull-rows.ts";
import type { ImageRecord, LayerRecord } from "./record.ts";
import { sweepLeases, sweepThings } from "./sweep.ts";

/** What is known of an image before its first layer is fetched. */
export interface PulledImage {
  readonly fetched: FetchedManifest;
  readonly configBytes: Buffer;
  readonly config: ImageConfig;
  /** Bottom first. */
  readonly wishes: readonly Omit<LayerWish, "parentReady">[];
}

/** Fetches an image's config; throws for what can't be an image here. */
export async function describeImage(
  repository: ImageSource,
  fetched: FetchedManifest,
  progress: FlightProgress,
): Promise<PulledImage> {
  const { manifest } = fetched;
  if (manifest.layers.length > MOST_LAYERS) {
    throw new GantryError("invalid", `max depth exceeded: more than ${MOST_LAYERS} layers`);
  }
  const configBytes = await fetchConfig(repository, manifest.config, progress);
  const config = parseImageConfig(configBytes);
  if (config.os !== "linux") {
    const message = `image operating system ${JSON.stringify(config.os)} cannot be used on this platform`;
    throw new GantryError("invalid", message);
  }
  const chains = chainId(config.rootfs.diff_ids);
  if (manifest.layers.length !== chains.length) {
    throw new GantryError("invalid", "layers from manifest don't match image configuration");
  }
  const wishes = manifest.layers.map((layer, index) => ({
    descriptor: layer,
    diffId: config.rootfs.diff_ids[index] ?? "",
    chainId: chains[index] ?? "",
    parent: chains[index - 1],
  }));
  return { fetched, configBytes, config, wishes };
}

/** Keeps what comes of an image, for a day or until the result is disposed of. */
export function holdLease(
  context: ImageContext,
  reference: Reference,
  { fetched: { descriptor }, wishes }: PulledImage,
): Disposable {
  return context.leases.hold(descriptor.digest, {
    name: familiarString(reference),
    blobs: wishes.map(({ descriptor: { digest } }) => digest),
    chains: wishes.map((wish) => wish.chainId),
  });
}

/**
 * Fetches an image's layers. The record that it resolves with is not added yet. What a failure leaves whole is leased,
 * unless the disk was too small for it.
 */
export async function fetchImage(
  context: ImageContext,
  scope: ClaimScope,
  repository: ImageSource,
  reference: Reference,
  pulled: PulledImage,
  progress: FlightProgress,
): Promise<ImageRecord> {
  const { config, configBytes, fetched, wishes } = pulled;
  using _lease = holdLease(context, reference, pulled);
  try {
    const layers = await fetchLayers(context, scope, repository, wishes, progress);
    return await storeImage(context, scope, { configBytes, config, layers, manifestBytes: fetched.bytes });
  } catch (error) {
    if (isFull(error)) await makeRoom(context, fetched.descriptor.digest);
    throw error;
  }
}

/** On a full disk nothing is kept for later: neither of this pull nor of others that failed. */
async function makeRoom(context: ImageContext, manifest: string): Promise<void> {
  const lease = context.leases.drop(manifest);
  await sweepThings(context, lease?.chains.toReversed() ?? [], lease?.blobs ?? []);
  await sweepLeases(context, "all");
  await context.content.removePartials();
}

/** The config's bytes; a failure is told in Docker's words. */
async function fetchConfig(repository: ImageSource, config: Descriptor, progress: FlightProgress): Promise<Buffer> {
  try {
    return await repository.document(config, progress, "image config");
  } catch (error) {
    if (!(error instanceof GantryError) || error.kind === "cancelled") throw error;
    throw new GantryError(error.kind, `error pulling image configuration: ${error.message}`, { cause: error });
  }
}

/** All at once; how many are downloaded at the same time is the source's choice. The first failure ends the others. */
export async function fetchLayers(
  context: ImageContext,
  scope: ClaimScope,
  repository: ImageSource,
  wishes: readonly Omit<LayerWish, "parentReady">[],
  progress: FlightProgress,
): Promise<LayerRecord[]> {
  throwIfAborted(progress.signal);
  const rows = wishes.map(({ chainId: chain, descriptor }) => {
    const row = new PullRow(progress.onProgress, descriptor);
    if (context.snapshots.has(chain) && context.content.has(descriptor.digest)) row.move("exists");
    else row.begin();
    return row;
  });
  const tasks: Promise<LayerRecord>[] = [];
  await all(progress.signal, [...wishes.entries()], ([index, wish], signal) => {
    const parentReady = tasks[index - 1] ?? Promise.resolve();
    const task = fetchLayer(context, scope, repository, { ...wish, parentReady }, rows[index]!, signal);
    tasks.push(task);
    return task;
  });
  return Promise.all(tasks);
}

/** What one endpoint had wrong is fetched from the next. */
async function fetchLayer(
  context: ImageContext,
  scope: ClaimScope,
  repository: ImageSource,
  wish: LayerWish,
  row: PullRow,
  signal: AbortSignal,
): Promise<LayerRecord> {
  const open: OpenBlob = (descriptor, offset, signal) =>
    repository.read(descriptor, offset, { signal, onWait: (milliseconds) => row.wait(milliseconds) });
  for (;;) {
    try {
      const onProgress: OnLayerProgress = (step, current, total) => row.move(step, current, total);
      return await context.layers.fetch(scope, wish, open, { signal, onProgress });
    } catch (error) {
      const isWrong = isKind(error, "invalid") && error.message.startsWith("filesystem layer verification failed");
      if (!isWrong || !repository.distrust(wish.descriptor)) throw error;
    }
  }
}

/** True if the disk, or a quota on it, was too small. */
function isFull(error: unknown): boolean {
  for (let one = error; one instanceof Error; one = one.cause) if (hasCode(one, "ENOSPC", "EDQUOT")) return true;
  return false;
}
