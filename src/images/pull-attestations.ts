import { isKind, messageOf } from "../base/errors.ts";
import type { Descriptor } from "../oci/image.ts";
import type { ClaimScope } from "./claims.ts";
import type { FlightProgress } from "./flights.ts";
import { type EntryContent, type IndexEntry, namedBlobs } from "./index-record.ts";
import type { ImageContext } from "./ports.ts";
import type { ImageSource } from "./pull-manifest.ts";

/** Attestations of one image that a pull brings, the blobs of one, and the bytes of all of them. */
const MOST = 4;
const MOST_BLOBS = 64;
const MOST_BYTES = 32 << 20;

/**
 * Fetches what an index attests of an image, by the digests of the manifests: small documents, so that what was pulled is
 * pushed as it came. An image is pulled without what can't be had of them.
 */
export async function fetchAttestations(
  context: ImageContext,
  scope: ClaimScope,
  repository: ImageSource,
  entries: readonly IndexEntry[],
  manifest: string,
  progress: FlightProgress,
): Promise<ReadonlyMap<string, EntryContent>> {
  const fetched = new Map<string, EntryContent>();
  let left = MOST_BYTES;
  for (const { descriptor } of entries.filter(({ about }) => about === manifest).slice(0, MOST)) {
    try {
      if (descriptor.size > left) continue;
      const document = await repository.manifest(descriptor.digest, progress);
      if (document.kind !== "image" || document.descriptor.size !== descriptor.size) continue;
      const blobs = namedBlobs(document.manifest);
      const size = blobs.reduce((sum, blob) => sum + blob.size, descriptor.size);
      if (size > left || blobs.length > MOST_BLOBS) continue;
      left -= size;
      for (const blob of blobs) await fetchBlob(context, scope, repository, blob, progress.signal);
      await context.content.writeBytes(document.bytes, { digest: descriptor.digest, role: "manifest" });
      scope.noteBlob(descriptor.digest);
      fetched.set(descriptor.digest, { blobs });
    } catch (error) {
      if (isKind(error, "cancelled")) throw error;
      context.log?.warn(`cannot pull the attestation ${descriptor.digest} of ${manifest}: ${messageOf(error)}`);
    }
  }
  return fetched;
}

async function fetchBlob(
  { content }: ImageContext,
  scope: ClaimScope,
  repository: ImageSource,
  blob: Descriptor,
  signal: AbortSignal,
): Promise<void> {
  const { digest, size } = blob;
  scope.noteBlob(digest);
  if (content.has(digest)) return;
  await content.write(repository.read(blob, 0, { signal }), { digest, size, signal });
}
