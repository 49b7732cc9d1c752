import { booleanFilter, checkFilters, type Filters, matchLabels, untilFilter } from "../api/filters.ts";
import type { ImageSummary } from "../api/image.ts";
import { familiarName, familiarString, type Reference } from "../oci/reference.ts";
import type { ImageListOptions, ImageUse } from "./image.ts";
import type { IndexRecord } from "./index-record.ts";
import { containersOf, descriptorOf, layersOf, manifestsOf, sizeOfIndex } from "./manifests.ts";
import { familiarPattern } from "./name-pattern.ts";
import { createdAt, type ImageName, type ImageRecord, type ImageRecords, type LayerRecord, sizeOf } from "./record.ts";
import { findImage } from "./resolve.ts";

const KEYS = ["dangling", "label", "before", "since", "until", "reference"];

/** GET /images/json: youngest first. Images that only are steps of another are shown with `all`. */
export function listImages(
  records: ImageRecords,
  options: ImageListOptions,
  inUse: ReadonlyMap<string, readonly ImageUse[]>,
): ImageSummary[] {
  const filters = options.filters ?? {};
  checkFilters(filters, KEYS);
  const accepts = acceptance(records, filters);
  const shows = nameFilter(filters);
  const dangling = booleanFilter(filters, "dangling");
  const summaries: ImageSummary[] = [];
  const images = records.all();
  // Asked of each would be all of them for each.
  const parents = new Set(images.map(({ parent }) => parent));
  for (const image of images.filter(accepts)) {
    const all = records.namesOf(image.id);
    // Another platform's image is shown with its index.
    if (all.length === 0 && records.isMember(image.id)) continue;
    // By an id that is told as that of a dangling image all goes that the image has.
    const isTagged = all.some(({ reference }) => reference.tag !== undefined && shows(reference));
    for (const { index, names } of meaningsOf(records, image, all)) {
      const shown = names.map(({ reference }) => reference).filter(shows);
      const tags = shown.filter((name) => name.tag !== undefined).map(familiarString);
      const digests = shown.filter((name) => name.digest !== undefined).map(familiarString);
      if (shown.length === 0) {
        const isStep = parents.has(image.id);
        if (filters.reference?.length || dangling === false || (isStep && (options.all !== true || dangling))) continue;
      } else if (dangling === true && isTagged) continue;
      const summary = summaryOf(records, image, index, tags, digests, inUse);
      summaries.push(
        options.manifests === true ? { ...summary, Manifests: manifestsOf(records, image, index, inUse) } : summary,
      );
    }
  }
  if (options.sharedSize === true) addSharedSizes(records, summaries);
  return summaries.sort((one, other) => other.Created - one.Created || (one.Id < other.Id ? -1 : 1));
}

/** What the names of an image mean: itself, indexes that have it, or both, which are rows of their own. */
function meaningsOf(
  records: ImageRecords,
  image: ImageRecord,
  names: readonly ImageName[],
): { readonly index: IndexRecord | undefined; readonly names: readonly ImageName[] }[] {
  if (records.indexesRunning(image.id).length === 0) return [{ index: undefined, names }];
  if (names.length === 0) return [{ index: records.indexOf(image.id), names }];
  const byIndex = Map.groupBy(names, ({ reference }) => records.indexNamed(reference));
  return [...byIndex].map(([index, own]) => ({ index, names: own }));
}

function acceptance(records: ImageRecords, filters: Filters): (image: ImageRecord) => boolean {
  const before = filters.before?.map((name) => createdAt(findImage(records, name))) ?? [];
  const since = filters.since?.map((name) => createdAt(findImage(records, name))) ?? [];
  const until = untilFilter(filters, Date.now());
  const labels = filters.label ?? [];
  return (image) => {
    const created = createdAt(image);
    return (
      before.every((limit) => created < limit) &&
      since.every((limit) => created > limit) &&
      (until === undefined || created <= until) &&
      matchLabels(image.config.config?.Labels ?? null, labels)
    );
  };
}

/** A pattern may match the whole familiar form or the name alone. */
function nameFilter(filters: Filters): (name: Reference) => boolean {
  const patterns = filters.reference?.map(familiarPattern) ?? [];
  if (patterns.length === 0) return () => true;
  return (name) => patterns.some((matches) => matches(familiarString(name)) || matches(familiarName(name)));
}

function summaryOf(
  records: ImageRecords,
  image: ImageRecord,
  index: IndexRecord | undefined,
  tags: string[],
  digests: string[],
  inUse: ReadonlyMap<string, readonly ImageUse[]>,
): ImageSummary {
  return {
    Id: image.id,
    ParentId: image.parent ?? "",
    RepoTags: tags,
    RepoDigests: digests,
    Created: Math.trunc(createdAt(image) / 1000),
    Size: index === undefined ? sizeOf(image) : sizeOfIndex(records, index),
    SharedSize: -1,
    Labels: image.config.config?.Labels ?? null,
    Containers: index === undefined ? (inUse.get(image.id)?.length ?? 0) : containersOf(index, inUse),
    Descriptor: descriptorOf(image, index),
  };
}

/** What other rows of the list have, too. */
function addSharedSizes(records: ImageRecords, summaries: readonly ImageSummary[]): void {
  // An image has a layer once, the images of an index may have it several times.
  const layersOfRow = (image: ImageRecord, index: IndexRecord | undefined): Iterable<LayerRecord> =>
    index === undefined ? image.layers : new Map(layersOf(records, index).map((one) => [one.chainId, one])).values();
  const uses = new Map<string, number>();
  const count = (layers: Iterable<LayerRecord>): void => {
    for (const { chainId } of layers) uses.set(chainId, (uses.get(chainId) ?? 0) + 1);
  };
  for (const image of records.all()) {
    if (records.indexes.having(image.id).length === 0) {
      count(image.layers);
      continue;
    }
    const names = records.namesOf(image.id);
    if (names.length === 0 && records.isMember(image.id)) continue;
    for (const { index } of meaningsOf(records, image, names)) count(layersOfRow(image, index));
  }
  for (const summary of summaries) {
    const image = records.get(summary.Id);
    if (image === undefined) continue;
    let shared = 0;
    for (const { chainId, size } of layersOfRow(image, records.indexes.get(summary.Descriptor?.digest ?? ""))) {
      if ((uses.get(chainId) ?? 0) > 1) shared += size;
    }
    summary.SharedSize = shared;
  }
}
