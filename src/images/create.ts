import { allOrFirst } from "../base/all-or-first.ts";
import { sha256Of } from "../oci/digest.ts";
import { type Descriptor, type ImageConfig, type Manifest, MEDIA_TYPE } from "../oci/image.ts";
import { describe } from "../oci/image-config.ts";
import type { ClaimScope } from "./claims.ts";
import type { ImageContext } from "./ports.ts";
import type { ImageRecord, LayerRecord } from "./record.ts";

export interface NewImage {
  /** The config's very bytes: their digest is the image's id. */
  readonly configBytes: Uint8Array;
  readonly config: ImageConfig;
  readonly layers: readonly LayerRecord[];
  /** The manifest it came with; without one it gets a manifest of the OCI's kind. */
  readonly manifestBytes?: Uint8Array;
  /** Of the manifest that it gets. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly parent?: string;
}

/** Layers of an image of Docker's kind may lie below those that were added here. */
const OCI_TYPES: Readonly<Record<string, string>> = {
  [MEDIA_TYPE.dockerLayer]: MEDIA_TYPE.ociLayer,
  [MEDIA_TYPE.dockerLayerGzip]: MEDIA_TYPE.ociLayerGzip,
};

/** Stores an image's documents, after its layers. The record that it resolves with is not added yet. */
export async function storeImage(context: ImageContext, scope: ClaimScope, image: NewImage): Promise<ImageRecord> {
  const { content } = context;
  const own = (): Uint8Array =>
    ownManifest(describe(MEDIA_TYPE.ociConfig, image.configBytes), layerBlobs(image.layers), image.annotations);
  const bytes = image.manifestBytes ?? own();
  const manifest = describe(mediaTypeOf(bytes), bytes);
  const id = sha256Of(image.configBytes);
  for (const digest of [id, manifest.digest]) scope.noteBlob(digest);
  // Both at once: each is synced.
  await allOrFirst([
    content.writeBytes(image.configBytes, { digest: id }),
    content.writeBytes(bytes, { digest: manifest.digest }),
  ]);
  return {
    id,
    config: image.config,
    configSize: image.configBytes.length,
    manifest,
    layers: image.layers,
    ...(image.annotations !== undefined && { annotations: image.annotations }),
    ...(image.parent !== undefined && { parent: image.parent }),
  };
}

/** The media type of a layer by its compression. */
export function layerMediaType(compression: string): string {
  if (compression === "none") return MEDIA_TYPE.ociLayer;
  return `${MEDIA_TYPE.ociLayer}+${compression}`;
}

/** The manifest of an image that came without one: of the OCI's kind, and of the same content always the same bytes. */
export function ownManifest(
  config: Descriptor,
  layers: readonly Descriptor[],
  annotations?: Readonly<Record<string, string>>,
): Buffer {
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config,
    layers: layers.map(({ mediaType, digest, size }) => ({
      mediaType: OCI_TYPES[mediaType] ?? mediaType,
      digest,
      size,
    })),
    ...(annotations !== undefined && { annotations }),
  };
  return Buffer.from(JSON.stringify(manifest));
}

/** True for an image whose manifest was made here. */
export function hasOwnManifest({ annotations, id, configSize, layers, manifest }: ImageRecord): boolean {
  const config = { mediaType: MEDIA_TYPE.ociConfig, digest: id, size: configSize };
  return sha256Of(ownManifest(config, layerBlobs(layers), annotations)) === manifest.digest;
}

function layerBlobs(layers: readonly LayerRecord[]): Descriptor[] {
  return layers.map(({ blob }) => blob);
}

function mediaTypeOf(manifest: Uint8Array): string {
  const { mediaType } = JSON.parse(Buffer.from(manifest).toString()) as Manifest;
  return mediaType ?? MEDIA_TYPE.ociManifest;
}
