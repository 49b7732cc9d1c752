import { GantryError, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { sha256Of } from "../oci/digest.ts";
import type { Platform } from "../oci/image.ts";
import { machinePlatform } from "../oci/machine-platform.ts";
import { familiarName, familiarString, type Reference, repositoryOf } from "../oci/reference.ts";
import { fingerprint } from "../remote/credentials.ts";
import { RefusedError } from "../remote/failure.ts";
import type { Repository } from "../remote/repository.ts";
import type { FlightProgress } from "./flights.ts";
import type { PushOptions } from "./image.ts";
import { contentOf, type IndexRecord, imagesOf } from "./index-record.ts";
import { descriptorOf } from "./manifests.ts";
import { isFor } from "./platform.ts";
import type { ImageContext } from "./ports.ts";
import { retryText, SHOWN_MS } from "./progress-text.ts";
import type { BlobPusher } from "./push-blob.ts";
import { type PushedManifest, pushBlobs } from "./push-image.ts";
import { type ContentPush, canHaveIndex, pushIndex, pushManifest } from "./push-index.ts";
import type { ImageName, ImageRecord, ImageRecords } from "./record.ts";
import { imageFor } from "./resolve.ts";
import { withClaims } from "./sweep.ts";

/** Repositories that a token is asked to read, too, so that blobs can be mounted from them. */
const MOST_LENDERS = 8;

interface Push extends PushOptions {
  readonly context: ImageContext;
  readonly blobs: BlobPusher;
  readonly progress: FlightProgress;
}

interface Tagged {
  readonly reference: Reference & { readonly tag: string };
  /** What this machine runs of it, or the image for the platform that is asked for. */
  readonly image: ImageRecord;
  /** Where the name means an index: that. */
  readonly index: IndexRecord | undefined;
}

/** What is to be put under a tag. */
interface Chosen {
  readonly manifest: PushedManifest;
  /** Digest of the index that it is; undefined for an image. */
  readonly index?: string;
  /** True for an image in the place of an index that can't be there. */
  readonly isInstead?: boolean;
}

/**
 * Pushes the image or index of a name with a tag, or those of all tags of a repository. What the registry has is not sent; the
 * images stay as they are, and are known by the digests that they have there.
 */
export async function pushImages(
  context: ImageContext,
  blobs: BlobPusher,
  reference: Reference,
  options: PushOptions,
  progress: FlightProgress,
): Promise<void> {
  const { events, onPushed, records } = context;
  const push: Push = { ...options, context, blobs, progress };
  const named = reference.tag === undefined ? undefined : records.named(reference);
  if (named !== undefined && options.platform !== undefined) {
    const target = { image: named, index: records.indexNamed(reference), by: "name" } as const;
    imageFor(records, target, familiarString(reference), options.platform);
  }
  let isDone = false;
  try {
    progress.onProgress({ status: `The push refers to repository [${repositoryOf(reference)}]` });
    const images = chosenImages(push, reference);
    await withClaims(context, async (scope) => {
      // Pruned or removed meanwhile, they stay until they are sent.
      for (const { image, index } of images) {
        for (const digest of [image.id, image.manifest.digest]) scope.noteBlob(digest);
        for (const { blob } of image.layers) scope.noteBlob(blob.digest);
        for (const digest of index === undefined ? [] : contentOf(index)) scope.noteBlob(digest);
      }
      await send(push, reference, images).catch((error: unknown) => {
        throw pushError(error);
      });
    });
    const attributes = { ...named?.config.config?.Labels, name: familiarName(reference) };
    events.publish({ type: "image", action: "push", id: familiarString(reference), attributes });
    isDone = true;
  } finally {
    onPushed?.(isDone ? "done" : "failed");
  }
}

/** Throws in Docker's words where there is nothing to push. */
function chosenImages({ context, platform }: Push, reference: Reference): Tagged[] {
  const { records } = context;
  const { tag } = reference;
  const names = records.namesIn(repositoryOf(reference));
  if (names.length === 0) throw missing(`An image does not exist locally with the tag: ${familiarName(reference)}`);
  if (reference.digest !== undefined) throw new GantryError("invalid", "cannot push a digest reference");
  const tagged = names
    .filter((name) => name.reference.tag !== undefined && (tag === undefined || name.reference.tag === tag))
    .flatMap((name): Tagged[] => taggedImage(context, name, platform));
  if (tagged.length > 0) return tagged;
  if (tag === undefined) throw missing(`no tags to push for ${familiarName(reference)}`);
  throw missing(`tag does not exist: ${familiarString(reference)}`);
}

function taggedImage({ records }: ImageContext, { reference }: ImageName, platform: Platform | undefined): Tagged[] {
  const { domain, path, tag } = reference;
  const image = records.named(reference);
  if (tag === undefined || image === undefined) return [];
  const index = records.indexNamed(reference);
  const target = { image, index, by: "name" } as const;
  const own = platform === undefined ? image : imageFor(records, target, familiarString(reference), platform);
  return [{ reference: { domain, path, tag }, image: own, index }];
}

/** Docker says of those who may not push why they may not, and not at which of a push's requests. */
function pushError(error: unknown): unknown {
  const isAboutWho = error instanceof RefusedError && (error.status === 401 || error.status === 403);
  return isAboutWho ? error.worded(error.reason) : error;
}

function missing(message: string): GantryError {
  return new GantryError("not-found", message);
}

async function send(push: Push, reference: Reference, images: readonly Tagged[]): Promise<void> {
  const { blobs, context, credentials, progress } = push;
  const { registries, takesForeignLayers } = context;
  const alsoFrom = lendersOf(push, reference, images);
  const skipsForeign = !(await takesForeignLayers(reference.domain));
  const client = fingerprint(credentials);
  await registries.writing(reference, credentials, { alsoFrom }, async (repository) => {
    // One after the other, as Docker does: what several share is there for the next.
    for (const tagged of images) {
      const own = { context, blobs, target: { repository, client }, skipsForeign, progress, isThorough: false };
      const chosen = await pushContent(push, own, tagged);
      try {
        await putManifest(push, repository, tagged, chosen);
      } catch (error) {
        // A registry that has lost blobs of a manifest that it has gets them again.
        const isLost = error instanceof RefusedError && /(BLOB|MANIFEST)_UNKNOWN$/.test(error.code);
        if (!chosen.manifest.isThere || !isLost) throw error;
        await putManifest(push, repository, tagged, await pushContent(push, { ...own, isThorough: true }, tagged));
      }
    }
  });
}

/**
 * Brings what a name means to a registry. An index of which not all is here, nor there, is not pushed: the image that
 * this machine runs goes in its place.
 */
async function pushContent(push: Push, own: ContentPush, { image, index, reference }: Tagged): Promise<Chosen> {
  if (index === undefined) return { manifest: await pushBlobs({ ...own, image }) };
  if (push.platform === undefined && (await canHaveIndex(own, index))) {
    return { manifest: await pushIndex(own, index), index: index.descriptor.digest };
  }
  const isInstead = push.platform === undefined;
  if (isInstead) requireOne(index, image, reference);
  const entry = index.entries.find((one) => one.image === image.id);
  // It may be here by another manifest alone.
  if (entry?.blobs === undefined) return { manifest: await pushBlobs({ ...own, image }), isInstead };
  return { manifest: await pushManifest(own, entry.descriptor, entry.blobs), isInstead };
}

/** Of several images none for this machine: nobody can say which one is meant. */
function requireOne(index: IndexRecord, image: ImageRecord, reference: Reference): void {
  if (imagesOf(index).length === 1 || isFor(image.config, machinePlatform())) return;
  throw new GantryError(
    "conflict",
    `cannot push ${familiarString(reference)}: multiple matching manifests found but no specific platform requested`,
  );
}

function lendersOf({ blobs, context }: Push, reference: Reference, images: readonly Tagged[]): string[] {
  const lenders = new Set<string>();
  for (const { image, index } of images) {
    const layers = index?.entries.flatMap(({ blobs = [] }) => blobs) ?? image.layers.map(({ blob }) => blob);
    for (const digest of [image.id, ...layers.map((layer) => layer.digest)]) {
      const lender = blobs.lender({ reference }, context.packed.of(digest)?.digest ?? digest);
      if (lender !== undefined && lenders.size < MOST_LENDERS) lenders.add(lender);
    }
  }
  return [...lenders];
}

async function putManifest(
  { context, progress }: Push,
  repository: Repository,
  { image, index, reference: { domain, path, tag } }: Tagged,
  { index: pushedIndex, isInstead, manifest: { mediaType, bytes, blobs } }: Chosen,
): Promise<void> {
  const { records, sources } = context;
  const onWait = (milliseconds: number): void => {
    if (milliseconds >= SHOWN_MS) progress.onProgress({ status: retryText(milliseconds) });
  };
  await repository.putManifest(tag, mediaType, bytes, { signal: progress.signal, onWait });
  const digest = sha256Of(bytes);
  const byDigest = { domain, path, digest };
  failpoint("images.push.put");
  // It may have been removed meanwhile; the registry has it all the same.
  const isHere = pushedIndex === undefined ? records.get(image.id) !== undefined : isKept(records, pushedIndex);
  const known =
    pushedIndex === undefined ? records.named(byDigest)?.id : records.indexNamed(byDigest)?.descriptor.digest;
  // Other platforms' images of an index are known by its names alone.
  const isOwn = index === undefined || pushedIndex !== undefined || index.image === image.id;
  if (isHere && isOwn && known !== (pushedIndex ?? image.id)) {
    try {
      records.add([], [[byDigest, image.id, pushedIndex]]);
    } catch (error) {
      // The registry has it: a disk that is full here takes nothing of that back.
      context.log?.warn(`cannot note the digest of what was pushed: ${messageOf(error)}`);
    }
  }
  sources.add(blobs, { domain, path });
  progress.onProgress({ status: `${tag}: digest: ${digest} size: ${bytes.length}` });
  progress.onProgress({ progressDetail: {}, aux: { Tag: tag, Digest: digest, Size: bytes.length } });
  if (isInstead !== true || index === undefined) return;
  const { platform } = descriptorOf(image);
  const selectedManifest = { mediaType, digest, size: bytes.length, platform };
  const aux = { manifestPushedInsteadOfIndex: true, originalIndex: index.descriptor, selectedManifest };
  progress.onProgress({ progressDetail: {}, aux });
}

function isKept(records: ImageRecords, digest: string): boolean {
  return records.indexes.get(digest) !== undefined;
}
