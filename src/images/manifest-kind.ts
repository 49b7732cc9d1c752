import { type Descriptor, MEDIA_TYPE } from "../oci/image.ts";

/** Media types of documents that name manifests, and of those that name layers. */
export const INDEXES: ReadonlySet<string> = new Set([MEDIA_TYPE.ociIndex, MEDIA_TYPE.dockerManifestList]);
export const MANIFESTS: ReadonlySet<string> = new Set([MEDIA_TYPE.ociManifest, MEDIA_TYPE.dockerManifest]);

/** What images' configs were ever called; some tools' first versions had no better name for theirs. */
export const CONFIGS: ReadonlySet<string> = new Set([
  MEDIA_TYPE.ociConfig,
  MEDIA_TYPE.dockerConfig,
  "application/octet-stream",
  "",
]);

/**
 * True for what an index names as an image, or as an index of images. Attestations are manifests too: their platform is
 * unknown, or an annotation says what they are.
 */
export function isImageEntry({ annotations, artifactType, mediaType, platform }: Descriptor): boolean {
  if (annotations?.["vnd.docker.reference.type"] !== undefined) return false;
  if (artifactType !== undefined && !CONFIGS.has(artifactType)) return false;
  if (platform?.os === "unknown" && platform.architecture === "unknown") return false;
  return INDEXES.has(mediaType) || MANIFESTS.has(mediaType);
}
