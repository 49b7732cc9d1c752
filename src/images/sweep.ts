import { isKind } from "../base/errors.ts";
import type { ClaimScope } from "./claims.ts";
import { contentOf, type IndexRecord } from "./index-record.ts";
import type { ImageContext } from "./ports.ts";
import type { LayerRecord } from "./record.ts";

/** What of the disk an image, or an attempt at one, may have left: enough to look whether anybody needs it. */
export interface Remains {
  readonly id: string;
  readonly manifest: { readonly digest: string };
  readonly layers: readonly Pick<LayerRecord, "chainId" | "blob">[];
}

/**
 * Removes the snapshots and blobs of images and indexes that have no record any more, unless another image, an operation
 * under way or a container's snapshot needs them. Resolves with the chain ids that went, topmost first.
 */
export async function sweep(
  context: ImageContext,
  images: readonly Remains[],
  indexes: readonly IndexRecord[] = [],
): Promise<string[]> {
  const chains = images.flatMap((image) => image.layers.map(({ chainId }) => chainId).reverse());
  const blobs = images.flatMap((image) => [
    image.id,
    image.manifest.digest,
    ...image.layers.map(({ blob }) => blob.digest),
  ]);
  return sweepThings(context, chains, [...blobs, ...indexes.flatMap((index) => [...contentOf(index)])]);
}

/**
 * Runs an operation that writes blobs and snapshots before their record: what it leaves without one, because it failed
 * or because the image was there already, is removed at its end.
 */
export async function withClaims<T>(context: ImageContext, act: (scope: ClaimScope) => Promise<T>): Promise<T> {
  const scope = await context.claims.open();
  try {
    return await act(scope);
  } finally {
    scope[Symbol.dispose]();
    await sweepThings(context, scope.chains.toReversed(), scope.blobs);
  }
}

/** Gives up leases and removes what only they kept. Resolves with the chain ids that went. */
export async function sweepLeases(context: ImageContext, which: "expired" | "all"): Promise<string[]> {
  const dropped = context.leases.dropMany(which);
  if (dropped.length === 0) return [];
  const chains = dropped.flatMap((lease) => lease.chains.toReversed());
  return sweepThings(
    context,
    chains,
    dropped.flatMap(({ blobs }) => blobs),
  );
}

/** Like `sweep`, for chain ids (topmost first) and blobs. */
export async function sweepThings(
  context: ImageContext,
  chains: readonly string[],
  blobs: readonly string[],
): Promise<string[]> {
  const { claims, content, packed, records, snapshots, sources } = context;
  const removed: string[] = [];
  for (const chainId of new Set(chains)) {
    await claims.exclusively(chainId, async () => {
      if (claims.isClaimed(chainId) || records.chains().has(chainId) || kept(context).has(chainId)) return;
      if (snapshots.has(chainId) && (await removeSnapshot(context, chainId))) removed.push(chainId);
    });
  }
  await claims.removeBlobs(blobs, async (digest) => {
    if (records.blobs().has(digest) || kept(context).has(digest)) return;
    await content.delete(digest);
    sources.forget([digest]);
    packed.forget([digest]);
  });
  return removed;
}

async function removeSnapshot(context: ImageContext, chainId: string): Promise<boolean> {
  try {
    await context.snapshots.remove(chainId);
    return true;
  } catch (error) {
    // A container of an image that was removed by force still stands on it; the next collection takes it.
    if (isKind(error, "conflict")) return false;
    throw error;
  }
}

/** Blobs and snapshots that are needed without a record: unfinished pulls', builds', and what others keep. */
export function kept({ bases, keep, leases }: Pick<ImageContext, "bases" | "keep" | "leases">): ReadonlySet<string> {
  return new Set([...leases.needed(), ...bases.needed(), ...(keep?.() ?? [])]);
}
