import type { Readable } from "node:stream";
import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { decompress } from "../oci/compression.ts";
import { chainId } from "../oci/digest.ts";
import type { Platform } from "../oci/image.ts";
import { parseManifest } from "../oci/image-config.ts";
import { formatPlatform } from "../oci/platform.ts";
import { familiarString, type Reference } from "../oci/reference.ts";
import { type ArchivedImage, ImageArchive } from "./archive.ts";
import type { ClaimScope } from "./claims.ts";
import { layerMediaType, storeImage } from "./create.ts";
import { publishImageEvent } from "./event.ts";
import type { Progress } from "./image.ts";
import { type EntryContent, type IndexRecord, namedBlobs } from "./index-record.ts";
import { keepIndex } from "./keep-index.ts";
import { readDockerArchive } from "./load-docker.ts";
import { readLegacyArchive } from "./load-legacy.ts";
import { type ArchivedIndex, type ArchivedLayout, pathOf, readOciArchive } from "./load-oci.ts";
import { isFor } from "./platform.ts";
import type { ImageContext } from "./ports.ts";
import type { ImageRecord, LayerRecord } from "./record.ts";
import { dropLooseIndexes } from "./remove.ts";
import { shortId } from "./resolve.ts";
import { withClaims } from "./sweep.ts";
import { commitLayer, digestOf, unpackWhile } from "./unpack.ts";

/**
 * Loads the images of an archive, Docker's or an OCI layout, compressed or not. All of them become visible at once at
 * the end, or nothing of them stays.
 */
export async function loadImages(
  context: ImageContext,
  source: Readable,
  progress: Progress,
  platform?: Platform,
): Promise<void> {
  await withClaims(context, async (scope) => {
    const archive = await ImageArchive.read(context, scope, source, progress.signal);
    const loaded: Loaded[] = [];
    const { images, indexes } = await readArchive(archive, platform);
    for (const archived of images) {
      const image = await loadImage(context, scope, archive, archived, progress);
      loaded.push({ images: [image], names: archived.names, index: undefined });
    }
    for (const archived of indexes) loaded.push(await loadIndex(context, scope, archive, archived, progress));
    failpoint("images.load.stored");
    publish(context, loaded, progress);
  });
  await dropLooseIndexes(context);
}

/** What came under some names: an image, or an index with its images. */
interface Loaded {
  readonly images: readonly ImageRecord[];
  readonly index: IndexRecord | undefined;
  readonly names: readonly Reference[];
}

async function loadImage(
  context: ImageContext,
  scope: ClaimScope,
  archive: ImageArchive,
  archived: ArchivedImage,
  progress: Progress,
): Promise<ImageRecord> {
  if (archived.config.os !== "linux") {
    throw new GantryError("invalid", `cannot load ${archived.config.os} image on linux`);
  }
  const layers = await loadLayers(context, scope, archive, archived, progress);
  return storeImage(context, scope, { ...archived, layers });
}

async function loadIndex(
  context: ImageContext,
  scope: ClaimScope,
  archive: ImageArchive,
  { document, first, images, inner, names, others }: ArchivedIndex,
  progress: Progress,
): Promise<Loaded> {
  const loaded = new Map<string, ImageRecord>();
  const here = new Map<string, EntryContent>();
  for (const [digest, archived] of images) {
    const image = await loadImage(context, scope, archive, archived, progress);
    loaded.set(digest, image);
    here.set(digest, { image: image.id, blobs: namedBlobs(parseManifest(archived.manifestBytes!)) });
  }
  for (const { blobs, descriptor } of others) {
    for (const { digest } of [...blobs, descriptor]) {
      await archive.store(pathOf(digest), scope);
      scope.noteBlob(digest);
    }
    here.set(descriptor.digest, { blobs });
  }
  const index = await keepIndex(context, scope, document, { inner, here, image: loaded.get(first)!.id });
  return { images: [...loaded.values()], index, names };
}

async function readArchive(archive: ImageArchive, wanted: Platform | undefined): Promise<ArchivedLayout> {
  const layout = await readImages(archive, wanted);
  if (wanted === undefined) return layout;
  const suitable = { ...layout, images: layout.images.filter(({ config }) => isFor(config, wanted)) };
  if (suitable.images.length + suitable.indexes.length > 0) return suitable;
  throw new GantryError(
    "not-found",
    `cannot load the archive: it has no image for the platform ${formatPlatform(wanted)}`,
  );
}

async function readImages(archive: ImageArchive, wanted: Platform | undefined): Promise<ArchivedLayout> {
  // An archive may be both kinds at once; only the OCI's has the manifests that the images came with.
  if (archive.has("oci-layout") && archive.has("index.json")) return readOciArchive(archive, wanted);
  if (archive.has("manifest.json")) return { images: await readDockerArchive(archive), indexes: [] };
  if (archive.has("repositories")) return { images: await readLegacyArchive(archive), indexes: [] };
  throw new GantryError(
    "invalid",
    "cannot load the archive: it has no index.json, manifest.json or repositories; to make an image of a root filesystem, import it",
  );
}

async function loadLayers(
  context: ImageContext,
  scope: ClaimScope,
  archive: ImageArchive,
  image: ArchivedImage,
  progress: Progress,
): Promise<LayerRecord[]> {
  const diffIds = image.config.rootfs.diff_ids;
  const chain = chainId(diffIds);
  const layers: LayerRecord[] = [];
  for (const [index, layer] of image.layers.entries()) {
    const diffId = diffIds[index] ?? "";
    const own = { index, diffId, chainId: chain[index] ?? "", parent: chain[index - 1] };
    const stat = archive.stat(layer.file);
    const { compression, size } = await loadLayer(context, scope, archive, layer.file, own, progress);
    await archive.store(layer.file, scope);
    const { mediaType = layerMediaType(compression) } = layer.descriptor ?? {};
    layers.push({ blob: { mediaType, digest: stat.digest, size: stat.size }, diffId, chainId: own.chainId, size });
  }
  return layers;
}

interface LayerPlace {
  readonly index: number;
  readonly diffId: string;
  readonly chainId: string;
  readonly parent: string | undefined;
}

async function loadLayer(
  context: ImageContext,
  scope: ClaimScope,
  archive: ImageArchive,
  file: string,
  layer: LayerPlace,
  progress: Progress,
): Promise<{ readonly compression: string; readonly size: number }> {
  const stat = archive.stat(file);
  const source = archive.open(file);
  const { stream, compression } = await decompress(counted(source, stat.size, layer.diffId, progress));
  const check = (digest: string): void => {
    if (digest === layer.diffId) return;
    throw new GantryError(
      "invalid",
      `invalid diffID for layer ${layer.index}: expected "${layer.diffId}", got "${digest}"`,
    );
  };
  try {
    // Uncompressed, its digest is known since it was read from the archive.
    if (compression === "none") check(stat.digest);
    scope.claimChain(layer.chainId);
    const known = await context.claims.exclusively(layer.chainId, () => sizeOfKnown(context, layer.chainId));
    if (known !== undefined) {
      if (compression !== "none") check((await digestOf(stream)).digest);
      return { compression, size: known };
    }
    const unpacked = await unpackWhile(context, layer.parent, stream, digestOf, progress.signal);
    if (unpacked.result.digest !== layer.diffId) await context.snapshots.remove(unpacked.key);
    check(unpacked.result.digest);
    return { compression, size: await commitLayer(context, scope, layer.chainId, unpacked) };
  } finally {
    stream.destroy();
    source.destroy();
  }
}

async function sizeOfKnown(context: ImageContext, chainId: string): Promise<number | undefined> {
  if (!context.snapshots.has(chainId)) return undefined;
  const layers = context.records.all().flatMap((image) => image.layers);
  return layers.find((layer) => layer.chainId === chainId)?.size ?? (await context.snapshots.usage(chainId));
}

async function* counted(
  source: AsyncIterable<Uint8Array>,
  total: number,
  diffId: string,
  progress: Progress,
): AsyncGenerator<Uint8Array> {
  const tell = (current: number): void =>
    progress.onProgress?.({ status: "Loading layer", progressDetail: { current, total }, id: shortId(diffId) });
  let current = 0;
  let told = 0;
  for await (const chunk of source) {
    current += chunk.length;
    if (current - told >= Math.max(total / 100, 1 << 19)) {
      told = current;
      tell(current);
    }
    yield chunk;
  }
  tell(current);
}

function publish(context: ImageContext, loaded: readonly Loaded[], progress: Progress): void {
  const { records } = context;
  const before = new Map(loaded.flatMap(({ names }) => names.map((name) => [name, records.named(name)] as const)));
  records.add(
    loaded.flatMap(({ images }) => images),
    loaded.flatMap(({ images, index, names }) =>
      names.map((name) => [name, images[0]!.id, index?.descriptor.digest] as const),
    ),
    { indexes: loaded.flatMap(({ index }) => index ?? []) },
  );
  failpoint("images.load.recorded");
  for (const { images, index, names } of loaded) {
    const own = records.indexes.get(index?.descriptor.digest ?? "")?.image ?? images[0]!.id;
    for (const name of names) {
      const previous = before.get(name);
      if (previous === undefined || previous.id === own) continue;
      progress.onProgress?.({
        stream: `The image ${familiarString(name)} already exists, renaming the old one with ID ${previous.id} to empty string\n`,
      });
    }
  }
  for (const { images, index, names } of loaded) {
    const id = records.indexes.get(index?.descriptor.digest ?? "")?.image ?? images[0]!.id;
    const image = records.get(id);
    if (image !== undefined) publishImageEvent(context.events, "load", image, id);
    for (const name of names) progress.onProgress?.({ stream: `Loaded image: ${familiarString(name)}\n` });
    if (names.length === 0) progress.onProgress?.({ stream: `Loaded image ID: ${id}\n` });
  }
}
