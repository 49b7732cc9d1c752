import { failpoint } from "../base/failpoint.ts";
import { Gate } from "../base/gate.ts";
import type { Descriptor } from "../oci/image.ts";
import { isForeign } from "../oci/layer-type.ts";
import { familiarName, familiarString, type Reference } from "../oci/reference.ts";
import { type Credentials, fingerprint } from "../remote/credentials.ts";
import { RefusedError } from "../remote/failure.ts";
import { all } from "./all.ts";
import type { FlightProgress } from "./flights.ts";
import type { ImageContext } from "./ports.ts";
import type { BlobPusher } from "./push-blob.ts";

const MOST_QUESTIONS = 6;
const MOST_LENDERS = 8;

/** What is to be at a registry. */
export interface BuiltContent {
  /** Those that the registry lacks are in the content store. */
  readonly blobs: readonly Descriptor[];
  /** Manifests, those that are named before those that name them; the last gets the tag. */
  readonly manifests: readonly { readonly descriptor: Descriptor; readonly bytes: Uint8Array }[];
}

export interface PushBuiltOptions {
  readonly credentials: Credentials;
  /** The registry may be without TLS. */
  readonly insecure: boolean;
  /** Puts it under its digest alone. */
  readonly byDigest: boolean;
  /** Digests of blobs that another repository of the registry may have. */
  readonly shared: readonly string[];
  /** False for what is no image, of which no event tells. */
  readonly isImage: boolean;
  readonly onManifest?: () => void;
}

/** Puts what was built into a registry, after all that it names. Resolves with the descriptor of the topmost manifest. */
export async function pushBuilt(
  context: ImageContext,
  blobs: BlobPusher,
  reference: Reference,
  options: PushBuiltOptions,
  progress: FlightProgress,
  build: (isThere: (digest: string) => Promise<boolean>) => Promise<BuiltContent>,
): Promise<Descriptor> {
  const { credentials, insecure, shared } = options;
  const { events, registries, sources, takesForeignLayers } = context;
  const { signal } = progress;
  const lenders = shared.flatMap((digest) => blobs.lender({ reference }, digest) ?? []);
  const alsoFrom = [...new Set(lenders)].slice(0, MOST_LENDERS);
  const skipsForeign = !(await takesForeignLayers(reference.domain));
  const top = await registries.writing(reference, credentials, { alsoFrom, insecure }, async (repository) => {
    const target = { repository, client: fingerprint(credentials) };
    const questions = new Gate(MOST_QUESTIONS);
    const isThere = async (digest: string): Promise<boolean> => {
      try {
        return await questions.run(async () => (await repository.hasBlob(digest, { signal })) !== undefined);
      } catch (error) {
        // What it thinks of an upload it says in words.
        if (error instanceof RefusedError && error.status < 500 && error.status !== 429) return false;
        throw error;
      }
    };
    const content = await build(isThere);
    const wanted = content.blobs.filter((blob) => !(skipsForeign && isForeign(blob)));
    const distinct = [...new Map(wanted.map((blob) => [blob.digest, blob])).values()];
    await all(signal, distinct, async (descriptor, own) => {
      if (await isThere(descriptor.digest)) return;
      await blobs.push(target, { descriptor, row: undefined, from: "store" }, { signal: own, onProgress: () => {} });
    });
    failpoint("images.push.uploaded");
    options.onManifest?.();
    for (const [index, { bytes, descriptor }] of content.manifests.entries()) {
      const isTop = index === content.manifests.length - 1;
      const tag = isTop && !options.byDigest ? (reference.tag ?? descriptor.digest) : descriptor.digest;
      await repository.putManifest(tag, descriptor.mediaType, bytes, { signal });
    }
    sources.add(
      distinct.map(({ digest }) => digest),
      reference,
    );
    return content.manifests.at(-1)!.descriptor;
  });
  if (options.isImage) {
    const attributes = { name: familiarName(reference) };
    events.publish({ type: "image", action: "push", id: familiarString(reference), attributes });
  }
  return top;
}
