import * as v from "valibot";
import { GantryError } from "../base/errors.ts";
import { parseImageConfig, readDocument } from "../oci/image-config.ts";
import { parseNormalized, type Reference } from "../oci/reference.ts";
import type { ArchivedImage, ImageArchive } from "./archive.ts";

/** Images of one archive, and names of all of them: as many as an index may have. */
const MOST = 4096;
const manifest = v.nullable(
  v.pipe(
    v.array(
      v.looseObject({
        Config: v.string(),
        RepoTags: v.nullish(v.array(v.string())),
        Layers: v.nullish(v.array(v.string())),
      }),
    ),
    v.maxLength(MOST, `more than ${MOST} images`),
  ),
);

/** The images of what `docker save` has written since 1.10: `manifest.json` names configs, layers and tags. */
export async function readDockerArchive(archive: ImageArchive): Promise<ArchivedImage[]> {
  const items = readDocument(manifest, await archive.document("manifest.json"), "manifest");
  if (items === null) {
    throw new GantryError("invalid", "invalid manifest, manifest cannot be null (but can be [])");
  }
  if (items.flatMap((item) => item.RepoTags ?? []).length > MOST) {
    throw new GantryError("invalid", `invalid manifest: more than ${MOST} names`);
  }
  const images: ArchivedImage[] = [];
  for (const item of items) {
    const configBytes = await archive.document(item.Config);
    const config = parseImageConfig(configBytes);
    const layers = item.Layers ?? [];
    const diffIds = config.rootfs.diff_ids;
    if (layers.length !== diffIds.length) {
      throw new GantryError(
        "invalid",
        `invalid manifest, layers length mismatch: expected ${layers.length}, got ${diffIds.length}`,
      );
    }
    images.push({
      configBytes,
      config,
      layers: layers.map((file) => ({ file })),
      names: (item.RepoTags ?? []).map(tagged),
    });
  }
  return images;
}

function tagged(text: string): Reference {
  const reference = parseNormalized(text);
  if (reference.tag === undefined || reference.digest !== undefined) {
    throw new GantryError("invalid", `invalid tag ${JSON.stringify(text)}`);
  }
  return reference;
}
