import { booleanFilter, checkFilters, type Filters, matchPruneLabels, untilFilter } from "../api/filters.ts";
import type { ImageDeleteRow } from "../api/image.ts";
import { GantryError, isKind } from "../base/errors.ts";
import { formatReference } from "../oci/reference.ts";
import type { ImageContext } from "./ports.ts";
import { createdAt, type ImageRecord, type LayerRecord } from "./record.ts";
import { dropLooseIndexes, removeImage } from "./remove.ts";
import { sweepLeases } from "./sweep.ts";

const KEYS = ["dangling", "label", "label!", "until"];

export interface Pruned {
  readonly deleted: ImageDeleteRow[];
  /** Bytes of the layers that went, unpacked; and of what unfinished pulls had downloaded. */
  readonly spaceReclaimed: number;
}

/** Removes images that no container uses: those without a tag, or with `dangling=false` all. */
export async function pruneImages(context: ImageContext, filters: Filters): Promise<Pruned> {
  checkFilters(filters, KEYS);
  const danglingOnly = booleanFilter(filters, "dangling") ?? true;
  const until = untilFilter(filters, Date.now());
  const layers = new Map<string, LayerRecord>();
  for (const image of context.records.all()) for (const layer of image.layers) layers.set(layer.chainId, layer);
  const unfinished = await dropUnfinished(context);
  const deleted: ImageDeleteRow[] = await dropLooseIndexes(context);
  for (const image of context.records.all()) {
    if (context.records.get(image.id) === undefined || !isChosen(context, image, filters, until)) continue;
    for (const name of namesToRemove(context, image, danglingOnly)) {
      deleted.push(...(await removeUnlessUsed(context, name)));
    }
  }
  let spaceReclaimed = unfinished;
  for (const row of deleted) if ("Deleted" in row) spaceReclaimed += layers.get(row.Deleted)?.size ?? 0;
  context.events.publish({ type: "image", action: "prune", id: "", attributes: { reclaimed: String(spaceReclaimed) } });
  return { deleted, spaceReclaimed };
}

/** What pulls that failed had got: the next ones begin anew. Resolves with the bytes that are free by it. */
async function dropUnfinished(context: ImageContext): Promise<number> {
  const { content } = context;
  const blobs = context.leases.all().flatMap((lease) => lease.blobs);
  const sizes = new Map(blobs.filter((digest) => content.has(digest)).map((digest) => [digest, content.size(digest)]));
  await sweepLeases(context, "all");
  const partials = await content.removePartials();
  const freed = [...sizes].filter(([digest]) => !content.has(digest));
  return partials + freed.reduce((sum, [, size]) => sum + size, 0);
}

function isChosen(context: ImageContext, image: ImageRecord, filters: Filters, until: number | undefined): boolean {
  const { records } = context;
  if (records.namesOf(image.id).length === 0) {
    // Other platforms' images go with their index.
    if (records.childrenOf(image.id).length > 0 || records.isMember(image.id)) return false;
  }
  if (until !== undefined && createdAt(image) > until) return false;
  return matchPruneLabels(image.config.config?.Labels ?? null, filters);
}

/** By what an image is to be removed: its names one by one, its id if it has none, nothing if it stays. */
function namesToRemove(context: ImageContext, image: ImageRecord, danglingOnly: boolean): string[] {
  const names = context.records.namesOf(image.id);
  if (names.length === 0) return [image.id];
  if (danglingOnly && names.some(({ reference }) => reference.tag !== undefined)) return [];
  return names.map(({ reference }) => formatReference(reference));
}

async function removeUnlessUsed(context: ImageContext, name: string): Promise<ImageDeleteRow[]> {
  try {
    return await removeImage(context, name, { force: false, prune: true });
  } catch (error) {
    // In use, or gone with an image before it.
    if (error instanceof GantryError && (isKind(error, "conflict") || isKind(error, "not-found"))) return [];
    throw error;
  }
}
