import type { ImageManifestSummary } from "../api/image.ts";
import type { ImageDescriptor } from "../api/image-descriptor.ts";
import type { ImageUse } from "./image.ts";
import { type IndexEntry, type IndexRecord, imagesOf } from "./index-record.ts";
import { type ImageRecord, type ImageRecords, sizeOf } from "./record.ts";

type Uses = ReadonlyMap<string, readonly ImageUse[]>;

/** What an image is by content: its manifest, or the index that it was chosen from. */
export function descriptorOf({ manifest, config }: ImageRecord, index?: IndexRecord): ImageDescriptor {
  if (index !== undefined) {
    const { digest, mediaType, size } = index.descriptor;
    return { mediaType, digest, size };
  }
  const { architecture, os, variant } = config;
  const { mediaType, digest, size } = manifest;
  return { mediaType, digest, size, platform: { architecture, os, ...(variant !== undefined && { variant }) } };
}

/** The manifest of an image as an index names it, if that has it. */
export function manifestIn(image: ImageRecord, index: IndexRecord | undefined): ImageDescriptor {
  const own = descriptorOf(image);
  const entry = index?.entries.find((each) => each.kind === "image" && each.image === image.id);
  if (entry === undefined) return own;
  const { digest, mediaType, size } = entry.descriptor;
  return { ...own, mediaType, digest, size };
}

/** What `manifests` asks for: an image that stands alone has one, and all of its content. */
export function manifestsOf(
  records: ImageRecords,
  image: ImageRecord,
  index: IndexRecord | undefined,
  inUse: Uses,
): ImageManifestSummary[] {
  if (index !== undefined) return index.entries.map((entry) => summaryOf(records, entry, inUse));
  const { platform, ...descriptor } = descriptorOf(image);
  const content = image.manifest.size + image.configSize + image.layers.reduce((sum, { blob }) => sum + blob.size, 0);
  return [imageSummary(descriptor, true, content, platform ?? { architecture: "", os: "" }, image, inUse)];
}

/** Bytes that the images of an index unpack to, layers that they share once. */
export function sizeOfIndex(records: ImageRecords, index: IndexRecord): number {
  const sizes = new Map<string, number>();
  for (const { chainId, size } of layersOf(records, index)) sizes.set(chainId, size);
  return sizes.values().reduce((sum, size) => sum + size, 0);
}

/** The layers of all images that are here of an index. */
export function layersOf(records: ImageRecords, index: IndexRecord): ImageRecord["layers"] {
  return imagesOf(index).flatMap((id) => records.get(id)?.layers ?? []);
}

/** How many containers there are of the images of an index. */
export function containersOf(index: IndexRecord, inUse: Uses): number {
  return imagesOf(index).reduce((sum, id) => sum + (inUse.get(id)?.length ?? 0), 0);
}

function summaryOf(records: ImageRecords, entry: IndexEntry, inUse: Uses): ImageManifestSummary {
  const { about, blobs, descriptor, kind } = entry;
  const image = entry.image === undefined ? undefined : records.get(entry.image);
  // What is pulled while it can be started is not whole yet.
  const isHere = blobs !== undefined && (image === undefined || records.underWay(image.id) === undefined);
  const content = isHere ? descriptor.size + blobs.reduce((sum, { size }) => sum + size, 0) : 0;
  if (kind === "image") {
    const platform = descriptor.platform ?? image?.config ?? { architecture: "", os: "" };
    return imageSummary(descriptor, isHere, content, platform, image, inUse);
  }
  return {
    ID: descriptor.digest,
    Descriptor: descriptor,
    Available: isHere,
    Size: { Content: content, Total: content },
    Kind: kind,
    ...(about !== undefined && { AttestationData: { For: about } }),
  };
}

function imageSummary(
  descriptor: ImageDescriptor,
  isHere: boolean,
  content: number,
  { architecture, os, variant, ...rest }: NonNullable<ImageDescriptor["platform"]>,
  image: ImageRecord | undefined,
  inUse: Uses,
): ImageManifestSummary {
  const unpacked = image === undefined ? 0 : sizeOf(image);
  const version = rest["os.version"];
  return {
    ID: descriptor.digest,
    Descriptor: descriptor,
    Available: isHere,
    Size: { Content: content, Total: content + unpacked },
    Kind: "image",
    ImageData: {
      Platform: {
        architecture,
        os,
        ...(version !== undefined && { "os.version": version }),
        ...(variant !== undefined && { variant }),
      },
      Containers: (inUse.get(image?.id ?? "") ?? []).map(({ containerId }) => containerId),
      Size: { Unpacked: unpacked },
    },
  };
}
