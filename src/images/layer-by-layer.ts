import { GantryError } from "../base/errors.ts";
import { decompress } from "../oci/compression.ts";
import type { ImageContext, LayerSource, LayerWish } from "./ports.ts";
import type { LayerRecord } from "./record.ts";
import { commitLayer, digestOf, unpackWhile } from "./unpack.ts";

const AT_ONCE = 3;

/** Layers that are downloaded side by side and then unpacked one upon the other. */
export function layerByLayer(context: Pick<ImageContext, "content" | "snapshots" | "claims" | "records">): LayerSource {
  let busy = 0;
  const waiting: (() => void)[] = [];
  const isHere = ({ chainId, descriptor }: LayerWish): boolean =>
    context.snapshots.has(chainId) && context.content.has(descriptor.digest);
  return {
    async fetch(scope, wish, open, { onProgress, signal = new AbortController().signal }): Promise<LayerRecord> {
      const { chainId, descriptor, diffId, parent } = wish;
      const { digest, size: total } = descriptor;
      scope.claimChain(chainId);
      scope.noteBlob(digest);
      const record = (size: number): LayerRecord => ({ blob: descriptor, diffId, chainId, size });
      if (isHere(wish)) {
        onProgress?.("exists", total, total);
        return record(await context.snapshots.usage(chainId));
      }
      if (busy >= AT_ONCE) {
        onProgress?.("waiting", 0, total);
        await new Promise<void>((resolve) => waiting.push(resolve));
      } else busy++;
      try {
        await context.content.write(open(descriptor, 0, signal), {
          digest,
          size: total,
          signal,
          onProgress: (bytes) => onProgress?.("downloading", bytes, total),
        });
      } finally {
        const next = waiting.shift();
        if (next === undefined) busy--;
        else next();
      }
      onProgress?.("verifying", total, total);
      onProgress?.("downloaded", total, total);
      await wish.parentReady;
      onProgress?.("extracting", 0, total);
      if (context.snapshots.has(chainId)) {
        onProgress?.("done", total, total);
        return record(await context.snapshots.usage(chainId));
      }
      const { stream } = await decompress(context.content.open(digest));
      const unpacked = await unpackWhile(context as ImageContext, parent, stream, digestOf, signal);
      if (unpacked.result.digest !== diffId) {
        await context.snapshots.remove(unpacked.key);
        throw new GantryError("invalid", "layers from manifest don't match image configuration");
      }
      const size = await commitLayer(context as ImageContext, scope, chainId, unpacked);
      onProgress?.("extracting", total, total);
      onProgress?.("done", total, total);
      return record(size);
    },
  };
}
