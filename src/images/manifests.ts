import type { ImageDescriptor, ImageManifestSummary } from "../api/image.ts";
import type { ImageUse } from "./image.ts";
import { type ImageRecord, sizeOf } from "./record.ts";

/** The manifest of an image, by content. */
export function descriptorOf({ manifest, config }: ImageRecord): ImageDescriptor {
  const { architecture, os, variant } = config;
  const { mediaType, digest, size } = manifest;
  return { mediaType, digest, size, platform: { architecture, os, ...(variant !== undefined && { variant }) } };
}

/** What `manifests` asks for: an image here has one, and all of its content. */
export function manifestsOf(
  image: ImageRecord,
  inUse: ReadonlyMap<string, readonly ImageUse[]>,
): ImageManifestSummary[] {
  const { platform, ...descriptor } = descriptorOf(image);
  const content = image.manifest.size + image.configSize + image.layers.reduce((sum, { blob }) => sum + blob.size, 0);
  const unpacked = sizeOf(image);
  return [
    {
      ID: descriptor.digest,
      Descriptor: descriptor,
      Available: true,
      Size: { Content: content, Total: content + unpacked },
      Kind: "image",
      ImageData: {
        Platform: platform ?? { architecture: "", os: "" },
        Containers: (inUse.get(image.id) ?? []).map(({ containerId }) => containerId),
        Size: { Unpacked: unpacked },
      },
    },
  ];
}
