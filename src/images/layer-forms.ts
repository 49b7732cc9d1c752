import { pipeline } from "node:stream";
import { constants, createGzip, createZstdCompress } from "node:zlib";
import { GantryError } from "../base/errors.ts";
import { decompress } from "../oci/compression.ts";
import { type Descriptor, MEDIA_TYPE } from "../oci/image.ts";
import { isForeign } from "../oci/layer-type.ts";
import type { ClaimScope } from "./claims.ts";
import { LayerPacker, MOST_MEMORY } from "./layer-packer.ts";
import type { PackedLayer } from "./packed-layers.ts";
import type { ImageContext } from "./ports.ts";
import type { LayerRecord } from "./record.ts";

/** How the layers of an image are to be compressed. */
export interface LayerForm {
  readonly compression: "uncompressed" | "gzip" | "zstd";
  /** Undefined is what pushes use, or the compressor's own. */
  readonly level?: number;
  /** Also those that are compressed already, in another way. */
  readonly force: boolean;
}

/** A layer with the name of the snapshot that it is. */
export type FormableLayer = Pick<LayerRecord, "blob" | "diffId"> & { readonly snapshot: string };

export interface FormOptions {
  readonly signal: AbortSignal;
  /** True for a blob that need not be here, since the one who wants it has it. */
  readonly isThere?: (digest: string) => Promise<boolean>;
}

const OUTPUT_CHUNK = 1 << 17;
const TYPES: Readonly<Record<LayerForm["compression"], string>> = {
  uncompressed: MEDIA_TYPE.ociLayer,
  gzip: MEDIA_TYPE.ociLayerGzip,
  zstd: MEDIA_TYPE.ociLayerZstd,
};

/**
 * A layer's blob in a form: it is in the content store and `scope`'s when this resolves, unless `isThere` says that it
 * need not be. The same layer in the same form is the same bytes each time.
 */
export async function formLayer(
  context: ImageContext,
  scope: ClaimScope,
  layer: FormableLayer,
  form: LayerForm,
  options: FormOptions,
): Promise<Descriptor> {
  const { blob, diffId, snapshot } = layer;
  const { content, packed, snapshotLayers } = context;
  if (!needsForm(blob, form)) return plainOf(blob);
  const { compression, level } = form;
  const isPushed = compression === "gzip" && level === undefined && blob.digest === diffId;
  const key = `${diffId} ${compression} ${level ?? ""}`;
  const known = snapshotLayers.form(snapshot, key) ?? (isPushed ? packed.of(diffId) : undefined);
  if (known !== undefined) {
    scope.noteBlob(known.digest);
    if (content.has(known.digest) || (await options.isThere?.(known.digest)) === true) return plainOf(known);
  }
  const made = await makeForm(context, scope, layer, form, options.signal);
  snapshotLayers.putForm(snapshot, key, made);
  if (isPushed) packed.put(diffId, made);
  return made;
}

function plainOf({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

function needsForm(blob: Descriptor, { compression, force, level }: LayerForm): boolean {
  if (isForeign(blob)) return false;
  const current = compressionOfType(blob.mediaType);
  if (current === "uncompressed") return compression !== "uncompressed";
  return force && (current !== compression || level !== undefined);
}

export function compressionOfType(mediaType: string): LayerForm["compression"] {
  if (/[+.]gzip$/.test(mediaType)) return "gzip";
  return mediaType.endsWith("+zstd") ? "zstd" : "uncompressed";
}

async function makeForm(
  context: ImageContext,
  scope: ClaimScope,
  { blob, diffId }: FormableLayer,
  form: LayerForm,
  signal: AbortSignal,
): Promise<PackedLayer> {
  const { content } = context;
  const mediaType = TYPES[form.compression];
  if (form.compression === "gzip" && form.level === undefined && blob.digest === diffId) {
    using packer = new LayerPacker(content, diffId, () => {});
    const written = await content.write(packer.open(0), { signal });
    scope.noteBlob(written.digest);
    return { mediaType, ...written };
  }
  const file = content.open(blob.digest, { verify: true });
  const { stream } = await decompress(file);
  const compressor = compressorOf(form);
  const written = await content.write(
    compressor === undefined
      ? stream
      : pipeline(stream, compressor, () => {
          // The error reaches whoever reads the compressed stream.
        }),
    { signal },
  );
  scope.noteBlob(written.digest);
  if (form.compression === "uncompressed" && written.digest !== diffId) {
    throw new GantryError("invalid", `filesystem layer verification failed for digest ${diffId}`);
  }
  return { mediaType, ...written };
}

function compressorOf({ compression, level }: LayerForm) {
  if (compression === "uncompressed") return undefined;
  if (compression === "gzip") {
    return createGzip({ chunkSize: OUTPUT_CHUNK, memLevel: MOST_MEMORY, ...(level !== undefined && { level }) });
  }
  const params = level === undefined ? {} : { params: { [constants.ZSTD_c_compressionLevel]: level } };
  return createZstdCompress({ chunkSize: OUTPUT_CHUNK, ...params });
}
