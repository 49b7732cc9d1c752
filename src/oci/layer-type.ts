import type { Descriptor } from "./image.ts";

/** Docker's and the OCI's media types of layers that may not be passed on: they lie where their URLs say. */
const FOREIGN = /^application\/vnd\.(docker\.image\.rootfs\.foreign\.diff|oci\.image\.layer\.nondistributable)\./;

/** True for a layer that registries don't keep unless they are told to. */
export function isForeign({ mediaType, urls }: Descriptor): boolean {
  return (urls?.length ?? 0) > 0 || FOREIGN.test(mediaType);
}
