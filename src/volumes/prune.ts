import { booleanFilter, checkFilters, type Filters, matchPruneLabels } from "../api/filters.ts";
import type { Volume } from "../api/volume.ts";

const KEYS = ["all", "label", "label!"];

/** Which volumes a prune takes of those that nobody refers to. Throws `invalid` for a filter that is none. */
export function pruneChoice(filters: Filters, isAnonymous: (name: string) => boolean): (volume: Volume) => boolean {
  checkFilters(filters, KEYS);
  const all = booleanFilter(filters, "all") ?? false;
  return (volume) =>
    (all || isAnonymous(volume.Name)) &&
    // What is mounted from elsewhere isn't this engine's to remove.
    Object.keys(volume.Options ?? {}).every((option) => option === "size") &&
    matchPruneLabels(volume.Labels, filters);
}
