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
  readonly parent?: string;
}

/** Stores an image's documents, after its layers. The record that it resolves with is not added yet. */
export async function storeImage(context: ImageContext, scope: ClaimScope, image: NewImage): Promise<ImageRecord> {
  const { content } = context;
  const bytes = image.manifestBytes ?? Buffer.from(JSON.stringify(manifestOf(image)));
  const manifest = describe(mediaTypeOf(bytes), bytes);
  const config = await content.writeBytes(image.configBytes, { digest: sha256Of(image.configBytes) });
  scope.noteBlob(config.digest);
  await content.writeBytes(bytes, { digest: manifest.digest });
  scope.noteBlob(manifest.digest);
  return {
    id: config.digest,
    config: image.config,
    configSize: config.size,
    manifest,
    layers: image.layers,
    ...(image.parent !== undefined && { parent: image.parent }),
  };
}

/** The media type of a layer by its compression. */
export function layerMediaType(compression: string): string {
  if (compression === "none") return MEDIA_TYPE.ociLayer;
  return `${MEDIA_TYPE.ociLayer}+${compression}`;
}

function manifestOf(image: NewImage): Manifest {
  return {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: describe(MEDIA_TYPE.ociConfig, image.configBytes),
    layers: image.layers.map(
      ({ blob }): Descriptor => ({
        mediaType: blob.mediaType,
        digest: blob.digest,
        size: blob.size,
      }),
    ),
  };
}

function mediaTypeOf(manifest: Uint8Array): string {
  const { mediaType } = JSON.parse(Buffer.from(manifest).toString()) as Manifest;
  return mediaType ?? MEDIA_TYPE.ociManifest;
}
