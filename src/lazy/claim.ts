import { isDigest } from "../oci/digest-format.ts";
import type { Descriptor } from "../oci/image.ts";

/** What a layer's annotations say of its table of contents; nothing of it is believed but the digest. */
export type TocClaim =
  | { readonly form: "estargz"; readonly digest: string }
  | {
      readonly form: "zstd:chunked";
      readonly digest: string;
      /** Of the compressed table in the blob. */
      readonly offset: number;
      readonly length: number;
      readonly plainLength: number;
    };

const ESTARGZ = "containerd.io/snapshot/stargz/toc.digest";
/** podman before 4.4 left out `github`. */
const CHUNKED = ["io.github.containers.zstd-chunked", "io.containers.zstd-chunked"];

/** Longest table of contents that is read, compressed and not. */
export const MAX_PACKED_TOC = 32 << 20;
export const MAX_TOC = 64 << 20;

/** Where a layer's table of contents is said to be; undefined for a layer without one. */
export function tocClaim({ annotations = {}, digest: blob, size }: Descriptor): TocClaim | undefined {
  if (!isDigest(blob)) return undefined;
  for (const prefix of CHUNKED) {
    const digest = annotations[`${prefix}.manifest-checksum`];
    const position = /^(\d{1,15}):(\d{1,15}):(\d{1,15}):1$/.exec(annotations[`${prefix}.manifest-position`] ?? "");
    if (digest === undefined || position === null || !isSha256(digest)) continue;
    const [offset = 0, length = 0, plainLength = 0] = position.slice(1).map(Number);
    if (offset < 8 || length === 0 || offset + length > size) return undefined;
    if (length > MAX_PACKED_TOC || plainLength > MAX_TOC) return undefined;
    return { form: "zstd:chunked", digest, offset, length, plainLength };
  }
  const digest = annotations[ESTARGZ];
  return digest !== undefined && isSha256(digest) ? { form: "estargz", digest } : undefined;
}

function isSha256(digest: string): boolean {
  return isDigest(digest) && digest.startsWith("sha256:");
}
