import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { Gate } from "../base/gate.ts";
import { sha256Of } from "../oci/digest.ts";
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
export const MOST_QUESTIONS = 6;

const EXISTS = "Layer already exists";
const SKIPPED = "Skipped foreign layer";

/** What is to be put under a tag, once the registry has what it names. */
export interface PushedManifest {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  /** The digests that it names and that the registry has. */
  readonly blobs: readonly string[];
  /** True where the registry has it already, if not under this tag: its blobs were not asked for. */
  readonly isThere: boolean;
}

export interface ImagePush {
  readonly context: ImageContext;
  readonly blobs: BlobPusher;
  readonly target: PushTarget;
  readonly image: ImageRecord;
  /** False where the registry is to have the foreign layers, too. */
  readonly skipsForeign: boolean;
  /** Ask for each blob, even where the registry has the manifest, and with it all that it names. */
  readonly isThorough: boolean;
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
  const before = manifestOf(push, manifest.config, bytes, layers);
  if (before !== undefined && !push.isThorough && (await isKnownThere(push, before))) {
    for (const layer of distinct) layer.say(layer.isSkipped ? SKIPPED : EXISTS);
    return { ...before, isThere: true };
  }
  const questions = new Gate(MOST_QUESTIONS);
  await all(push.progress.signal, [manifest.config, ...distinct], (one, signal) =>
    one instanceof LayerPush ? one.run(questions, signal) : pushConfig(push, one, questions, signal),
  );
  failpoint("images.push.uploaded");
  const pushed = manifestOf(push, manifest.config, bytes, layers);
  if (pushed === undefined) throw new GantryError("internal", "the compressed form of a layer is lost");
  return { ...pushed, isThere: false };
}

/** The manifest to put; undefined while it isn't known what some layer will be once it is compressed. */
function manifestOf(
  { image, skipsForeign }: ImagePush,
  config: Descriptor,
  own: Uint8Array,
  layers: readonly LayerPush[],
): Omit<PushedManifest, "isThere"> | undefined {
  const pushed: Descriptor[] = [];
  for (const layer of layers) {
    const descriptor = layer.pushed();
    if (descriptor === undefined) return undefined;
    pushed.push(descriptor);
  }
  const kept = pushed.filter((layer) => !(skipsForeign && isForeign(layer)));
  return {
    mediaType: image.manifest.mediaType,
    bytes: layers.some((layer) => layer.isPacked) ? ownManifest(config, pushed, image.annotations) : own,
    blobs: [config, ...kept].map(({ digest }) => digest),
  };
}

/** A registry takes a manifest after its blobs only: one that it has and that was pushed there needs no other question. */
async function isKnownThere(
  { context, image, progress, target }: ImagePush,
  { bytes }: { readonly bytes: Uint8Array },
) {
  const { reference } = target.repository;
  const digest = sha256Of(bytes);
  const known = context.records.named({ domain: reference.domain, path: reference.path, digest });
  if (known?.id !== image.id) return false;
  try {
    return (await target.repository.resolve(digest, { signal: progress.signal })).digest === digest;
  } catch (error) {
    if (isRefused(error)) return false;
    throw error;
  }
}

/** True for an answer that the same question gets each time. */
export function isRefused(error: unknown): boolean {
  return error instanceof RefusedError && error.status < 500 && error.status !== 429;
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
    const { blobs, context, progress, target } = this.#push;
    if (this.isSkipped) {
      this.say(SKIPPED);
      return;
    }
    const wanted = isPacked ? context.packed.of(descriptor.digest)?.digest : descriptor.digest;
    if (wanted !== undefined && (await questions.run(() => isThere(target.repository, wanted, signal)))) {
      this.say(EXISTS);
      return;
    }
    const from = isPacked ? "store, packed" : "store";
    await blobs.push(target, { descriptor, row: this.#row, from }, { signal, onProgress: progress.onProgress });
  }

  get isSkipped(): boolean {
    return this.#push.skipsForeign && isForeign(this.descriptor);
  }

  /** How the manifest names it; undefined before it was compressed. */
  pushed(): Descriptor | undefined {
    return this.isPacked ? this.#push.context.packed.of(this.descriptor.digest) : this.descriptor;
  }
}

/** A registry that won't say is taken for one that hasn't got it: what it thinks of an upload it says in words. */
export async function isThere(repository: Repository, digest: string, signal: AbortSignal): Promise<boolean> {
  try {
    return (await repository.hasBlob(digest, { signal })) !== undefined;
  } catch (error) {
    if (isRefused(error)) return false;
    throw error;
  }
}
