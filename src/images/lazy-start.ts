import { isKind, messageOf } from "../base/errors.ts";
import type { LentLayer, WantedLayer } from "../lazy/lazy-layers.ts";
import { formatReference, type Reference } from "../oci/reference.ts";
import type { Credentials } from "../remote/credentials.ts";
import type { Repository } from "../remote/repository.ts";
import type { ClaimScope } from "./claims.ts";
import { storeImage } from "./create.ts";
import type { FlightProgress } from "./flights.ts";
import type { ImageContext, LayerWish } from "./ports.ts";
import { fetchLayers, holdLease, type PulledImage } from "./pull-image.ts";
import type { ImageRecord, UnderWay } from "./record.ts";
import { shortId } from "./resolve.ts";

/** Bytes of layers, compressed, below which there is nothing to gain. */
const LEAST = 4 << 20;

type Wish = Omit<LayerWish, "parentReady">;

/**
 * Makes an image usable before its topmost layers are whole, if they have tables of contents and this engine serves such
 * layers; those below are fetched. Undefined where it isn't to be: then it is pulled as any other.
 */
export async function startLazily(
  context: ImageContext,
  scope: ClaimScope,
  repository: Repository,
  reference: Reference,
  pulled: PulledImage,
  options: FlightProgress & { readonly credentials: Credentials },
): Promise<UnderWay | undefined> {
  const { lazy, underWay } = context;
  if (lazy === undefined || lazy.refusal !== undefined || context.snapshots.driver !== "overlay2") return undefined;
  const { config, configBytes, fetched, wishes } = pulled;
  const first = firstServed(context, wishes);
  const served = wishes.slice(first);
  if (served.reduce((sum, { descriptor }) => sum + descriptor.size, 0) < LEAST) return undefined;
  using _lease = holdLease(context, reference, pulled);
  const byManifest: Reference = { domain: reference.domain, path: reference.path, digest: fetched.descriptor.digest };
  const from = { reference: formatReference(byManifest), credentials: options.credentials };
  // What is below is needed in any case: both go on side by side, and what fails of it fails the pull.
  const below = fetchLayers(context, scope, repository, wishes.slice(0, first), options);
  below.catch(() => {});
  using held = underWay.hold(served.map(({ chainId }) => chainId));
  let lent: LentLayer[];
  try {
    lent = await Promise.all(served.map((wish) => lazy.serve(wantedLayer(context, wish, from), options)));
  } catch (error) {
    if (isKind(error, "cancelled")) throw error;
    await below;
    options.onProgress({ status: `Not starting before it is whole: ${messageOf(error)}` });
    return undefined;
  }
  const layers = [
    ...(await below),
    ...served.map(({ chainId, descriptor, diffId }, index) => {
      scope.claimChain(chainId);
      scope.noteBlob(descriptor.digest);
      return { blob: descriptor, diffId, chainId, size: lent[index]!.size };
    }),
  ];
  const image: ImageRecord = await storeImage(context, scope, {
    configBytes,
    config,
    layers,
    manifestBytes: fetched.bytes,
  });
  for (const { descriptor } of served) {
    options.onProgress({ status: "Starting lazily", progressDetail: {}, id: shortId(descriptor.digest) });
  }
  held.lend(image, lent);
  return { image, reference: from.reference, served: served.map(({ chainId }) => chainId) };
}

export function wantedLayer(
  { content }: ImageContext,
  { chainId, descriptor }: Pick<Wish, "chainId" | "descriptor">,
  from: Pick<WantedLayer, "credentials" | "reference">,
): WantedLayer {
  const { digest } = descriptor;
  return {
    ...from,
    chainId,
    blob: descriptor,
    blobPath: content.locate(digest),
    partialPath: content.locatePartial(digest),
  };
}

/** Layers are served from the top down to the first that is here or has no table of contents. */
function firstServed({ lazy, snapshots }: ImageContext, wishes: readonly Wish[]): number {
  const last = wishes.findLastIndex(
    ({ chainId, descriptor }) => snapshots.has(chainId) || lazy?.canServe(descriptor) !== true,
  );
  return last + 1;
}
