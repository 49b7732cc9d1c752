import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { chainId } from "../oci/digest.ts";
import { type ImageConfig, MEDIA_TYPE } from "../oci/image.ts";
import { familiarString } from "../oci/reference.ts";
import type { ClaimScope } from "./claims.ts";
import { storeImage } from "./create.ts";
import { publishImageEvent } from "./event.ts";
import type { CommitOptions } from "./image.ts";
import type { ImageContext } from "./ports.ts";
import type { ImageRecord, LayerRecord } from "./record.ts";
import { withClaims } from "./sweep.ts";

/** A tar of nothing but its end mark: what did not change adds no layer. */
const EMPTY_LAYER = 1024;

/**
 * Makes an image of another one, a further layer and a config. The layer is stored and extracted at once; until the
 * record at the end there is no image, and what a crash leaves is removed at the next start.
 */
export async function commitImage(context: ImageContext, options: CommitOptions): Promise<string> {
  const parent = context.records.get(options.parent);
  if (parent === undefined) throw new GantryError("not-found", `No such image: ${options.parent}`);
  return withClaims(context, async (scope) => {
    const layer = await storeLayer(context, scope, parent, options);
    const created = new Date().toISOString();
    const { architecture, os, variant } = parent.config;
    const document: ImageConfig = {
      created,
      ...(options.author !== "" && { author: options.author }),
      architecture,
      os,
      ...(variant !== undefined && { variant }),
      ...(parent.config["os.version"] !== undefined && { "os.version": parent.config["os.version"] }),
      config: options.config,
      container: options.containerId,
      rootfs: {
        type: "layers",
        diff_ids: [...parent.config.rootfs.diff_ids, ...(layer === undefined ? [] : [layer.diffId])],
      },
      history: [
        ...(parent.config.history ?? []),
        {
          created,
          created_by: options.createdBy,
          ...(options.author !== "" && { author: options.author }),
          ...(options.comment !== "" && { comment: options.comment }),
          ...(layer === undefined && { empty_layer: true }),
        },
      ],
    };
    const image = await storeImage(context, scope, {
      configBytes: Buffer.from(JSON.stringify(document)),
      config: document,
      layers: [...parent.layers, ...(layer === undefined ? [] : [layer])],
      parent: parent.id,
    });
    failpoint("images.commit.stored");
    if (context.records.get(parent.id) === undefined) {
      throw new GantryError("conflict", `cannot commit: image ${parent.id} was removed meanwhile`);
    }
    const { reference } = options;
    context.records.add([image], reference === undefined ? [] : [[reference, image.id]]);
    if (reference !== undefined) publishImageEvent(context.events, "tag", image, familiarString(reference));
    return image.id;
  });
}

/** undefined if there is nothing in it. */
async function storeLayer(
  context: ImageContext,
  scope: ClaimScope,
  parent: ImageRecord,
  { onRead, signal, snapshot }: CommitOptions,
): Promise<LayerRecord | undefined> {
  const { claims, packer } = context;
  const twin = await packer.packTwin(snapshot, parent.layers.at(-1)?.chainId, { onRead, signal });
  const { digest, size } = twin.blob;
  scope.noteBlob(digest);
  if (size <= EMPTY_LAYER) {
    await twin.discard();
    return undefined;
  }
  failpoint("images.commit.unpacked");
  const chain = chainId([...parent.config.rootfs.diff_ids, digest]).at(-1)!;
  scope.claimChain(chain);
  const bytes = await claims.exclusively(chain, () => twin.commit(chain));
  return {
    blob: { mediaType: MEDIA_TYPE.ociLayer, digest, size },
    diffId: digest,
    chainId: chain,
    size: bytes,
  };
}
