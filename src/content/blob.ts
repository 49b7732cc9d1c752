import type { Digest } from "../oci/digest.ts";

export interface Blob {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}
