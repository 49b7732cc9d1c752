import { GantryError } from "../base/errors.ts";
import type { Descriptor, Manifest, Platform } from "../oci/image.ts";
import { machinePlatform } from "../oci/machine-platform.ts";
import { choosePlatform, formatPlatform, hostPlatform } from "../oci/platform.ts";
import { familiarString, type Reference } from "../oci/reference.ts";
import type { ManifestDocument } from "../remote/document.ts";
import type { Repository } from "../remote/repository.ts";
import type { Waiting } from "../remote/settings.ts";
import { CONFIGS, INDEXES, isImageEntry } from "./manifest-kind.ts";

/** Indexes inside of indexes, and how many of them are looked into. */
const MAX_NESTING = 4;
const MOST_INDEXES = 16;
/** Platforms that an error names. */
const MOST_NAMED = 20;
const LAYER = /^application\/vnd\.(oci\.image\.layer|docker\.image\.rootfs)\./;

/** Where images' documents and layers are had: a registry's repository, or a folder that a client lends. */
export type ImageSource = Pick<Repository, "manifest" | "document" | "read" | "distrust">;

export type FetchedManifest = Extract<ManifestDocument, { kind: "image" }>;

export type FetchedIndex = Extract<ManifestDocument, { kind: "index" }>;

/**
 * Of an index the image for a platform, or the one that suits this machine best; of an image itself. Throws `not-found`
 * if there is none. Indexes inside of it that were looked into are added to `inner`.
 */
export async function chooseManifest(
  repository: Pick<ImageSource, "manifest">,
  document: ManifestDocument,
  platform: Platform | undefined,
  waiting: Waiting,
  inner: FetchedIndex[] = [],
): Promise<FetchedManifest> {
  if (document.kind === "image") return document;
  const wanted = formatPlatform(platform ?? hostPlatform());
  const search: Search = { repository, wanted, waiting, indexes: 0, images: [], inner };
  await gather(search, document.index.manifests, 1);
  const { images } = search;
  // What doesn't say its platform is looked into only where nothing else suits.
  const chosen =
    choosePlatform(images, platform ?? machinePlatform(), (entry) => entry.platform ?? undefined) ??
    images.find((entry) => entry.platform == null);
  if (chosen !== undefined) {
    const found = await fetchEntry(search, chosen);
    if (found.kind === "image") return found;
  }
  const offered = [
    ...new Set(images.flatMap((entry) => (entry.platform == null ? [] : [formatPlatform(entry.platform)]))),
  ];
  const named = offered.slice(0, MOST_NAMED).join(", ") + (offered.length > MOST_NAMED ? ", …" : "");
  throw new GantryError(
    "not-found",
    `no matching manifest for ${search.wanted} in the manifest list entries: ` +
      (named === "" ? "it has no image" : `there is one for ${plain(named)}`),
  );
}

interface Search {
  readonly repository: Pick<ImageSource, "manifest">;
  readonly wanted: string;
  readonly waiting: Waiting;
  /** Of the index and of those in it. */
  readonly images: Descriptor[];
  readonly inner: FetchedIndex[];
  indexes: number;
}

/** Indexes inside of indexes are asked for only where no image is for the very platform. */
async function gather(search: Search, descriptors: readonly Descriptor[], depth: number): Promise<void> {
  const entries = descriptors.filter(isImageEntry);
  search.images.push(...entries.filter(({ mediaType }) => !INDEXES.has(mediaType)));
  for (const entry of entries.filter(({ mediaType }) => INDEXES.has(mediaType))) {
    if (search.images.some(({ platform }) => platform != null && formatPlatform(platform) === search.wanted)) return;
    if (depth === MAX_NESTING || ++search.indexes > MOST_INDEXES) {
      throw new GantryError("invalid", "cannot use the manifest list: it is nested too deeply");
    }
    const document = await fetchEntry(search, entry);
    if (document.kind !== "index") continue;
    search.inner.push(document);
    await gather(search, document.index.manifests, depth + 1);
  }
}

async function fetchEntry({ repository, waiting }: Search, entry: Descriptor): Promise<ManifestDocument> {
  const document = await repository.manifest(entry.digest, waiting);
  const { mediaType, size } = document.descriptor;
  if (size !== entry.size) {
    throw new GantryError("invalid", `unexpected size of ${entry.digest}: ${size}, expected ${entry.size}`);
  }
  if (INDEXES.has(mediaType) !== INDEXES.has(entry.mediaType)) {
    const message = `cannot use ${entry.digest}: it is of type ${mediaType}, and its index says ${entry.mediaType}`;
    throw new GantryError("invalid", message);
  }
  return document;
}

/** Throws, in Docker's words and with the name, for a manifest of what is no image: charts, signatures, attestations. */
export function refuseArtifact(manifest: Manifest, reference: Reference): void {
  const { artifactType, config, layers } = manifest;
  if (!CONFIGS.has(config.mediaType)) throw unsupported(artifactType ?? config.mediaType, reference);
  for (const { mediaType } of layers) {
    if (mediaType.endsWith("+encrypted")) {
      const message = `cannot pull ${familiarString(reference)}: its layers are encrypted (${plain(mediaType)})`;
      throw new GantryError("unsupported", message);
    }
    if (!LAYER.test(mediaType) && !CONFIGS.has(mediaType)) throw unsupported(mediaType, reference);
  }
}

function unsupported(mediaType: string, reference: Reference): GantryError {
  return new GantryError(
    "unsupported",
    `unsupported media type ${plain(mediaType)}: ${familiarString(reference)} is an artifact and not an image`,
  );
}

function plain(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, 200);
}
