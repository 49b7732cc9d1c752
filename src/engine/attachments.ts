import { GantryError } from "../base/errors.ts";
import { RefusedError, UnreachableError } from "../remote/failure.ts";
import { addReferrers } from "../remote/referrer-index.ts";
import type { Repository } from "../remote/repository.ts";
import type { Waiting } from "../remote/settings.ts";
import { uploadBlob } from "../remote/upload.ts";
import type { AttachmentTarget } from "../trust/attach.ts";
import type { AttachmentSource } from "../trust/attached.ts";

/** A registry's repository as signatures are read from it. */
export function attachmentSource(repository: Repository, waiting: Waiting): AttachmentSource {
  return {
    manifest: async (tagOrDigest) => {
      try {
        const found = await sound(() => repository.manifest(tagOrDigest, waiting));
        if (found.kind === "image") return { digest: found.descriptor.digest, manifest: found.manifest };
        throw new GantryError("invalid", `${tagOrDigest} is an index`);
      } catch (error) {
        if (error instanceof RefusedError && error.status === 404) return undefined;
        throw error;
      }
    },
    bytes: async (digest) => (await sound(() => repository.manifest(digest, waiting))).bytes,
    document: (descriptor) => sound(() => repository.document(descriptor, waiting)),
    // All kinds: lists at tags often call what cosign puts there by another type than its own.
    referrers: (digest) => repository.referrers(digest, {}, waiting),
  };
}

/** A registry's repository as signatures are written to it. */
export function attachmentTarget(repository: Repository, waiting: Waiting): AttachmentTarget {
  return {
    ...attachmentSource(repository, waiting),
    putDocument: async ({ descriptor, bytes }) => {
      if ((await repository.hasBlob(descriptor.digest, waiting)) === bytes.length) return;
      const source = {
        size: bytes.length,
        digest: () => descriptor.digest,
        async *open(offset: number) {
          yield bytes.subarray(offset);
        },
      };
      await uploadBlob(repository, source, waiting);
    },
    putManifest: async (tag, { descriptor, bytes }) => {
      await repository.putManifest(tag, descriptor.mediaType, bytes, waiting);
    },
    putReferrer: async (subject, { bytes, descriptor }, entry) => {
      const { digest, mediaType } = descriptor;
      const { heedsSubject } = await repository.putManifest(digest, mediaType, bytes, waiting);
      if (!heedsSubject) await addReferrers(repository, subject, [entry], waiting);
    },
  };
}

/** What came and is not what its digest says is damage; only what didn't come may be had another time. */
async function sound<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const isDamage =
      error instanceof GantryError &&
      error.kind === "internal" &&
      !(error instanceof RefusedError || error instanceof UnreachableError);
    throw isDamage ? new GantryError("invalid", error.message, { cause: error }) : error;
  }
}
