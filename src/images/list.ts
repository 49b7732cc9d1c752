import { booleanFilter, checkFilters, type Filters, matchLabels, untilFilter } from "../api/filters.ts";
import type { ImageSummary } from "../api/image.ts";
import { familiarName, familiarString, type Reference } from "../oci/reference.ts";
import type { ImageListOptions, ImageUse } from "./image.ts";
import { descriptorOf, manifestsOf } from "./manifests.ts";
import { familiarPattern } from "./name-pattern.ts";
import { createdAt, type ImageRecord, type ImageRecords, sizeOf } from "./record.ts";
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
  for (const image of records.all().filter(accepts)) {
    const names = records.namesOf(image.id).map(({ reference }) => reference);
    const shown = names.filter(shows);
    const tags = shown.filter((name) => name.tag !== undefined).map(familiarString);
    const digests = shown.filter((name) => name.digest !== undefined).map(familiarString);
    if (shown.length === 0) {
      const isStep = records.childrenOf(image.id).length > 0;
      if (filters.reference?.length || dangling === false || (isStep && (options.all !== true || dangling))) continue;
    } else if (dangling === true && tags.length > 0) continue;
    const summary = summaryOf(image, tags, digests, inUse.get(image.id)?.length ?? 0);
    summaries.push(options.manifests === true ? { ...summary, Manifests: manifestsOf(image, inUse) } : summary);
  }
  if (options.sharedSize === true) addSharedSizes(records, summaries);
  return summaries.sort((one, other) => other.Created - one.Created || (one.Id < other.Id ? -1 : 1));
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

function summaryOf(image: ImageRecord, tags: string[], digests: string[], containers: number): ImageSummary {
  const size = sizeOf(image);
  return {
    Id: image.id,
    ParentId: image.parent ?? "",
    RepoTags: tags,
    RepoDigests: digests,
    Created: Math.trunc(createdAt(image) / 1000),
    Size: size,
    SharedSize: -1,
    Labels: image.config.config?.Labels ?? null,
    Containers: containers,
    Descriptor: descriptorOf(image),
  };
}

function addSharedSizes(records: ImageRecords, summaries: readonly ImageSummary[]): void {
  const uses = new Map<string, number>();
  for (const image of records.all()) {
    for (const { chainId } of image.layers) uses.set(chainId, (uses.get(chainId) ?? 0) + 1);
  }
  for (const summary of summaries) {
    const shared = records.get(summary.Id)?.layers.filter(({ chainId }) => (uses.get(chainId) ?? 0) > 1) ?? [];
    summary.SharedSize = shared.reduce((total, layer) => total + layer.size, 0);
  }
}
