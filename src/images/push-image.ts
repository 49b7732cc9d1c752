import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { Gate } from "../base/gate.ts";
import { type Descriptor, MEDIA_TYPE } from "../oci/image.ts";
import { MAX_DOCUMENT, parseManifest } from "../oci/image-config.ts";
import { isForeign } from "../oci/layer-type.ts";
import { RefusedError } from "../remote/failure.ts";
import type { Repository } from "../remote/repository.ts";
import { all } from "./all.ts";
import { hasOwnManifest, ownManifest } from "./create.ts";
import type { FlightProgress } from "./flights.ts";
import type { ImageContext } from "./ports.ts";
import type { BlobPusher, PushTarget } from "./push-blob.ts";
import type { ImageRecord, LayerRecord } from "./record.ts";
import { shortId } from "./resolve.ts";

/** Questions to a registry at once: for no more are connections kept. */
const MOST_QUESTIONS = 6;

/** What is to be put under a tag, once the registry has what it names. */
export interface PushedManifest {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  /** The digests that it names and that the registry has. */
  readonly blobs: readonly string[];
}

export interface ImagePush {
  readonly context: ImageContext;
  readonly blobs: BlobPusher;
  readonly target: PushTarget;
  readonly image: ImageRecord;
  /** False where the registry is to have the foreign layers, too. */
  readonly skipsForeign: boolean;
  readonly progress: FlightProgress;
}

/**
 * Sees to it that a registry has all blobs of an image, and resolves with the manifest to put there: the very one that
 * the image came with. An image made here has layers that were never compressed: they are on their way, and its
 * manifest names what they became.
 */
export async function pushBlobs(push: ImagePush): Promise<PushedManifest> {
  const { context, image } = push;
  const bytes = await context.content.readBlob(image.manifest.digest, MAX_DOCUMENT);
  const manifest = parseManifest(bytes);
  if (manifest.layers.length !== image.layers.length) {
    throw new GantryError(
      "internal",
      `cannot push ${shortId(image.id)}: its manifest has other layers than its record`,
    );
  }
  const packs = isPackable(context, image);
  const layers = image.layers.map((layer, index) => new LayerPush(push, layer, manifest.layers[index]!, packs));
  // Docker begins with the topmost one.
  for (const layer of layers.toReversed()) layer.say("Preparing");
  const distinct = [...new Map(layers.toReversed().map((layer) => [layer.descriptor.digest, layer])).values()];
  const questions = new Gate(MOST_QUESTIONS);
  await all(push.progress.signal, [manifest.config, ...distinct], (one, signal) =>
    one instanceof LayerPush ? one.run(questions, signal) : pushConfig(push, one, questions, signal),
  );
  failpoint("images.push.uploaded");
  const { mediaType } = image.manifest;
  const pushed = layers.map((layer) => layer.pushed());
  const blobs = [manifest.config, ...pushed.filter((layer) => !(push.skipsForeign && isForeign(layer)))];
  const isChanged = layers.some((layer) => layer.isPacked);
  return {
    mediaType,
    bytes: isChanged ? ownManifest(manifest.config, pushed) : bytes,
    blobs: blobs.map(({ digest }) => digest),
  };
}

/** An image that a registry gave keeps its manifest, whatever its layers are. */
function isPackable({ records }: ImageContext, image: ImageRecord): boolean {
  const isFromRegistry = records.namesOf(image.id).some(({ reference }) => reference.digest === image.manifest.digest);
  return !isFromRegistry && hasOwnManifest(image);
}

async function pushConfig(push: ImagePush, config: Descriptor, questions: Gate, signal: AbortSignal): Promise<void> {
  const { blobs, target } = push;
  if (await questions.run(() => isThere(target.repository, config.digest, signal))) return;
  const blob = { descriptor: config, row: undefined, from: "store" } as const;
  await blobs.push(target, blob, { signal, onProgress: () => {} });
}

/** One layer's way to the registry. */
class LayerPush {
  readonly descriptor: Descriptor;
  /** True for one that is compressed on its way. */
  readonly isPacked: boolean;
  readonly #push: ImagePush;
  readonly #row: string;

  constructor(push: ImagePush, layer: LayerRecord, descriptor: Descriptor, packs: boolean) {
    this.#push = push;
    this.descriptor = descriptor;
    this.isPacked = packs && descriptor.mediaType === MEDIA_TYPE.ociLayer;
    this.#row = shortId(layer.diffId);
  }

  say(status: string): void {
    this.#push.progress.onProgress({ status, progressDetail: {}, id: this.#row });
  }

  async run(questions: Gate, signal: AbortSignal): Promise<void> {
    const { descriptor, isPacked } = this;
    const { blobs, context, progress, skipsForeign, target } = this.#push;
    if (skipsForeign && isForeign(descriptor)) {
      this.say("Skipped foreign layer");
      return;
    }
    const wanted = isPacked ? context.packed.of(descriptor.digest)?.digest : descriptor.digest;
    if (wanted !== undefined && (await questions.run(() => isThere(target.repository, wanted, signal)))) {
      this.say("Layer already exists");
      return;
    }
    const from = isPacked ? "store, packed" : "store";
    await blobs.push(target, { descriptor, row: this.#row, from }, { signal, onProgress: progress.onProgress });
  }

  /** How the manifest names it. */
  pushed(): Descriptor {
    if (!this.isPacked) return this.descriptor;
    const packed = this.#push.context.packed.of(this.descriptor.digest);
    if (packed === undefined)
      throw new GantryError("internal", `the compressed form of ${this.descriptor.digest} is lost`);
    return packed;
  }
}

/** A registry that won't say is taken for one that hasn't got it: what it thinks of an upload it says in words. */
async function isThere(repository: Repository, digest: string, signal: AbortSignal): Promise<boolean> {
  try {
    return (await repository.hasBlob(digest, { signal })) !== undefined;
  } catch (error) {
    if (error instanceof RefusedError && error.status < 500 && error.status !== 429) return false;
    throw error;
  }
}
