import { editDistance } from "../base/edit-distance.ts";

/** Edits between two words from which on they are no longer taken for each other. */
const TOO_FAR = 3;
/** Nobody mistypes a longer one, or has more to choose from. */
const LONGEST = 100;
const MOST_OPTIONS = 200;

/** The option that was meant by a mistyped word; undefined if none is near or the word is one of them. */
export function suggestion(
  word: string,
  options: Iterable<string>,
  { caseSensitive }: { readonly caseSensitive: boolean },
): string | undefined {
  if (word.length > LONGEST) return undefined;
  const wanted = caseSensitive ? word : word.toLowerCase();
  let best: string | undefined;
  let least = TOO_FAR;
  let count = 0;
  for (const option of options) {
    if (++count > MOST_OPTIONS) break;
    const candidate = caseSensitive ? option : option.toLowerCase();
    if (candidate === wanted) return undefined;
    if (Math.abs(candidate.length - wanted.length) >= least) continue;
    const edits = editDistance(wanted, candidate);
    if (edits >= least) continue;
    least = edits;
    best = caseSensitive ? option : inCaseOf(word, option);
  }
  return best;
}

/** A message with its suggestion, if there is one: `… (did you mean X?)`. */
export function withSuggestion(
  message: string,
  word: string,
  options: Iterable<string>,
  { caseSensitive }: { readonly caseSensitive: boolean } = { caseSensitive: true },
): string {
  const meant = suggestion(word, options, { caseSensitive });
  return meant === undefined ? message : `${message} (did you mean ${meant}?)`;
}

function inCaseOf(word: string, option: string): string {
  if (word === word.toLowerCase()) return option.toLowerCase();
  return word === word.toUpperCase() ? option.toUpperCase() : option;
}
