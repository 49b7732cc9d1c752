import { GantryError } from "../base/errors.ts";
import type { Index, Platform } from "../oci/image.ts";
import { describe, parseImageConfig } from "../oci/image-config.ts";
import { choosePlatform, formatPlatform } from "../oci/platform.ts";
import { familiarString, formatReference, type Reference, repositoryOf } from "../oci/reference.ts";
import { fingerprint } from "../remote/credentials.ts";
import type { ManifestDocument } from "../remote/document.ts";
import type { Repository } from "../remote/repository.ts";
import { allTags } from "./all-tags.ts";
import { type ContentCopy, copyDocument, copyReferrers, hasManifest } from "./copy-content.ts";
import type { FlightProgress } from "./flights.ts";
import type { CopyOptions, PutManifestOptions } from "./image.ts";
import { isFor } from "./platform.ts";
import type { ImageContext } from "./ports.ts";
import { missingError } from "./pull-error.ts";
import { chooseManifest } from "./pull-manifest.ts";
import type { BlobPusher } from "./push-blob.ts";

type Context = Pick<ImageContext, "registries" | "takesForeignLayers" | "joinSignatures">;

/**
 * Copies what a name points to from one registry to another, or within one, through memory. The digest stays the same
 * unless platforms are chosen.
 */
export async function copyImages(
  context: Context,
  blobs: BlobPusher,
  from: Reference,
  to: Reference,
  options: CopyOptions,
  progress: FlightProgress,
): Promise<void> {
  const { credentialsOf, insecure } = options;
  const target = targetOf(from, to, options.allTags);
  const alsoFrom = from.domain === to.domain ? [from.path] : [];
  const skipsForeign = !(await context.takesForeignLayers(to.domain));
  const own = credentialsOf(to.domain);
  await context.registries.reading(
    from,
    credentialsOf(from.domain),
    (source) =>
      context.registries.writing(to, own, { alsoFrom, insecure }, async (repository) => {
        const client = fingerprint(own);
        const { joinSignatures } = context;
        const copy = {
          blobs,
          target: { repository, client },
          sources: [source],
          joinSignatures,
          skipsForeign,
          progress,
        };
        if (!options.allTags) return copyOne(copy, source, from, target, options);
        const tags = await named(from, allTags(source, from, "copy", { signal: progress.signal }));
        for (const tag of tags) await copyOne(copy, source, { ...from, tag }, { ...to, tag }, options);
      }),
    { insecure },
  );
}

/**
 * Puts a manifest that a client has made. What it names and the repository lacks is brought from the repositories of
 * `from`.
 */
export async function putManifest(
  context: Context,
  blobs: BlobPusher,
  reference: Reference,
  document: ManifestDocument,
  options: PutManifestOptions,
  progress: FlightProgress,
): Promise<void> {
  const { credentials, credentialsOf, from, insecure } = options;
  const { digest } = document.descriptor;
  if (reference.digest !== undefined && reference.digest !== digest) {
    throw new GantryError("invalid", `cannot put the manifest as ${reference.digest}: its digest is ${digest}`);
  }
  const skipsForeign = !(await context.takesForeignLayers(reference.domain));
  const client = fingerprint(credentials);
  const alsoFrom = from.filter(({ domain }) => domain === reference.domain).map(({ path }) => path);
  await context.registries.writing(reference, credentials, { alsoFrom, insecure }, (repository) =>
    readingAll(context, from, reference, options, credentialsOf, (sources) =>
      copyDocument(
        { blobs, target: { repository, client }, sources, skipsForeign, progress },
        document,
        reference.digest ?? reference.tag ?? digest,
      ),
    ),
  );
}

/** Opens all of these repositories for reading. */
async function readingAll(
  context: Context,
  [first, ...rest]: readonly Reference[],
  target: Reference,
  { credentials, insecure }: PutManifestOptions,
  credentialsOf: CopyOptions["credentialsOf"],
  act: (sources: Repository[]) => Promise<void>,
): Promise<void> {
  if (first === undefined) return act([]);
  const own = first.domain === target.domain ? credentials : credentialsOf(first.domain);
  const options = { credentials, credentialsOf, from: rest, insecure };
  return context.registries.reading(
    first,
    own,
    (source) => readingAll(context, rest, target, options, credentialsOf, (others) => act([source, ...others])),
    { insecure },
  );
}

/** The target's own tag, or else the source's; undefined tag and digest stand for the digest that is copied. */
function targetOf(from: Reference, to: Reference, allTags: boolean): Reference {
  const isNamed = (name: Reference): boolean => name.tag !== undefined || name.digest !== undefined;
  if (allTags && (isNamed(from) || isNamed(to))) {
    throw new GantryError("invalid", "tag can't be used with --all-tags/-a");
  }
  if (to.digest !== undefined) {
    throw new GantryError(
      "invalid",
      `cannot copy to ${familiarString(to)}: a digest is what the copy will have, not its name`,
    );
  }
  const { domain, path } = to;
  const tag = to.tag ?? from.tag;
  return { domain, path, ...(tag !== undefined && { tag }) };
}

/** A copy has two sides: what the source lacks is said with its name. */
async function named<T>(from: Reference, asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    throw missingError(error, from);
  }
}

async function copyOne(
  copy: ContentCopy,
  source: Repository,
  from: Reference,
  to: Reference,
  { platforms, signatures }: CopyOptions,
): Promise<void> {
  const { onProgress, signal } = copy.progress;
  const found = await named(from, source.manifest(from.digest ?? from.tag ?? "", { signal }));
  const document = await chosen(source, from, found, platforms, signal);
  const { digest, size } = document.descriptor;
  const name = to.tag ?? digest;
  const shown = to.tag === undefined ? `${repositoryOf(to)}@${digest}` : formatReference(to);
  onProgress({ status: `Copying from ${formatReference(from)} to ${shown}` });
  if (!(await hasManifest(copy, name, digest))) await copyDocument(copy, document, name);
  if (signatures) {
    const members = document.kind === "index" ? document.index.manifests : [];
    for (const each of [document.descriptor, ...members]) await copyReferrers(copy, each.digest);
  }
  onProgress({ status: `${to.tag ?? digest}: digest: ${digest} size: ${size}` });
  onProgress({ progressDetail: {}, aux: { Tag: to.tag ?? "", Digest: digest, Size: size } });
}

/** The image for one platform, or an index of those for several; all of it where none is named. */
async function chosen(
  source: Repository,
  from: Reference,
  document: ManifestDocument,
  platforms: readonly Platform[],
  signal: AbortSignal,
): Promise<ManifestDocument> {
  const [first] = platforms;
  if (first === undefined) return document;
  if (document.kind === "image") {
    const config = parseImageConfig(await source.document(document.manifest.config, { signal }, "image config"));
    const other = platforms.find((platform) => !isFor(config, platform));
    if (other === undefined) return document;
    const has = formatPlatform(config);
    throw new GantryError(
      "not-found",
      `cannot copy ${familiarString(from)} for ${formatPlatform(other)}: it is one image for ${has}`,
    );
  }
  if (platforms.length === 1) return chooseManifest(source, document, first, { signal });
  return partOf(document, from, platforms);
}

/** An index of some of its images, with what is attested of them; other fields stay. */
function partOf(
  document: Extract<ManifestDocument, { kind: "index" }>,
  from: Reference,
  platforms: readonly Platform[],
): ManifestDocument {
  const { manifests } = document.index;
  const wanted = new Set<string>();
  for (const platform of platforms) {
    const entry = choosePlatform(manifests, platform, (each) => each.platform);
    if (entry === undefined) {
      const named = manifests.flatMap((each) => (each.platform == null ? [] : [formatPlatform(each.platform)]));
      const offered = [...new Set(named)].slice(0, 20).join(", ");
      throw new GantryError(
        "not-found",
        `no matching manifest for ${formatPlatform(platform)} in the manifest list entries of ${familiarString(from)}: there is one for ${offered || "none"}`,
      );
    }
    wanted.add(entry.digest);
  }
  const index: Index = {
    ...document.index,
    manifests: manifests.filter(
      ({ annotations, digest }) => wanted.has(digest) || wanted.has(annotations?.["vnd.docker.reference.digest"] ?? ""),
    ),
  };
  const bytes = Buffer.from(JSON.stringify(index));
  return { kind: "index", index, bytes, descriptor: describe(document.descriptor.mediaType, bytes) };
}
