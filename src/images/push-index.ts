import { failpoint } from "../base/failpoint.ts";
import { Gate } from "../base/gate.ts";
import type { Descriptor } from "../oci/image.ts";
import { MAX_DOCUMENT } from "../oci/image-config.ts";
import { isForeign } from "../oci/layer-type.ts";
import { all } from "./all.ts";
import type { FlightProgress } from "./flights.ts";
import type { IndexRecord } from "./index-record.ts";
import type { ImageContext } from "./ports.ts";
import type { BlobPusher, PushTarget } from "./push-blob.ts";
import { isRefused, isThere, MOST_QUESTIONS, type PushedManifest } from "./push-image.ts";
import { shortId } from "./resolve.ts";

/** As for an image, of manifests that are pushed as they are. */
export interface ContentPush {
  readonly context: ImageContext;
  readonly blobs: BlobPusher;
  readonly target: PushTarget;
  readonly skipsForeign: boolean;
  readonly isThorough: boolean;
  readonly progress: FlightProgress;
}

/**
 * Whether a repository can have an index: what it names is here, or there already. An index is put only after all
 * that it names.
 */
export async function canHaveIndex({ progress, target }: ContentPush, { entries }: IndexRecord): Promise<boolean> {
  for (const { blobs, descriptor } of entries) {
    if (blobs === undefined && !(await hasManifest(target, descriptor.digest, progress.signal))) return false;
  }
  return true;
}

/** Sees to it that a registry has all that an index names, and resolves with its document to put there. */
export async function pushIndex(push: ContentPush, index: IndexRecord): Promise<PushedManifest> {
  const { context, isThorough, progress, target } = push;
  const { descriptor, entries, inner } = index;
  const bytes = await context.content.readBlob(descriptor.digest, MAX_DOCUMENT);
  const named = entries.flatMap(({ blobs = [] }) => blobs.map(({ digest }) => digest));
  const pushed = { mediaType: descriptor.mediaType, bytes, blobs: named };
  if (!isThorough && (await isKnownThere(push, index))) return { ...pushed, isThere: true };
  // What several have is there for the next.
  for (const entry of entries) {
    if (entry.blobs === undefined) continue;
    if (!isThorough && (await hasManifest(target, entry.descriptor.digest, progress.signal))) {
      tellAll(push, entry.blobs.slice(1), "Layer already exists");
      continue;
    }
    const manifest = await pushManifest(push, entry.descriptor, entry.blobs);
    await put(push, entry.descriptor, manifest.bytes);
    failpoint("images.push.member");
  }
  for (const document of inner.toReversed()) {
    await put(push, document, await context.content.readBlob(document.digest, MAX_DOCUMENT));
  }
  return { ...pushed, isThere: false };
}

/** Sees to it that a registry has all that a manifest names, and resolves with that to put there. */
export async function pushManifest(
  push: ContentPush,
  { digest, mediaType }: Descriptor,
  [config, ...layers]: readonly Descriptor[],
): Promise<PushedManifest> {
  const { blobs, context, progress, skipsForeign, target } = push;
  const bytes = await context.content.readBlob(digest, MAX_DOCUMENT);
  tellAll(push, layers.toReversed(), "Preparing");
  const questions = new Gate(MOST_QUESTIONS);
  const skipped = layers.filter((layer) => skipsForeign && isForeign(layer));
  tellAll(push, skipped, "Skipped foreign layer");
  const wanted = layers.filter((layer) => !skipped.includes(layer));
  const distinct = new Map([...(config === undefined ? [] : [config]), ...wanted].map((blob) => [blob.digest, blob]));
  await all(progress.signal, [...distinct.values()], async (descriptor, signal) => {
    const row = descriptor === config ? undefined : shortId(descriptor.digest);
    if (await questions.run(() => isThere(target.repository, descriptor.digest, signal))) {
      if (row !== undefined) tellAll(push, [descriptor], "Layer already exists");
      return;
    }
    await blobs.push(target, { descriptor, row, from: "store" }, { signal, onProgress: progress.onProgress });
  });
  failpoint("images.push.uploaded");
  return { mediaType, bytes, blobs: [...distinct.keys()], isThere: false };
}

function tellAll({ progress }: ContentPush, layers: readonly Descriptor[], status: string): void {
  for (const { digest } of layers) progress.onProgress({ status, progressDetail: {}, id: shortId(digest) });
}

async function put({ progress, target }: ContentPush, { digest, mediaType }: Descriptor, bytes: Uint8Array) {
  await target.repository.putManifest(digest, mediaType, bytes, { signal: progress.signal });
}

/** A registry takes an index after what it names only: one that was pushed there and that it has needs no other question. */
async function isKnownThere({ context, progress, target }: ContentPush, { descriptor: { digest } }: IndexRecord) {
  const { domain, path } = target.repository.reference;
  if (context.records.indexNamed({ domain, path, digest }) === undefined) return false;
  return hasManifest(target, digest, progress.signal);
}

async function hasManifest({ repository }: PushTarget, digest: string, signal: AbortSignal): Promise<boolean> {
  try {
    return (await repository.resolve(digest, { signal })).digest === digest;
  } catch (error) {
    if (isRefused(error)) return false;
    throw error;
  }
}
