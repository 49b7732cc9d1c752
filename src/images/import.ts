import { Readable } from "node:stream";
import { cancelOnAbort } from "../base/abort.ts";
import { GantryError } from "../base/errors.ts";
import { applyChanges } from "../dockerfile/config-change.ts";
import { decompress } from "../oci/compression.ts";
import { type ImageConfig, MEDIA_TYPE } from "../oci/image.ts";
import { hostPlatform, parsePlatform } from "../oci/platform.ts";
import { parseNormalized, type Reference, tagNameOnly } from "../oci/reference.ts";
import { storeImage } from "./create.ts";
import { publishImageEvent } from "./event.ts";
import type { ImportOptions, Progress } from "./image.ts";
import type { ImageContext } from "./ports.ts";
import { withClaims } from "./sweep.ts";
import { commitLayer, unpackWhile } from "./unpack.ts";

/** What `bootstrap` says of the images it imports. */
export interface ImportOrigin {
  /** RFC 3339. */
  readonly created?: string;
  readonly createdBy?: string;
}

/**
 * Makes an image of one root filesystem's tar, compressed or not. Its layer is stored uncompressed and extracted in
 * the same pass. Resolves with the id, which is also told as the last message of progress.
 */
export async function importImage(
  context: ImageContext,
  archive: AsyncIterable<Uint8Array> | Readable,
  options: ImportOptions,
  progress: Progress,
  origin: ImportOrigin = {},
): Promise<string> {
  const reference = options.reference === "" ? undefined : importName(options.reference);
  const platform = options.platform === undefined ? hostPlatform() : parsePlatform(options.platform);
  if (platform.os !== "linux") throw new GantryError("invalid", "operating system is not supported");
  const config = applyChanges({}, options.changes);
  const comment = options.message === "" ? `Imported from ${options.source ?? "-"}` : options.message;
  const id = await withClaims(context, async (scope) => {
    // Both: what waits for the archive's first bytes reads the one, what comes after reads the other.
    using _archive = archive instanceof Readable ? cancelOnAbort(progress.signal, archive) : undefined;
    const { stream } = await decompress(archive);
    using _stream = cancelOnAbort(progress.signal, stream);
    const unpacked = await unpackWhile(
      context,
      undefined,
      stream,
      async (bytes) => {
        const { signal } = progress;
        const blob = await context.content.write(bytes, { ...(signal !== undefined && { signal }) });
        scope.noteBlob(blob.digest);
        return blob;
      },
      progress.signal,
    );
    const { digest, size } = unpacked.result;
    const layerSize = await commitLayer(context, scope, digest, unpacked);
    const created = origin.created ?? new Date().toISOString();
    const document: ImageConfig = {
      created,
      architecture: platform.architecture,
      os: platform.os,
      ...(platform.variant !== undefined && { variant: platform.variant }),
      comment,
      config,
      rootfs: { type: "layers", diff_ids: [digest] },
      history: [{ created, ...(origin.createdBy !== undefined && { created_by: origin.createdBy }), comment }],
    };
    const image = await storeImage(context, scope, {
      configBytes: Buffer.from(JSON.stringify(document)),
      config: document,
      layers: [
        { blob: { mediaType: MEDIA_TYPE.ociLayer, digest, size }, diffId: digest, chainId: digest, size: layerSize },
      ],
    });
    context.records.add([image], reference === undefined ? [] : [[reference, image.id]]);
    publishImageEvent(context.events, "import", image, image.id);
    return image.id;
  });
  progress.onProgress?.({ status: id });
  return id;
}

function importName(text: string): Reference {
  const reference = parseNormalized(text);
  if (reference.digest !== undefined) throw new GantryError("invalid", "cannot import digest reference");
  return tagNameOnly(reference);
}
