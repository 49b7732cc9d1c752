import { GantryError } from "../base/errors.ts";
import type { Descriptor, Index, Manifest } from "../oci/image.ts";
import { INDEXES, isImageEntry } from "./manifest-kind.ts";

/** Entries of an index, with those of indexes inside of it. */
const MOST_ENTRIES = 4096;
const REFERENCE_TYPE = "vnd.docker.reference.type";
const REFERENCE_DIGEST = "vnd.docker.reference.digest";

/** A manifest that an index names. */
export interface IndexEntry {
  /** As the index has it. */
  readonly descriptor: Descriptor;
  readonly kind: "image" | "attestation" | "unknown";
  /** Of an attestation: digest of the manifest that it is about. */
  readonly about?: string;
  /** Id of the image that it is, where that has a record. */
  readonly image?: string;
  /** The config and the layers that its manifest names, where the manifest and all of them are here. */
  readonly blobs?: readonly Descriptor[];
}

/** An index, and what is here of the manifests that it names. */
export interface IndexRecord {
  readonly descriptor: Descriptor;
  /** Indexes inside of it whose documents are here. */
  readonly inner: readonly Descriptor[];
  /** Those of inner indexes in the place of these. */
  readonly entries: readonly IndexEntry[];
  /** Id of the image that this machine runs of it: one of the entries'. */
  readonly image: string;
  /** By the platform that was asked for at a registry: digest of the manifest that was chosen. */
  readonly chosen?: Readonly<Record<string, string>>;
}

/** What is here of an entry. */
export type EntryContent = Pick<IndexEntry, "image" | "blobs">;

/**
 * The entries of an index with those of the indexes inside of it, in their order. `innerOf` gives the latter's
 * documents, undefined for one that isn't here. Throws `invalid` for too many.
 */
export function entriesOf(index: Index, innerOf: (digest: string) => Index | undefined): IndexEntry[] {
  const entries: IndexEntry[] = [];
  const seen = new Set<string>();
  const add = (descriptors: readonly Descriptor[]): void => {
    for (const descriptor of descriptors) {
      const inner = INDEXES.has(descriptor.mediaType) ? innerOf(descriptor.digest) : undefined;
      if (inner === undefined) {
        if (entries.length === MOST_ENTRIES) {
          throw new GantryError("invalid", `cannot use the index: it names more than ${MOST_ENTRIES} manifests`);
        }
        entries.push(entryOf(descriptor));
      } else if (!seen.has(descriptor.digest)) {
        seen.add(descriptor.digest);
        add(inner.manifests);
      }
    }
  };
  add(index.manifests);
  return entries;
}

/** All that a manifest names. */
export function namedBlobs({ config, layers }: Manifest): Descriptor[] {
  return [config, ...layers].map(({ digest, mediaType, size }) => ({ mediaType, digest, size }));
}

/** The digests of all that is here of an index, documents included. */
export function* contentOf({ descriptor, entries, inner }: IndexRecord): Generator<string> {
  yield descriptor.digest;
  for (const { digest } of inner) yield digest;
  for (const entry of entries) {
    if (entry.blobs === undefined) continue;
    yield entry.descriptor.digest;
    for (const { digest } of entry.blobs) yield digest;
  }
}

/** Ids of the images that are here of an index, each once. */
export function imagesOf({ entries }: Pick<IndexRecord, "entries">): string[] {
  return [...new Set(entries.flatMap(({ image }) => image ?? []))];
}

/** True where all that an index names is here. */
export function isWhole({ entries }: IndexRecord): boolean {
  return entries.every(({ blobs }) => blobs !== undefined);
}

/** What is known of one index twice: what either has is there. */
export function merged(known: IndexRecord, added: IndexRecord): IndexRecord {
  const fuller = added.inner.length >= known.inner.length ? added : known;
  const before = new Map(known.entries.map((entry) => [entry.descriptor.digest, entry]));
  const after = new Map(added.entries.map((entry) => [entry.descriptor.digest, entry]));
  const entries = fuller.entries.map((entry): IndexEntry => {
    const { digest } = entry.descriptor;
    const image = after.get(digest)?.image ?? before.get(digest)?.image;
    const blobs = after.get(digest)?.blobs ?? before.get(digest)?.blobs;
    return { ...bare(entry), ...(image !== undefined && { image }), ...(blobs !== undefined && { blobs }) };
  });
  const chosen = { ...known.chosen, ...added.chosen };
  return { ...fuller, entries, image: added.image, ...(Object.keys(chosen).length > 0 && { chosen }) };
}

/** Without what is here of an image and of what is attested of it; undefined where no image is left. */
export function withoutImage(index: IndexRecord, id: string): IndexRecord | undefined {
  const gone = new Set(index.entries.flatMap(({ descriptor, image }) => (image === id ? descriptor.digest : [])));
  const entries = index.entries.map((entry) =>
    gone.has(entry.descriptor.digest) || gone.has(entry.about ?? "") ? bare(entry) : entry,
  );
  const [left] = imagesOf({ entries });
  if (left === undefined) return undefined;
  return { ...index, entries, image: index.image === id ? left : index.image };
}

function entryOf(descriptor: Descriptor): IndexEntry {
  const { annotations, digest, mediaType, platform, size } = descriptor;
  const own: Descriptor = {
    mediaType,
    digest,
    size,
    ...(platform != null && { platform }),
    ...(annotations != null && { annotations }),
  };
  if (isImageEntry(descriptor) && !INDEXES.has(mediaType)) return { descriptor: own, kind: "image" };
  const about = annotations?.[REFERENCE_DIGEST];
  if (annotations?.[REFERENCE_TYPE] !== "attestation-manifest" || about === undefined) {
    return { descriptor: own, kind: "unknown" };
  }
  return { descriptor: own, kind: "attestation", about };
}

function bare({ about, descriptor, kind }: IndexEntry): IndexEntry {
  return { descriptor, kind, ...(about !== undefined && { about }) };
}
