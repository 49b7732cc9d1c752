import { GantryError } from "../base/errors.ts";
import { type Descriptor, MEDIA_TYPE, type Platform } from "../oci/image.ts";
import {
  familiarName,
  familiarString,
  formatReference,
  parseNormalized,
  type Reference,
  repositoryOf,
} from "../oci/reference.ts";
import { type TarOutput, writeTar } from "../oci/tar/writer.ts";
import { publishImageEvent } from "./event.ts";
import { requirePlatform } from "./platform.ts";
import type { ImageContext } from "./ports.ts";
import type { ImageRecord } from "./record.ts";
import { findImage, isIdOf } from "./resolve.ts";
import { sweepThings } from "./sweep.ts";

interface SavedImage {
  readonly image: ImageRecord;
  /** With tags. */
  readonly names: readonly Reference[];
}

/**
 * An archive of images as one OCI image layout that Docker's loader reads too (manifest.json, repositories). The same
 * images give the same bytes. A name that isn't there is refused by this call, before there is an archive.
 */
export function saveImages(
  context: ImageContext,
  names: readonly string[],
  options: { readonly platform?: Platform | undefined } = {},
): AsyncIterable<Uint8Array> {
  const images = chooseImages(context, names);
  if (options.platform !== undefined) {
    for (const { image } of images) requirePlatform(image, image.id, options.platform);
  }
  return write(context, images);
}

async function* write(context: ImageContext, images: readonly SavedImage[]): AsyncGenerator<Uint8Array> {
  for (const { image } of images) await context.underWay.whole(image.id, "save");
  // While an operation is open no blob is removed, even if its image is.
  const scope = await context.claims.open();
  try {
    for (const { image } of images) {
      if (!context.content.has(image.id)) throw new GantryError("not-found", `No such image: ${image.id}`);
    }
    yield* writeTar(members(context, images));
  } finally {
    scope[Symbol.dispose]();
    await sweepThings(context, [], []);
  }
  for (const { image } of images) publishImageEvent(context.events, "save", image, image.id);
}

function chooseImages(context: ImageContext, names: readonly string[]): SavedImage[] {
  const chosen = new Map<string, { image: ImageRecord; names: Map<string, Reference> }>();
  const add = (image: ImageRecord, name?: Reference): void => {
    const entry = chosen.get(image.id) ?? { image, names: new Map() };
    if (name?.tag !== undefined && name.digest === undefined) entry.names.set(formatReference(name), name);
    chosen.set(image.id, entry);
  };
  for (const text of names) {
    const all = repositoryTags(context, text);
    for (const [image, name] of all) add(image, name);
    if (all.length > 0) continue;
    const image = findImage(context.records, text);
    if (isIdOf(image.id, text)) add(image);
    else add(image, parseNormalized(text));
  }
  const sorted = [...chosen.values()].sort((one, other) => (one.image.id < other.image.id ? -1 : 1));
  return sorted.map((entry) => ({
    image: entry.image,
    names: [...entry.names].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, name]) => name),
  }));
}

/** A bare name saves all of its repository's tags. */
function repositoryTags(context: ImageContext, text: string): [ImageRecord, Reference][] {
  if (/^sha256:[a-f0-9]+$/.test(text) || /^[a-f0-9]{64}$/.test(text)) return [];
  const wanted = parseNormalized(text);
  if (wanted.tag !== undefined || wanted.digest !== undefined) return [];
  return context.records.all().flatMap((image) =>
    context.records
      .namesOf(image.id)
      .filter(({ reference }) => repositoryOf(reference) === repositoryOf(wanted))
      .map(({ reference }): [ImageRecord, Reference] => [image, reference]),
  );
}

async function* members(context: ImageContext, images: readonly SavedImage[]): AsyncGenerator<TarOutput> {
  const blobs = new Map<string, number>();
  for (const { image } of images) {
    blobs.set(image.id, image.configSize);
    blobs.set(image.manifest.digest, image.manifest.size);
    for (const { blob } of image.layers) blobs.set(blob.digest, blob.size);
  }
  yield { entry: { name: "blobs", type: "directory" } };
  yield { entry: { name: "blobs/sha256", type: "directory" } };
  for (const digest of [...blobs.keys()].sort()) {
    const size = blobs.get(digest) ?? 0;
    yield {
      entry: { name: pathOf(digest), type: "file", size },
      body: blobOf(context, digest),
    };
  }
  yield document("index.json", indexOf(images));
  yield document("manifest.json", images.map(dockerManifest));
  yield document("oci-layout", { imageLayoutVersion: "1.0.0" });
  const repositories = repositoriesOf(images);
  if (Object.keys(repositories).length > 0) yield document("repositories", repositories);
}

/** Opened when it is read: a client may leave after the header. */
async function* blobOf(context: ImageContext, digest: string): AsyncGenerator<Uint8Array> {
  yield* context.content.open(digest, { verify: true }) as AsyncIterable<Uint8Array>;
}

function indexOf(images: readonly SavedImage[]): unknown {
  const manifests = images.flatMap(({ image, names }): Descriptor[] => {
    const { architecture, os, variant } = image.config;
    const descriptor: Descriptor = {
      ...describeManifest(image),
      platform: { architecture, os, ...(variant !== undefined && { variant }) },
    };
    if (names.length === 0) return [descriptor];
    return names.map((name) => ({
      ...descriptor,
      annotations: {
        "io.containerd.image.name": formatReference(name),
        "org.opencontainers.image.ref.name": name.tag ?? "",
      },
    }));
  });
  return { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests };
}

function describeManifest(image: ImageRecord): Descriptor {
  const { mediaType, digest, size } = image.manifest;
  return { mediaType, digest, size };
}

function dockerManifest({ image, names }: SavedImage): unknown {
  return {
    Config: pathOf(image.id),
    RepoTags: names.map(familiarString),
    Layers: image.layers.map(({ blob }) => pathOf(blob.digest)),
  };
}

function repositoriesOf(images: readonly SavedImage[]): Record<string, Record<string, string>> {
  const repositories: Record<string, Record<string, string>> = {};
  for (const { image, names } of images) {
    const top = image.layers.at(-1)?.blob.digest.slice("sha256:".length) ?? "";
    for (const name of names) {
      const familiar = familiarName(name);
      repositories[familiar] = { ...repositories[familiar], [name.tag ?? ""]: top };
    }
  }
  return repositories;
}

function document(name: string, value: unknown): TarOutput {
  const bytes = Buffer.from(JSON.stringify(value));
  return { entry: { name, type: "file", size: bytes.length }, body: [bytes] };
}

function pathOf(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}
