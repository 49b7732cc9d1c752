import { throwIfAborted } from "../base/abort.ts";
import { failpoint } from "../base/failpoint.ts";
import { formatPlatform, hostPlatform } from "../oci/platform.ts";
import { familiarName, familiarString, formatReference, type Reference, repositoryOf } from "../oci/reference.ts";
import { fingerprint } from "../remote/credentials.ts";
import type { ManifestDocument } from "../remote/document.ts";
import type { Repository } from "../remote/repository.ts";
import type { Waiting } from "../remote/settings.ts";
import { allTags } from "./all-tags.ts";
import type { ClaimScope } from "./claims.ts";
import type { FlightProgress } from "./flights.ts";
import type { PullOptions } from "./image.ts";
import { startLazily } from "./lazy-start.ts";
import { isFor, otherPlatform } from "./platform.ts";
import type { ImageContext } from "./ports.ts";
import { retryText, SHOWN_MS } from "./progress-text.ts";
import { pullError } from "./pull-error.ts";
import { describeImage, fetchImage } from "./pull-image.ts";
import { chooseManifest, refuseArtifact } from "./pull-manifest.ts";
import type { ImageRecord, Naming, UnderWay } from "./record.ts";
import { sweepLeases, withClaims } from "./sweep.ts";

interface Pull extends PullOptions {
  readonly context: ImageContext;
  readonly progress: FlightProgress & Waiting;
}

interface Pulled {
  readonly isNew: boolean;
  readonly image: ImageRecord;
}

/** Two pulls with the same key are one. */
export function pullKey(reference: Reference, { allTags, credentials, lazy, platform }: PullOptions): string {
  const wanted = platform === undefined ? "" : formatPlatform(platform);
  return JSON.stringify([formatReference(reference), allTags, wanted, fingerprint(credentials), lazy !== false]);
}

/**
 * Pulls what a name points to: an image's record and its names appear at the end, all at once. What an attempt got
 * whole is kept for a day, so that the next goes on from there.
 */
export async function pullImages(
  context: ImageContext,
  reference: Reference,
  options: PullOptions,
  progress: FlightProgress,
): Promise<void> {
  const { events, onPulled, registries } = context;
  const onWait = (milliseconds: number): void => {
    if (milliseconds >= SHOWN_MS) progress.onProgress({ status: retryText(milliseconds) });
  };
  const pull: Pull = { ...options, context, progress: { ...progress, onWait } };
  let isDone = false;
  try {
    const { isNew, image } = await registries.reading(reference, options.credentials, (repository) =>
      options.allTags ? pullAll(pull, repository, reference) : pullOne(pull, repository, reference),
    );
    const name = familiarString(reference);
    const what = isNew ? "Downloaded newer image for" : "Image is up to date for";
    progress.onProgress({ status: `Status: ${what} ${name}` });
    const { platform } = options;
    if (platform !== undefined && !options.allTags && !isFor(image.config, platform)) {
      progress.onProgress({ status: `WARNING: ${otherPlatform(image.config, name, platform)}` });
    }
    const attributes = { ...image.config.config?.Labels, name: familiarName(reference) };
    events.publish({ type: "image", action: "pull", id: name, attributes });
    isDone = true;
  } finally {
    onPulled?.(isDone ? "done" : "failed");
    await sweepLeases(context, "expired");
  }
}

/** One after the other, as the registry lists them: layers that tags share are there for the next. */
async function pullAll(pull: Pull, repository: Repository, reference: Reference): Promise<Pulled> {
  const { domain, path } = reference;
  const tags = await listTags(pull, repository, reference);
  const all: Pulled[] = [];
  for (const tag of tags) all.push(await pullOne(pull, repository, { domain, path, tag }));
  return { isNew: all.some(({ isNew }) => isNew), image: all[0]!.image };
}

async function listTags({ progress }: Pull, repository: Repository, reference: Reference): Promise<string[]> {
  try {
    return await allTags(repository, reference, "pull", progress);
  } catch (error) {
    throw pullError(error, reference);
  }
}

/** What a name points to now; the document only where it was fetched to know. */
interface Target {
  readonly digest: string;
  readonly document?: ManifestDocument;
}

async function pullOne(pull: Pull, repository: Repository, reference: Reference): Promise<Pulled> {
  const { context, progress } = pull;
  const target = await findTarget(pull, repository, reference);
  const known = knownImage(pull, reference, target.digest);
  if (known !== undefined && context.records.named(ownName(reference))?.id === known.id) {
    tellBeginning(progress, reference);
    await admit(pull, repository, reference, [target.digest], known.id);
    tellUnderWay(pull, known);
    progress.onProgress({ status: `Digest: ${target.digest}` });
    return { isNew: false, image: known };
  }
  return withClaims(context, (scope) => pullChanged(pull, scope, repository, reference, target));
}

/** A name that means something else than before, or is new: the image may be here nevertheless. */
async function pullChanged(
  pull: Pull,
  scope: ClaimScope,
  repository: Repository,
  reference: Reference,
  target: Target,
): Promise<Pulled> {
  const { context, progress } = pull;
  const { records } = context;
  const { digest } = target;
  const known = claimed(context, scope, knownImage(pull, reference, digest));
  let image = known;
  let underWay: UnderWay | undefined;
  let platform = records.platformOf(byDigest(reference, digest));
  const digests = [digest];
  if (image === undefined) {
    const document = target.document ?? (await manifestOf(pull, repository, reference, digest));
    tellBeginning(progress, reference);
    const wanted = pull.platform ?? hostPlatform();
    const chosen = await chooseManifest(repository, document, wanted, progress);
    refuseArtifact(chosen.manifest, reference);
    if (document.kind === "index") digests.push(chosen.descriptor.digest);
    platform = document.kind === "index" ? formatPlatform(wanted) : undefined;
    const { digest: id } = chosen.manifest.config;
    image = claimed(context, scope, context.records.whole(id));
    await admit(pull, repository, reference, digests, id);
    if (image === undefined) {
      const pulled = await describeImage(repository, chosen, progress);
      const isAgain = records.underWay(id) !== undefined;
      if (pull.lazy !== false && !isAgain) {
        underWay = await startLazily(context, scope, repository, reference, pulled, { ...pull, ...progress });
      }
      image = underWay?.image ?? (await fetchImage(context, scope, repository, reference, pulled, progress));
    }
  } else {
    tellBeginning(progress, reference);
    await admit(pull, repository, reference, digests, image.id);
  }
  throwIfAborted(progress.signal);
  failpoint("images.pull.fetched");
  const isNew = records.named(ownName(reference))?.id !== image.id;
  const { id } = image;
  const names: Naming[] = [[byDigest(reference, digest), id, platform]];
  if (reference.digest === undefined) names.push([reference, id]);
  const manifest = image.manifest.digest;
  if (underWay !== undefined && records.whole(id) === undefined) {
    records.addUnderWay(underWay, names);
    failpoint("images.pull.recorded");
    context.underWay.pull(underWay, pull.credentials);
  } else {
    // One that is known stays what it is, be it whole or under way.
    records.add(known === undefined && underWay === undefined ? [image] : [], names, () =>
      context.leases.erase(manifest),
    );
    failpoint("images.pull.recorded");
    context.leases.drop(manifest);
    tellUnderWay(pull, image);
  }
  const blobs = image.layers.map(({ blob }) => blob.digest);
  if (known === undefined) context.sources.add([id, ...blobs], reference);
  progress.onProgress({ status: `Digest: ${digest}` });
  return { isNew, image };
}

/**
 * A name of a repository that is known here is asked for by HEAD, which costs a registry nothing and may be all; of
 * another the manifest is needed anyway.
 */
async function findTarget(pull: Pull, repository: Repository, reference: Reference): Promise<Target> {
  const { digest } = reference;
  const tag = reference.tag ?? "";
  try {
    if (digest !== undefined) {
      // What is here is the right one, but whether this client may have it is for the registry to say.
      if (knownImage(pull, reference, digest) !== undefined) await repository.resolve(digest, pull.progress);
      return { digest };
    }
    if (pull.context.records.hasRepository(repositoryOf(reference))) {
      return { digest: (await repository.resolve(tag, pull.progress)).digest };
    }
    const document = await repository.manifest(tag, pull.progress);
    return { digest: document.descriptor.digest, document };
  } catch (error) {
    throw pullError(error, reference);
  }
}

async function manifestOf(
  { progress }: Pull,
  repository: Repository,
  reference: Reference,
  digest: string,
): Promise<ManifestDocument> {
  try {
    return await repository.manifest(digest, progress);
  } catch (error) {
    throw pullError(error, reference);
  }
}

/** The image of a digest, unless the digest is an index's and this image was chosen for another platform. */
function knownImage({ context, lazy, platform }: Pull, reference: Reference, digest: string): ImageRecord | undefined {
  const name = byDigest(reference, digest);
  const chosenFor = context.records.platformOf(name);
  if (chosenFor !== undefined && chosenFor !== formatPlatform(platform ?? hostPlatform())) return undefined;
  const image = context.records.named(name);
  // One that is still pulled will do for who would have started it so.
  const isWaitedFor = image !== undefined && lazy === false && context.records.underWay(image.id) !== undefined;
  return isWaitedFor ? undefined : image;
}

/** Of an image whose rest is pulled elsewhere; that goes on with what this client may have. */
function tellUnderWay({ context, credentials, progress }: Pull, { id }: ImageRecord): void {
  const underWay = context.records.underWay(id);
  if (underWay === undefined) return;
  progress.onProgress({ status: "It can be started; the rest of it is being pulled" });
  context.underWay.pull(underWay, credentials);
}

/** An image that is here stays until the operation's end, even if its record goes meanwhile. */
function claimed(context: ImageContext, scope: ClaimScope, image: ImageRecord | undefined): ImageRecord | undefined {
  if (image === undefined) return undefined;
  for (const { blob, chainId } of image.layers) {
    scope.claimChain(chainId);
    scope.noteBlob(blob.digest);
  }
  for (const digest of [image.id, image.manifest.digest]) scope.noteBlob(digest);
  return context.records.get(image.id);
}

async function admit(
  { context, progress }: Pull,
  repository: Repository,
  reference: Reference,
  digests: readonly string[],
  id: string,
): Promise<void> {
  await context.admit?.({ reference, digests, id, repository, signal: progress.signal });
}

function tellBeginning({ onProgress }: FlightProgress, reference: Reference): void {
  const { digest, domain, path, tag } = reference;
  // Docker leaves Docker Hub's `library/` where it is here.
  const id =
    digest === undefined ? (tag ?? "") : familiarString({ domain, path, ...(tag !== undefined && { tag }), digest });
  onProgress({ status: `Pulling from ${path}`, id });
}

/** The name that an image gets: a digest leaves no room for a tag. */
function ownName(reference: Reference): Reference {
  return reference.digest === undefined ? reference : byDigest(reference, reference.digest);
}

function byDigest({ domain, path }: Reference, digest: string): Reference {
  return { domain, path, digest };
}
