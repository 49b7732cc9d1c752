import { GantryError } from "../base/errors.ts";
import type { Descriptor } from "../oci/image.ts";
import { describe } from "../oci/image-config.ts";
import { isForeign } from "../oci/layer-type.ts";
import type { ManifestDocument } from "../remote/document.ts";
import { RefusedError } from "../remote/failure.ts";
import { addReferrers } from "../remote/referrer-index.ts";
import type { Repository } from "../remote/repository.ts";
import { all } from "./all.ts";
import type { FlightProgress } from "./flights.ts";
import type { ImagePorts } from "./ports.ts";
import type { BlobPusher, PushTarget } from "./push-blob.ts";
import { shortId } from "./resolve.ts";

/** Indexes inside of indexes, signatures of signatures. */
const MAX_DEPTH = 6;
/** Things that refer to one manifest, or to those that do so. */
const MOST_REFERRERS = 1000;
/** Under these names cosign keeps what belongs to a manifest. */
const COSIGN = ["sig", "att", "sbom"];

export interface ContentCopy {
  readonly blobs: BlobPusher;
  readonly target: PushTarget;
  /** Where content is looked for, in this order. */
  readonly sources: readonly Repository[];
  readonly joinSignatures?: ImagePorts["joinSignatures"] | undefined;
  /** False where foreign layers are copied, too. */
  readonly skipsForeign: boolean;
  readonly progress: FlightProgress;
}

/**
 * Puts a manifest under a tag or its digest, after all that it names: blobs are mounted or sent through memory, the
 * manifests of an index come with what they name. What the target has is left out.
 */
export async function copyDocument(
  copy: ContentCopy,
  document: ManifestDocument,
  tagOrDigest: string,
  depth = 0,
): Promise<void> {
  const { heedsSubject } = await putDocument(copy, document, tagOrDigest, depth);
  const { subject } = document.kind === "image" ? document.manifest : document.index;
  if (subject == null || heedsSubject) return;
  const { signal } = copy.progress;
  await addReferrers(copy.target.repository, subject.digest, [referrerOf(document)], { signal });
}

async function putDocument(
  copy: ContentCopy,
  document: ManifestDocument,
  tagOrDigest: string,
  depth: number,
): Promise<{ readonly heedsSubject: boolean }> {
  if (depth > MAX_DEPTH) throw new GantryError("invalid", "cannot copy the index: it is nested too deeply");
  if (document.kind === "index") {
    for (const child of document.index.manifests) await copyManifest(copy, child, depth + 1);
  } else await copyBlobs(copy, [document.manifest.config, ...document.manifest.layers]);
  const { bytes, descriptor } = document;
  const { signal } = copy.progress;
  return copy.target.repository.putManifest(tagOrDigest, descriptor.mediaType, bytes, { signal });
}

/** What refers to a manifest: by the referrers API or its fallback, and by cosign's tags. */
export async function copyReferrers(
  copy: ContentCopy,
  digest: string,
  depth = 0,
  seen: Set<string> = new Set(),
): Promise<void> {
  const { progress, sources } = copy;
  // Lists at tags may name each other, and whatever else.
  if (seen.has(digest)) return;
  if (seen.size > MOST_REFERRERS) throw tooMany(digest);
  seen.add(digest);
  const waiting = { signal: progress.signal };
  for (const source of sources) {
    const referrers = depth < MAX_DEPTH ? await source.referrers(digest, {}, waiting) : [];
    if (referrers.length > MOST_REFERRERS) throw tooMany(digest);
    const entries: Descriptor[] = [];
    for (const referrer of referrers) {
      const entry = await putReferrer(copy, referrer, depth + 1);
      // A list at a tag may name what was removed since.
      if (entry === undefined) continue;
      entries.push(entry);
      await copyReferrers(copy, referrer.digest, depth + 1, seen);
    }
    await addMissingReferrers(copy, digest, entries);
    for (const kind of COSIGN) {
      const tag = `${digest.replace(":", "-")}.${kind}`;
      const found = await orUndefined(source.manifest(tag, waiting));
      if (found !== undefined) await copyTagged(copy, found, { kind, digest, tag }, depth + 1);
    }
  }
}

/** Signatures that the target has stay beside those that are brought. */
async function copyTagged(
  copy: ContentCopy,
  found: ManifestDocument,
  { digest, kind, tag }: { readonly digest: string; readonly kind: string; readonly tag: string },
  depth: number,
): Promise<void> {
  const { joinSignatures, progress, target } = copy;
  const there = await orUndefined(target.repository.resolve(tag, { signal: progress.signal }));
  if (there?.digest === found.descriptor.digest) return;
  const isJoined = there !== undefined && kind === "sig" && found.kind === "image";
  if (!isJoined || joinSignatures === undefined) return copyDocument(copy, found, tag, depth);
  await copyBlobs(copy, found.manifest.layers);
  await joinSignatures(target.repository, digest, found.manifest, { signal: progress.signal });
}

/**
 * Sees to it that the target says what refers to a manifest, also where it had that already and was never told so: what
 * it doesn't list itself goes into the index at the subject's tag, all at once.
 */
async function addMissingReferrers({ progress, target }: ContentCopy, subject: string, entries: readonly Descriptor[]) {
  if (entries.length === 0) return;
  const waiting = { signal: progress.signal };
  const listed = new Set((await target.repository.referrers(subject, {}, waiting)).map(({ digest }) => digest));
  const missing = entries.filter(({ digest }) => !listed.has(digest));
  await addReferrers(target.repository, subject, missing, waiting);
}

/** True if a tag or digest of the target is this very manifest. */
export async function hasManifest({ progress, target }: ContentCopy, tagOrDigest: string, digest: string) {
  const found = await orUndefined(target.repository.resolve(tagOrDigest, { signal: progress.signal }));
  return found?.digest === digest;
}

async function copyManifest(copy: ContentCopy, { digest }: Descriptor, depth: number): Promise<void> {
  if (!(await hasManifest(copy, digest, digest)))
    await copyDocument(copy, await findManifest(copy, digest), digest, depth);
}

/**
 * The same of what refers to another. Resolves with how it is to be listed, which is left to whoever calls; undefined if
 * it is nowhere.
 */
async function putReferrer(copy: ContentCopy, referrer: Descriptor, depth: number): Promise<Descriptor | undefined> {
  const { digest } = referrer;
  if (await hasManifest(copy, digest, digest)) return referrer;
  const document = await lookForManifest(copy, digest);
  if (document === undefined) return undefined;
  await putDocument(copy, document, digest, depth);
  return referrerOf(document);
}

async function findManifest(copy: ContentCopy, digest: string): Promise<ManifestDocument> {
  const found = await lookForManifest(copy, digest);
  if (found === undefined) throw nowhere(copy, digest);
  return found;
}

async function lookForManifest({ progress, sources }: ContentCopy, digest: string) {
  for (const source of sources) {
    const found = await orUndefined(source.manifest(digest, { signal: progress.signal }));
    if (found !== undefined) return found;
  }
  return undefined;
}

async function copyBlobs(copy: ContentCopy, descriptors: readonly Descriptor[]): Promise<void> {
  const { blobs, progress, skipsForeign, sources, target } = copy;
  const wanted = descriptors.filter((descriptor) => !(skipsForeign && isForeign(descriptor)));
  const distinct = [...new Map(wanted.map((descriptor) => [descriptor.digest, descriptor])).values()];
  await all(progress.signal, distinct, async (descriptor, signal) => {
    const row = shortId(descriptor.digest);
    if ((await target.repository.hasBlob(descriptor.digest, { signal })) !== undefined) {
      progress.onProgress({ status: "Layer already exists", progressDetail: {}, id: row });
      return;
    }
    const from = await ownerOf(sources, descriptor.digest, signal);
    if (from === undefined) throw nowhere(copy, descriptor.digest);
    await blobs.push(target, { descriptor, row, from }, { signal, onProgress: progress.onProgress });
  });
}

/** Of one repository it is expected; among several it is looked for. */
async function ownerOf(
  sources: readonly Repository[],
  digest: string,
  signal: AbortSignal,
): Promise<Repository | undefined> {
  if (sources.length === 1) return sources[0];
  for (const source of sources) if ((await source.hasBlob(digest, { signal })) !== undefined) return source;
  return undefined;
}

/** How an index of referrers names one (distribution spec, "Referrers Tag Schema"). */
function referrerOf(document: ManifestDocument): Descriptor {
  const { bytes, descriptor } = document;
  const { annotations, artifactType } = document.kind === "image" ? document.manifest : document.index;
  const type = artifactType || (document.kind === "image" ? document.manifest.config.mediaType : undefined);
  return {
    ...describe(descriptor.mediaType, bytes),
    ...(type !== undefined && { artifactType: type }),
    ...(annotations != null && { annotations }),
  };
}

async function orUndefined<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof RefusedError && error.status === 404) return undefined;
    throw error;
  }
}

function tooMany(digest: string): GantryError {
  return new GantryError("invalid", `cannot copy what refers to ${digest}: there are more than ${MOST_REFERRERS}`);
}

function nowhere({ sources }: ContentCopy, digest: string): GantryError {
  const names = sources.map(({ reference: { domain, path } }) => `${domain}/${path}`);
  return new GantryError(
    "invalid",
    `cannot put the manifest: it names ${digest}, which is neither there nor in ${names.join(", ") || "a repository that was named"}`,
  );
}
