import { GantryError } from "../base/errors.ts";
import { type Descriptor, MEDIA_TYPE, type Platform } from "../oci/image.ts";
import { parseImageConfig, parseIndex, parseManifest } from "../oci/image-config.ts";
import { choosePlatform, formatPlatform, hostPlatform } from "../oci/platform.ts";
import { parseNormalized, type Reference, tagNameOnly } from "../oci/reference.ts";
import type { ArchivedImage, ImageArchive } from "./archive.ts";

const NAME = "io.containerd.image.name";
const REF_NAME = "org.opencontainers.image.ref.name";
const MAX_NESTING = 4;
const INDEXES: ReadonlySet<string> = new Set([MEDIA_TYPE.ociIndex, MEDIA_TYPE.dockerManifestList]);
const MANIFESTS: ReadonlySet<string> = new Set([MEDIA_TYPE.ociManifest, MEDIA_TYPE.dockerManifest]);

/**
 * The images of an OCI image layout. Of an index of several platforms the one that suits this machine is taken; what
 * isn't an image (attestations, other artifacts) is passed over.
 */
export async function readOciArchive(archive: ImageArchive, wanted?: Platform): Promise<ArchivedImage[]> {
  const { manifests } = parseIndex(await archive.document("index.json"));
  const byName = Map.groupBy(manifests.filter(isImage), (descriptor) => nameOf(descriptor) ?? descriptor.digest);
  const images = new Map<string, { image: ArchivedImage; names: Reference[] }>();
  for (const descriptors of byName.values()) {
    const descriptor = await choose(archive, descriptors, 0, wanted);
    const [first] = descriptors;
    const name = first === undefined ? undefined : nameOf(first);
    const entry = images.get(descriptor.digest) ?? { image: await readImage(archive, descriptor), names: [] };
    if (name !== undefined) entry.names.push(tagNameOnly(parseNormalized(name)));
    images.set(descriptor.digest, entry);
  }
  if (images.size === 0) throw new GantryError("invalid", "cannot load the archive: its index.json names no image");
  return [...images.values()].map(({ image, names }) => ({ ...image, names }));
}

async function choose(
  archive: ImageArchive,
  descriptors: readonly Descriptor[],
  depth: number,
  wanted: Platform | undefined,
): Promise<Descriptor> {
  const host = wanted ?? hostPlatform();
  const [only] = descriptors;
  const chosen =
    descriptors.length === 1 && (depth === 0 || only?.platform == null)
      ? only
      : choosePlatform(descriptors, host, ({ platform }) => platform);
  if (chosen === undefined) {
    const offered = descriptors.map(({ platform }) => (platform == null ? "unknown" : formatPlatform(platform)));
    throw new GantryError(
      "invalid",
      `cannot load the archive: no image for ${formatPlatform(host)} among ${offered.join(", ") || "none"}`,
    );
  }
  if (!INDEXES.has(chosen.mediaType)) return chosen;
  if (depth === MAX_NESTING)
    throw new GantryError("invalid", "cannot load the archive: its indexes are nested too deeply");
  const { manifests } = parseIndex(await blob(archive, chosen));
  return choose(archive, manifests.filter(isImage), depth + 1, wanted);
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

function isImage(descriptor: Descriptor): boolean {
  if (descriptor.annotations?.["vnd.docker.reference.type"] !== undefined) return false;
  return INDEXES.has(descriptor.mediaType) || MANIFESTS.has(descriptor.mediaType);
}

/** Of the two annotations the OCI's may hold just a tag, which names nothing. */
function nameOf({ annotations }: Descriptor): string | undefined {
  const name = annotations?.[NAME];
  if (name !== undefined) return name;
  const reference = annotations?.[REF_NAME];
  return reference !== undefined && /[:/]/.test(reference) ? reference : undefined;
}

function pathOf(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function corrupt(digest: string): GantryError {
  return new GantryError("invalid", `cannot load the archive: the bytes of ${digest} are others than its digest says`);
}
