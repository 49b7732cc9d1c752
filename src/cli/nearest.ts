import { editDistance } from "../base/edit-distance.ts";

/** The candidates that are nearest to a mistyped word, best first; none if all are too far off. */
export function nearest(word: string, candidates: readonly string[]): readonly string[] {
  return candidates
    .map((candidate) => ({ candidate, distance: candidate.startsWith(word) ? 0 : editDistance(word, candidate) }))
    .filter((row) => row.distance <= (word.length < 4 ? 1 : 2) && row.distance < row.candidate.length)
    .sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, 3)
    .map((row) => row.candidate);
}

/** The end of a message about a mistyped word; "" if nothing is near. */
export function didYouMean(near: readonly string[]): string {
  return near.length === 0 ? "" : `\n\nDid you mean this?\n${near.map((name) => `\t${name}`).join("\n")}`;
}
