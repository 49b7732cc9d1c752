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
import { type IndexRecord, imagesOf } from "./index-record.ts";
import { descriptorOf } from "./manifests.ts";
import type { ImageContext } from "./ports.ts";
import type { ImageRecord } from "./record.ts";
import { findTarget, imageFor, type Target } from "./resolve.ts";
import { sweepThings } from "./sweep.ts";

interface SavedImage {
  readonly image: ImageRecord;
  /** Where the names mean an index: that, with all of it that is here. */
  readonly index: IndexRecord | undefined;
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
  return write(context, chooseImages(context, names, options.platform));
}

async function* write(context: ImageContext, images: readonly SavedImage[]): AsyncGenerator<Uint8Array> {
  for (const id of images.flatMap(idsOf)) await context.underWay.whole(id, "save");
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

/** With a platform, of an index the image for it alone. */
function chooseImages(
  context: ImageContext,
  names: readonly string[],
  platform: Platform | undefined,
): readonly SavedImage[] {
  const { records } = context;
  const chosen = new Map<string, Omit<SavedImage, "names"> & { names: Map<string, Reference> }>();
  const add = (target: Target, text: string, name?: Reference): void => {
    const image = platform === undefined ? target.image : imageFor(records, target, text, platform);
    const index = platform === undefined ? target.index : undefined;
    const key = index?.descriptor.digest ?? image.id;
    const entry = chosen.get(key) ?? { image, index, names: new Map() };
    if (name?.tag !== undefined && name.digest === undefined) entry.names.set(formatReference(name), name);
    chosen.set(key, entry);
  };
  for (const text of names) {
    const all = repositoryTags(context, text);
    for (const [target, name] of all) add(target, text, name);
    if (all.length > 0) continue;
    const target = findTarget(records, text);
    if (target.by === "name") add(target, text, parseNormalized(text));
    else add(target, text);
  }
  const sorted = [...chosen].sort(([one], [other]) => (one < other ? -1 : 1));
  return sorted.map(([, { image, index, names: own }]) => ({
    image,
    index,
    names: [...own].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, name]) => name),
  }));
}

/** A bare name saves all of its repository's tags. */
function repositoryTags({ records }: ImageContext, text: string): [Target, Reference][] {
  if (/^sha256:[a-f0-9]+$/.test(text) || /^[a-f0-9]{64}$/.test(text)) return [];
  const wanted = parseNormalized(text);
  if (wanted.tag !== undefined || wanted.digest !== undefined) return [];
  return records.namesIn(repositoryOf(wanted)).flatMap(({ reference }): [Target, Reference][] => {
    const image = records.named(reference);
    return image === undefined ? [] : [[{ image, index: records.indexNamed(reference), by: "name" }, reference]];
  });
}

function idsOf({ image, index }: SavedImage): string[] {
  return index === undefined ? [image.id] : imagesOf(index);
}

/** The layers of what a name means on this machine, as the archive has them. */
function layersOf({ image, index }: SavedImage): readonly Descriptor[] {
  const entry = index?.entries.find((one) => one.image === image.id && one.blobs !== undefined);
  return entry?.blobs?.slice(1) ?? image.layers.map(({ blob }) => blob);
}

/** What the archive has of an image or an index. */
function blobsOf(saved: SavedImage): Descriptor[] {
  const { image, index } = saved;
  const config = { mediaType: MEDIA_TYPE.ociConfig, digest: image.id, size: image.configSize };
  const own = [config, ...layersOf(saved)];
  if (index === undefined) return [...own, image.manifest];
  const entries = index.entries.flatMap(({ blobs, descriptor }) => (blobs === undefined ? [] : [descriptor, ...blobs]));
  return [...own, index.descriptor, ...index.inner, ...entries];
}

async function* members(context: ImageContext, images: readonly SavedImage[]): AsyncGenerator<TarOutput> {
  const blobs = new Map(images.flatMap(blobsOf).map(({ digest, size }) => [digest, size]));
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
  const manifests = images.flatMap(({ image, index, names }): Descriptor[] => {
    const descriptor = descriptorOf(image, index);
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

function dockerManifest(saved: SavedImage): unknown {
  return {
    Config: pathOf(saved.image.id),
    RepoTags: saved.names.map(familiarString),
    Layers: layersOf(saved).map(({ digest }) => pathOf(digest)),
  };
}

function repositoriesOf(images: readonly SavedImage[]): Record<string, Record<string, string>> {
  const repositories: Record<string, Record<string, string>> = {};
  for (const saved of images) {
    const { names } = saved;
    const top = layersOf(saved).at(-1)?.digest.slice("sha256:".length) ?? "";
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
