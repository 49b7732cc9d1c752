import { statSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import type { PlannedLayer, PullPlan } from "../api/registry.ts";
import type { Descriptor } from "../oci/image.ts";
import { formatPlatform } from "../oci/platform.ts";
import { familiarString, type Reference, tagNameOnly } from "../oci/reference.ts";
import { type RateLimit, rateLimitOf } from "../remote/rate-limit.ts";
import type { PullOptions } from "./image.ts";
import type { ImageContext } from "./ports.ts";
import { pullError } from "./pull-error.ts";
import { describeImage } from "./pull-image.ts";
import { chooseManifest, refuseArtifact } from "./pull-manifest.ts";

/**
 * What a pull of the image would download, and what of it is here. It asks for the image's documents as the pull does
 * and refuses what that would; nothing is kept.
 */
export async function planPull(
  context: ImageContext,
  name: Reference,
  { credentials, platform }: Pick<PullOptions, "credentials" | "platform">,
  signal: AbortSignal,
): Promise<PullPlan> {
  const reference = tagNameOnly(name);
  let rateLimit: RateLimit | undefined;
  const onManifest = (headers: IncomingHttpHeaders): void => {
    rateLimit = rateLimitOf(headers) ?? rateLimit;
  };
  const waiting = { signal, onProgress: () => {}, onManifest };
  return context.registries.reading(reference, credentials, async (repository) => {
    const document = await repository.manifest(reference.digest ?? reference.tag ?? "", waiting).catch((error) => {
      throw pullError(error, reference);
    });
    const { digest } = document.descriptor;
    const chosen = await chooseManifest(repository, document, platform, waiting);
    refuseArtifact(chosen.manifest, reference);
    const { digest: id } = chosen.manifest.config;
    const digests = [...new Set([digest, chosen.descriptor.digest])];
    await context.admit?.({ reference, digests, id, repository, signal, isTrial: true });
    const { config, wishes } = await describeImage(repository, chosen, waiting);
    const layers = plannedLayers(
      context,
      wishes.map(({ descriptor }) => descriptor),
    );
    return {
      Name: familiarString(reference),
      Digest: digest,
      ImageID: id,
      Platform: formatPlatform(config),
      Here: context.records.whole(id) !== undefined,
      Size: sum(layers.map(({ Size }) => Size)),
      Missing: sum(layers.map(({ Missing }) => Missing)),
      Layers: layers,
      ...(rateLimit !== undefined && { RateLimit: shownLimit(rateLimit) }),
    };
  });
}

/** Each layer once, though an image may have it twice. */
function plannedLayers(context: ImageContext, layers: readonly Descriptor[]): PlannedLayer[] {
  const sizes = new Map(layers.map(({ digest, size }) => [digest, size]));
  return [...sizes].map(([digest, size]) => ({
    Digest: digest,
    Size: size,
    Missing: context.content.has(digest) ? 0 : Math.max(0, size - partialSize(context, digest)),
  }));
}

/** What a pull that failed has left of a layer: the next goes on from there. */
function partialSize({ content }: ImageContext, digest: string): number {
  return statSync(content.locatePartial(digest), { throwIfNoEntry: false })?.size ?? 0;
}

function shownLimit({ limit, remaining, seconds }: RateLimit): PullPlan["RateLimit"] {
  return { Limit: limit, Remaining: remaining, Seconds: seconds };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
