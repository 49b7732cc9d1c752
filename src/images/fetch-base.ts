import { failpoint } from "../base/failpoint.ts";
import type { ImageConfig, Platform } from "../oci/image.ts";
import { formatReference, type Reference } from "../oci/reference.ts";
import type { Credentials } from "../remote/credentials.ts";
import type { FlightProgress } from "./flights.ts";
import type { ImageContext } from "./ports.ts";
import { pullError } from "./pull-error.ts";
import { describeImage, fetchImage, type PulledImage } from "./pull-image.ts";
import { chooseManifest, type ImageSource, refuseArtifact } from "./pull-manifest.ts";
import type { ImageRecord } from "./record.ts";
import { withClaims } from "./sweep.ts";

/** What is known of a base image before its layers are here. */
export interface DescribedBase {
  /** `sha256:…` of its config. */
  readonly id: string;
  readonly config: ImageConfig;
  /** What the name points to: an index, or the image's own manifest. */
  readonly digest: string;
  /** The image's own manifest. */
  readonly manifest: string;
  /** Makes sure of its layers. They stay until the builds' cache is pruned, or as long as an image has them. */
  fetch(progress: FlightProgress): Promise<ImageRecord>;
}

export interface BaseOptions {
  readonly platform: Platform;
  readonly credentials: Credentials;
}

/** Looks at a registry what a name is for a platform. The image gets no name here. */
export async function describeBase(
  context: ImageContext,
  reference: Reference,
  { credentials, platform }: BaseOptions,
  progress: FlightProgress,
): Promise<DescribedBase> {
  const { registries } = context;
  return registries.reading(reference, credentials, async (repository) => {
    const described = await describe(context, repository, reference, platform, progress, async (digests, id) => {
      await context.admit?.({ reference, digests, id, repository, signal: progress.signal });
    });
    const fetch = (later: FlightProgress) =>
      known(context, described.id, reference) ??
      registries.reading(reference, credentials, (again) => bring(context, again, reference, described.pulled, later));
    return { ...described, fetch };
  });
}

/** The same of an image that a client has in a folder of its own, by its digest. */
export async function describeLent(
  context: ImageContext,
  source: ImageSource,
  reference: Reference,
  platform: Platform,
  progress: FlightProgress,
): Promise<DescribedBase> {
  const described = await describe(context, source, reference, platform, progress, async () => {});
  const fetch = async (later: FlightProgress) =>
    known(context, described.id, reference) ?? bring(context, source, reference, described.pulled, later);
  return { ...described, fetch };
}

async function describe(
  context: ImageContext,
  source: ImageSource,
  reference: Reference,
  platform: Platform,
  progress: FlightProgress,
  admit: (digests: readonly string[], id: string) => Promise<void>,
) {
  const document = await documentOf(source, reference, progress);
  const chosen = await chooseManifest(source, document, platform, progress);
  refuseArtifact(chosen.manifest, reference);
  const { digest: id } = chosen.manifest.config;
  const { digest } = document.descriptor;
  const manifest = chosen.descriptor.digest;
  await admit([...new Set([digest, manifest])], id);
  const here = context.records.whole(id) ?? context.bases.get(id)?.image;
  // What is here was described when it came; its layers may have gone when they are wanted.
  const pulled = await describeImage(source, chosen, progress);
  return { id, config: here?.config ?? pulled.config, digest, manifest, pulled };
}

async function documentOf(source: ImageSource, reference: Reference, progress: FlightProgress) {
  try {
    return await source.manifest(reference.digest ?? reference.tag ?? "latest", progress);
  } catch (error) {
    throw pullError(error, reference);
  }
}

function known(context: ImageContext, id: string, reference: Reference): Promise<ImageRecord> | undefined {
  const image = context.records.whole(id);
  if (image !== undefined) return Promise.resolve(image);
  const base = context.bases.get(id);
  if (base === undefined) return undefined;
  context.bases.put(base.image, formatReference(reference));
  return Promise.resolve(base.image);
}

async function bring(
  context: ImageContext,
  source: ImageSource,
  reference: Reference,
  pulled: PulledImage,
  progress: FlightProgress,
): Promise<ImageRecord> {
  return withClaims(context, async (scope) => {
    const image = await fetchImage(context, scope, source, reference, pulled, progress);
    failpoint("images.base.fetched");
    context.bases.put(image, formatReference(reference));
    context.leases.drop(image.manifest.digest);
    return image;
  });
}
