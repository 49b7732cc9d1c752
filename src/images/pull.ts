import { throwIfAborted } from "../base/abort.ts";
import { failpoint } from "../base/failpoint.ts";
import type { Platform } from "../oci/image.ts";
import { machinePlatform } from "../oci/machine-platform.ts";
import { choosePlatform, formatPlatform } from "../oci/platform.ts";
import { familiarName, familiarString, formatReference, type Reference, repositoryOf } from "../oci/reference.ts";
import { fingerprint } from "../remote/credentials.ts";
import type { ManifestDocument } from "../remote/document.ts";
import type { Repository } from "../remote/repository.ts";
import type { Waiting } from "../remote/settings.ts";
import { allTags } from "./all-tags.ts";
import type { ClaimScope } from "./claims.ts";
import type { FlightProgress } from "./flights.ts";
import type { PullOptions } from "./image.ts";
import { type EntryContent, entriesOf, type IndexRecord, namedBlobs } from "./index-record.ts";
import { keepIndex } from "./keep-index.ts";
import { startLazily } from "./lazy-start.ts";
import { isFor, otherPlatform } from "./platform.ts";
import type { ImageContext } from "./ports.ts";
import { retryText, SHOWN_MS } from "./progress-text.ts";
import { fetchAttestations } from "./pull-attestations.ts";
import { pullError } from "./pull-error.ts";
import { describeImage, fetchImage } from "./pull-image.ts";
import { chooseManifest, type FetchedIndex, type FetchedManifest, refuseArtifact } from "./pull-manifest.ts";
import type { ImageRecord, Naming, UnderWay } from "./record.ts";
import { dropLooseIndexes } from "./remove.ts";
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
    await dropLooseIndexes(context);
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
  if (known !== undefined && means(context, ownName(reference), target.digest, known)) {
    tellBeginning(progress, reference);
    await admit(pull, repository, reference, [target.digest], known.id);
    tellUnderWay(pull, known);
    progress.onProgress({ status: `Digest: ${target.digest}` });
    return { isNew: false, image: known };
  }
  return withClaims(context, (scope) => pullChanged(pull, scope, repository, reference, target));
}

/** Whether a name is the one of this index, or of an image that stands alone. */
function means({ records }: ImageContext, name: Reference, digest: string, image: ImageRecord): boolean {
  const index = records.indexNamed(name);
  return index === undefined ? records.named(name)?.id === image.id : index.descriptor.digest === digest;
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
  const wasWhole = known !== undefined && records.whole(known.id) !== undefined;
  let image = known;
  let underWay: UnderWay | undefined;
  let index: IndexRecord | undefined;
  const digests = [digest];
  if (image === undefined) {
    const document = target.document ?? (await manifestOf(pull, repository, reference, digest));
    tellBeginning(progress, reference);
    const inner: FetchedIndex[] = [];
    const chosen = await chooseManifest(repository, document, pull.platform, progress, inner);
    refuseArtifact(chosen.manifest, reference);
    if (document.kind === "index") digests.push(chosen.descriptor.digest);
    const { digest: id } = chosen.manifest.config;
    image = claimed(context, scope, context.records.whole(id));
    await admit(pull, repository, reference, digests, id);
    await using attestations = attestationsOf(pull, scope, repository, document, inner, chosen);
    if (image === undefined) {
      const pulled = await describeImage(repository, chosen, progress);
      const isAgain = records.underWay(id) !== undefined;
      if (pull.lazy !== false && !isAgain) {
        underWay = await startLazily(context, scope, repository, reference, pulled, { ...pull, ...progress });
      }
      image = underWay?.image ?? (await fetchImage(context, scope, repository, reference, pulled, progress));
    }
    if (document.kind === "index") {
      const here = new Map(await attestations.fetched);
      here.set(chosen.descriptor.digest, await imageContent(context, scope, image, chosen));
      const byPlatform = { [formatPlatform(pull.platform ?? machinePlatform())]: chosen.descriptor.digest };
      index = await keepIndex(context, scope, document, { inner, here, image: id, chosen: byPlatform });
    }
  } else {
    tellBeginning(progress, reference);
    await admit(pull, repository, reference, digests, image.id);
  }
  throwIfAborted(progress.signal);
  failpoint("images.pull.fetched");
  const { id } = image;
  const name = byDigest(reference, digest);
  const indexed = index?.descriptor.digest ?? records.indexNamed(name)?.descriptor.digest;
  const isOther = indexed !== undefined && known === undefined;
  const isNew = isOther || !means(context, ownName(reference), digest, image);
  const names: Naming[] = [[name, id, indexed]];
  if (reference.digest === undefined) names.push([reference, id, indexed]);
  const indexes = index === undefined ? [] : [index];
  const manifest = image.manifest.digest;
  if (underWay !== undefined && records.whole(id) === undefined) {
    records.addUnderWay(underWay, names, { indexes });
    failpoint("images.pull.recorded");
    context.underWay.pull(underWay, pull.credentials);
  } else {
    // One that is known stays what it is, be it whole or under way; one that was removed meanwhile is still here.
    const isAdded = known === undefined ? underWay === undefined : wasWhole;
    records.add(isAdded ? [image] : [], names, {
      indexes,
      also: () => context.leases.erase(manifest),
    });
    failpoint("images.pull.recorded");
    context.leases.drop(manifest);
    tellUnderWay(pull, image);
  }
  const blobs = image.layers.map(({ blob }) => blob.digest);
  if (known === undefined) context.sources.add([id, ...blobs], reference);
  progress.onProgress({ status: `Digest: ${digest}` });
  return { isNew, image };
}

/** Fetches what an index says of the image that was chosen of it; ended when it is disposed of. */
function attestationsOf(
  { context, progress }: Pull,
  scope: ClaimScope,
  repository: Repository,
  document: ManifestDocument,
  inner: readonly FetchedIndex[],
  chosen: FetchedManifest,
): AsyncDisposable & { readonly fetched: Promise<ReadonlyMap<string, EntryContent>> } {
  const ending = new AbortController();
  const own = { ...progress, signal: AbortSignal.any([progress.signal, ending.signal]) };
  const indexes = new Map(inner.map(({ descriptor, index }) => [descriptor.digest, index]));
  const entries = document.kind === "index" ? entriesOf(document.index, (digest) => indexes.get(digest)) : [];
  const fetched = fetchAttestations(context, scope, repository, entries, chosen.descriptor.digest, own);
  // Heard of where it is awaited; a pull that fails before has another failure to tell.
  fetched.catch(() => {});
  return {
    fetched,
    [Symbol.asyncDispose]: async () => {
      ending.abort();
      await fetched.catch(() => {});
    },
  };
}

/** An image that is here by another manifest may be so without the layers that this one names. */
async function imageContent(
  { content }: ImageContext,
  scope: ClaimScope,
  { id, manifest }: ImageRecord,
  { bytes, descriptor, manifest: named }: FetchedManifest,
): Promise<EntryContent> {
  const blobs = namedBlobs(named);
  if (manifest.digest === descriptor.digest) return { image: id, blobs };
  for (const { digest } of blobs) {
    scope.noteBlob(digest);
    if (!content.has(digest)) return { image: id };
  }
  await content.writeBytes(bytes, { digest: descriptor.digest, role: "manifest" });
  scope.noteBlob(descriptor.digest);
  return { image: id, blobs };
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

/** The image of a digest, for the platform that is asked for if the digest is an index's. */
function knownImage({ context, lazy, platform }: Pull, reference: Reference, digest: string): ImageRecord | undefined {
  const { records } = context;
  const name = byDigest(reference, digest);
  const wanted = platform ?? machinePlatform();
  const index = records.indexNamed(name);
  const chosenFor = records.platformOf(name);
  if (index === undefined && chosenFor !== undefined && chosenFor !== formatPlatform(wanted)) return undefined;
  const image = index === undefined ? records.named(name) : records.get(chosenImage(index, wanted) ?? "");
  // One that is still pulled will do for who would have started it so.
  const isWaitedFor = image !== undefined && lazy === false && records.underWay(image.id) !== undefined;
  return isWaitedFor ? undefined : image;
}

/** Of an index that was not pulled for a platform before, only what says that it is for such a machine. */
function chosenImage({ chosen, entries }: IndexRecord, wanted: Platform): string | undefined {
  const digest = chosen?.[formatPlatform(wanted)];
  if (digest !== undefined) return entries.find(({ descriptor }) => descriptor.digest === digest)?.image;
  const own = entries.filter(({ descriptor: { platform }, kind }) => {
    return kind === "image" && platform?.os === wanted.os && platform.architecture === wanted.architecture;
  });
  return choosePlatform(own, wanted, ({ descriptor }) => descriptor.platform)?.image;
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
