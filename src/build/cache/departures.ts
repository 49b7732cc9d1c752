import { NumberHeap } from "../../base/number-heap.ts";
import type { CacheUsage } from "../builder.ts";

/**
 * Candidates in the order in which they may go, the first of them first; but what others stand on goes after them, alone
 * it would free nothing. It comes when those that were passed over are looked at again. `children` says how many stand on
 * an entry, by its id; of what stays something does.
 */
export function* departures<T extends { readonly row: Pick<CacheUsage, "id" | "parents"> }>(
  candidates: readonly T[],
  children: Map<string, number>,
): Generator<T> {
  const byId = new Map<string, number>();
  const ready = new NumberHeap();
  for (const [index, { row }] of candidates.entries()) {
    byId.set(row.id, index);
    if ((children.get(row.id) ?? 0) === 0) ready.add(index);
  }
  for (let passedOver: number[] = []; ready.size > 0; passedOver = []) {
    for (let index = ready.take(); index !== undefined; index = ready.take()) {
      const entry = candidates[index]!;
      yield entry;
      for (const parent of entry.row.parents) {
        const left = (children.get(parent) ?? 1) - 1;
        children.set(parent, left);
        const place = left === 0 ? byId.get(parent) : undefined;
        if (place === undefined) continue;
        if (place > index) ready.add(place);
        else passedOver.push(place);
      }
    }
    for (const index of passedOver) ready.add(index);
  }
}
