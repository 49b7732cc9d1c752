import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { sha256Of } from "../oci/digest.ts";
import { familiarName, familiarString, type Reference, repositoryOf } from "../oci/reference.ts";
import { fingerprint } from "../remote/credentials.ts";
import { RefusedError } from "../remote/failure.ts";
import type { Repository } from "../remote/repository.ts";
import type { FlightProgress } from "./flights.ts";
import type { PushOptions } from "./image.ts";
import { requirePlatform } from "./platform.ts";
import type { ImageContext } from "./ports.ts";
import { retryText, SHOWN_MS } from "./progress-text.ts";
import type { BlobPusher } from "./push-blob.ts";
import { type PushedManifest, pushBlobs } from "./push-image.ts";
import type { ImageName, ImageRecord } from "./record.ts";
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
  readonly image: ImageRecord;
}

/**
 * Pushes the image of a name with a tag, or those of all tags of a repository. What the registry has is not sent; the
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
    requirePlatform(named, familiarString(reference), options.platform);
  }
  let isDone = false;
  try {
    progress.onProgress({ status: `The push refers to repository [${repositoryOf(reference)}]` });
    const images = chosenImages(push, reference);
    await withClaims(context, async (scope) => {
      // Pruned or removed meanwhile, they stay until they are sent.
      for (const { image } of images) {
        for (const digest of [image.id, image.manifest.digest]) scope.noteBlob(digest);
        for (const { blob } of image.layers) scope.noteBlob(blob.digest);
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
  const names = records.namesIn(repositoryOf(reference));
  if (names.length === 0) throw missing(`An image does not exist locally with the tag: ${familiarName(reference)}`);
  if (reference.digest !== undefined) throw new GantryError("invalid", "cannot push a digest reference");
  const tagged = names.flatMap((name): Tagged[] => taggedImage(context, name));
  if (reference.tag === undefined) {
    if (tagged.length === 0) throw missing(`no tags to push for ${familiarName(reference)}`);
    for (const one of tagged) {
      if (platform !== undefined) requirePlatform(one.image, familiarString(one.reference), platform);
    }
    return tagged;
  }
  const wanted = tagged.filter((one) => one.reference.tag === reference.tag);
  if (wanted.length === 0) throw missing(`tag does not exist: ${familiarString(reference)}`);
  return wanted;
}

function taggedImage({ records }: ImageContext, { reference }: ImageName): Tagged[] {
  const { domain, path, tag } = reference;
  const image = records.named(reference);
  return tag === undefined || image === undefined ? [] : [{ reference: { domain, path, tag }, image }];
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
    for (const { reference: name, image } of images) {
      const target = { repository, client };
      const own = { context, blobs, target, image, skipsForeign, progress };
      const manifest = await pushBlobs({ ...own, isThorough: false });
      try {
        await putManifest(push, repository, name, image, manifest);
      } catch (error) {
        // A registry that has lost blobs of a manifest that it has gets them again.
        if (!manifest.isThere || !(error instanceof RefusedError) || !/BLOB_UNKNOWN$/.test(error.code)) throw error;
        await putManifest(push, repository, name, image, await pushBlobs({ ...own, isThorough: true }));
      }
    }
  });
}

function lendersOf({ blobs, context }: Push, reference: Reference, images: readonly Tagged[]): string[] {
  const lenders = new Set<string>();
  for (const { image } of images) {
    for (const digest of [image.id, ...image.layers.map(({ blob }) => blob.digest)]) {
      const lender = blobs.lender({ reference }, context.packed.of(digest)?.digest ?? digest);
      if (lender !== undefined && lenders.size < MOST_LENDERS) lenders.add(lender);
    }
  }
  return [...lenders];
}

async function putManifest(
  { context, progress }: Push,
  repository: Repository,
  { domain, path, tag }: Tagged["reference"],
  image: ImageRecord,
  { mediaType, bytes, blobs }: PushedManifest,
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
  if (records.get(image.id) !== undefined && records.named(byDigest)?.id !== image.id) {
    records.add([], [[byDigest, image.id]]);
  }
  sources.add(blobs, { domain, path });
  progress.onProgress({ status: `${tag}: digest: ${digest} size: ${bytes.length}` });
  progress.onProgress({ progressDetail: {}, aux: { Tag: tag, Digest: digest, Size: bytes.length } });
}
