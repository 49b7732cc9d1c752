import { GantryError } from "../base/errors.ts";
import type { Descriptor, Index, Manifest, Platform } from "../oci/image.ts";
import { describe, parseImageConfig, parseIndex, parseManifest } from "../oci/image-config.ts";
import { machinePlatform } from "../oci/machine-platform.ts";
import { choosePlatform, formatPlatform, hostPlatform } from "../oci/platform.ts";
import { parseNormalized, type Reference, tagNameOnly } from "../oci/reference.ts";
import type { ArchivedImage, ImageArchive } from "./archive.ts";
import { entriesOf, namedBlobs } from "./index-record.ts";
import type { IndexDocument } from "./keep-index.ts";
import { CONFIGS, INDEXES, isImageEntry, MANIFESTS } from "./manifest-kind.ts";

const NAME = "io.containerd.image.name";
const REF_NAME = "org.opencontainers.image.ref.name";
/** Indexes inside of one index. */
const MOST_INNER = 64;
/** Bytes of the manifests of one index, and of the configs that they name: they are held until all is loaded. */
const MOST_BYTES = 64 << 20;

/** Manifests of an archive that are kept without an image of theirs: attestations, other systems' images. */
export interface ArchivedManifest {
  readonly descriptor: Descriptor;
  readonly blobs: readonly Descriptor[];
}

/** An index of an archive with all that the archive has of it, read and not yet loaded. */
export interface ArchivedIndex {
  readonly document: IndexDocument;
  readonly inner: readonly IndexDocument[];
  /** By the digests of their manifests; at least one. */
  readonly images: ReadonlyMap<string, ArchivedImage>;
  readonly others: readonly ArchivedManifest[];
  /** Digest of the manifest that is meant where none suits this machine. */
  readonly first: string;
  readonly names: readonly Reference[];
}

export interface ArchivedLayout {
  readonly images: readonly ArchivedImage[];
  readonly indexes: readonly ArchivedIndex[];
}

/**
 * The images and indexes of an OCI image layout. Of several manifests of one name the one that suits this machine is
 * taken; of an index all that the archive has, or what is for the wanted platform.
 */
export async function readOciArchive(archive: ImageArchive, wanted?: Platform): Promise<ArchivedLayout> {
  const { manifests } = parseIndex(await archive.document("index.json"));
  const named = manifests.filter(isImageEntry);
  const byName = Map.groupBy(named, (descriptor) => nameOf(descriptor) ?? descriptor.digest);
  const found = new Map<string, { content: ArchivedImage | ArchivedIndex; names: Reference[] }>();
  for (const descriptors of byName.values()) {
    const descriptor = choose(descriptors, wanted);
    const [first] = descriptors;
    const name = first === undefined ? undefined : nameOf(first);
    const { digest } = descriptor;
    const content = found.get(digest)?.content ?? (await readContent(archive, descriptor, wanted));
    const entry = found.get(digest) ?? { content, names: [] };
    if (name !== undefined) entry.names.push(tagNameOnly(parseNormalized(name)));
    found.set(digest, entry);
  }
  if (found.size === 0) throw new GantryError("invalid", "cannot load the archive: its index.json names no image");
  const images: ArchivedImage[] = [];
  const indexes: ArchivedIndex[] = [];
  for (const { content, names } of found.values()) {
    if ("document" in content) indexes.push({ ...content, names });
    else images.push({ ...content, names });
  }
  return { images, indexes };
}

function choose(descriptors: readonly Descriptor[], wanted: Platform | undefined): Descriptor {
  const [only, ...more] = descriptors;
  const suits = wanted ?? machinePlatform();
  const chosen = more.length === 0 ? only : choosePlatform(descriptors, suits, ({ platform }) => platform);
  return chosen ?? refuse(wanted ?? hostPlatform(), descriptors);
}

function readContent(
  archive: ImageArchive,
  descriptor: Descriptor,
  wanted: Platform | undefined,
): Promise<ArchivedImage | ArchivedIndex> {
  return INDEXES.has(descriptor.mediaType) ? readIndex(archive, descriptor, wanted) : readImage(archive, descriptor);
}

async function readIndex(
  archive: ImageArchive,
  descriptor: Descriptor,
  wanted: Platform | undefined,
): Promise<ArchivedIndex> {
  const document = await readIndexDocument(archive, descriptor);
  const inner = new Map<string, IndexDocument>();
  await findInner(archive, document.index, inner);
  const entries = entriesOf(document.index, (digest) => inner.get(digest)?.index);
  const images = new Map<string, ArchivedImage>();
  const others: ArchivedManifest[] = [];
  const seen = new Set<string>();
  let left = MOST_BYTES;
  for (const entry of entries) {
    const { digest } = entry.descriptor;
    if (seen.has(digest)) continue;
    seen.add(digest);
    const found = await readEntry(archive, entry.descriptor);
    if (found === undefined) continue;
    const { config } = found.manifest;
    // Not every tool says of what is no image what it is.
    const isImage = entry.kind === "image" && CONFIGS.has(config.mediaType);
    left -= found.bytes + (isImage ? archive.stat(pathOf(config.digest)).size : 0);
    if (left < 0) {
      const why = `the documents that an index of it names have more than ${MOST_BYTES} bytes`;
      throw new GantryError("invalid", `cannot load the archive: ${why}`);
    }
    const image = isImage ? await readImage(archive, entry.descriptor) : undefined;
    // What another system runs is kept, as attestations are.
    if (image?.config.os === "linux") images.set(digest, image);
    else others.push({ descriptor: entry.descriptor, blobs: namedBlobs(found.manifest) });
  }
  const chosen =
    wanted === undefined ? undefined : choosePlatform([...images], wanted, ([, { config }]) => config)?.[0];
  const kept = wanted === undefined ? images : new Map([...images].filter(([digest]) => digest === chosen));
  const [first] = kept.keys();
  if (first === undefined) {
    refuse(
      wanted ?? hostPlatform(),
      entries.filter(({ kind }) => kind === "image").map((entry) => entry.descriptor),
    );
  }
  const about = new Map(entries.map((entry) => [entry.descriptor.digest, entry.about]));
  return {
    document,
    inner: [...inner.values()],
    images: kept,
    others: others.filter((one) => wanted === undefined || about.get(one.descriptor.digest) === chosen),
    first,
    names: [],
  };
}

async function readIndexDocument(archive: ImageArchive, descriptor: Descriptor): Promise<IndexDocument> {
  const bytes = await blob(archive, descriptor);
  return { descriptor: describe(descriptor.mediaType, bytes), bytes, index: parseIndex(bytes) };
}

/** Indexes inside of an index, as far as the archive has them. */
async function findInner(archive: ImageArchive, index: Index, inner: Map<string, IndexDocument>): Promise<void> {
  for (const descriptor of index.manifests) {
    const { digest, mediaType } = descriptor;
    if (!INDEXES.has(mediaType) || inner.has(digest) || !archive.has(pathOf(digest))) continue;
    if (inner.size === MOST_INNER) {
      throw new GantryError("invalid", `cannot load the archive: an index of it has more than ${MOST_INNER} inside`);
    }
    const document = await readIndexDocument(archive, descriptor);
    inner.set(digest, document);
    await findInner(archive, document.index, inner);
  }
}

/** A manifest of an index; undefined where the archive has not all that it names, as of other platforms. */
async function readEntry(
  archive: ImageArchive,
  descriptor: Descriptor,
): Promise<{ readonly manifest: Manifest; readonly bytes: number } | undefined> {
  if (!MANIFESTS.has(descriptor.mediaType) || !archive.has(pathOf(descriptor.digest))) return undefined;
  const bytes = await blob(archive, descriptor);
  const manifest = parseManifest(bytes);
  for (const { digest } of namedBlobs(manifest)) {
    if (!archive.has(pathOf(digest))) return undefined;
    if (archive.stat(pathOf(digest)).digest !== digest) throw corrupt(digest);
  }
  return { manifest, bytes: bytes.length };
}

function refuse(wanted: Platform, among: readonly Descriptor[]): never {
  const offered = among.map(({ platform }) => (platform == null ? "unknown" : formatPlatform(platform)));
  throw new GantryError(
    "invalid",
    `cannot load the archive: no image for ${formatPlatform(wanted)} among ${offered.join(", ") || "none"}`,
  );
}

async function readImage(archive: ImageArchive, descriptor: Descriptor): Promise<ArchivedImage> {
  const manifestBytes = await blob(archive, descriptor);
  const manifest = parseManifest(manifestBytes);
  const configBytes = await blob(archive, manifest.config);
  const config = parseImageConfig(configBytes);
  if (manifest.layers.length !== config.rootfs.diff_ids.length) {
    throw new GantryError("invalid", "layers from manifest don't match image configuration");
  }
  const layers = manifest.layers.map((layer) => {
    const file = pathOf(layer.digest);
    if (archive.stat(file).digest !== layer.digest) throw corrupt(layer.digest);
    return { file, descriptor: layer };
  });
  return { configBytes, config, layers, manifestBytes, names: [] };
}

async function blob(archive: ImageArchive, descriptor: Descriptor): Promise<Buffer> {
  const file = pathOf(descriptor.digest);
  if (archive.stat(file).digest !== descriptor.digest) throw corrupt(descriptor.digest);
  return archive.document(file);
}

/** Of the two annotations the OCI's may hold just a tag, which names nothing. */
function nameOf({ annotations }: Descriptor): string | undefined {
  const name = annotations?.[NAME];
  if (name !== undefined) return name;
  const reference = annotations?.[REF_NAME];
  return reference !== undefined && /[:/]/.test(reference) ? reference : undefined;
}

/** Where a layout has a blob. */
export function pathOf(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function corrupt(digest: string): GantryError {
  return new GantryError("invalid", `cannot load the archive: the bytes of ${digest} are others than its digest says`);
}
