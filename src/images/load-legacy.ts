import * as v from "valibot";
import { GantryError } from "../base/errors.ts";
import { decompress } from "../oci/compression.ts";
import type { History } from "../oci/image.ts";
import { parseImageConfig, readDocument } from "../oci/image-config.ts";
import { parseNormalized, type Reference, withTag } from "../oci/reference.ts";
import type { ArchivedImage, ImageArchive } from "./archive.ts";
import { digestOf } from "./unpack.ts";

const repositories = v.record(v.string(), v.record(v.string(), v.string()));
const layerDocument = v.looseObject({
  parent: v.optional(v.string()),
  os: v.optional(v.string()),
  architecture: v.optional(v.string()),
  created: v.optional(v.string()),
  author: v.optional(v.string()),
  comment: v.optional(v.string()),
  container_config: v.nullish(v.looseObject({ Cmd: v.nullish(v.array(v.string())) })),
});
type LayerDocument = v.InferOutput<typeof layerDocument>;

/** What only the first format of Docker's images had. */
const DROPPED = ["id", "parent", "parent_id", "layer_id", "throwaway", "Size"];
const MAX_LAYERS = 512;

/**
 * The images of what `docker save` wrote before 1.10: a folder a layer with `json` and `layer.tar`, each naming its
 * parent, and `repositories`. Layers that nothing names and nothing stands on are images without a name.
 */
export async function readLegacyArchive(archive: ImageArchive): Promise<ArchivedImage[]> {
  const documents = new Map<string, LayerDocument>();
  for (const id of archive.foldersWith("json")) {
    documents.set(id, readDocument(layerDocument, await archive.document(`${id}/json`), "image json"));
  }
  const names = new Map<string, Reference[]>();
  const rows = readDocument(repositories, await archive.document("repositories"), "repositories");
  for (const [repository, tags] of Object.entries(rows)) {
    for (const [tag, id] of Object.entries(tags)) {
      if (!documents.has(id)) throw new GantryError("invalid", `invalid target ID: ${id}`);
      names.set(id, [...(names.get(id) ?? []), withTag(parseNormalized(repository), tag)]);
    }
  }
  const parents = new Set([...documents.values()].map(({ parent }) => parent));
  const tops = [...documents.keys()].filter((id) => names.has(id) || !parents.has(id));
  const diffIds = new Map<string, Promise<string>>();
  const diffIdOf = (id: string): Promise<string> => {
    const known = diffIds.get(id) ?? uncompressedDigest(archive, `${id}/layer.tar`);
    diffIds.set(id, known);
    return known;
  };
  const images: ArchivedImage[] = [];
  for (const top of tops) {
    const chain = lineage(documents, top);
    const layers = [];
    for (const id of chain) layers.push(await diffIdOf(id));
    const configBytes = configOf(
      chain.map((id) => documents.get(id) ?? {}),
      layers,
    );
    images.push({
      configBytes,
      config: parseImageConfig(configBytes),
      layers: chain.map((id) => ({ file: `${id}/layer.tar` })),
      names: names.get(top) ?? [],
    });
  }
  return images;
}

/** A layer's id and those below it, bottom first. */
function lineage(documents: ReadonlyMap<string, LayerDocument>, top: string): string[] {
  const chain: string[] = [];
  for (let id: string | undefined = top; id !== undefined && id !== ""; id = documents.get(id)?.parent) {
    if (!documents.has(id)) throw new GantryError("invalid", `cannot load the archive: it has no layer ${id}`);
    if (chain.length === MAX_LAYERS) throw new GantryError("invalid", "cannot load the archive: max depth exceeded");
    chain.unshift(id);
  }
  return chain;
}

function configOf(documents: readonly LayerDocument[], diffIds: readonly string[]): Buffer {
  const top = documents.at(-1) ?? {};
  const kept = Object.fromEntries(Object.entries(top).filter(([key]) => !DROPPED.includes(key)));
  const history = documents.map(
    (document): History => ({
      ...(document.created !== undefined && { created: document.created }),
      ...(document.author !== undefined && { author: document.author }),
      created_by: document.container_config?.Cmd?.join(" ") ?? "",
      ...(document.comment !== undefined && { comment: document.comment }),
    }),
  );
  return Buffer.from(JSON.stringify({ os: "linux", ...kept, rootfs: { type: "layers", diff_ids: diffIds }, history }));
}

async function uncompressedDigest(archive: ImageArchive, file: string): Promise<string> {
  const { stream, compression } = await decompress(archive.open(file));
  if (compression !== "none") return (await digestOf(stream)).digest;
  stream.destroy();
  return archive.stat(file).digest;
}
