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
    const edits = editsBetween(wanted, candidate);
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

/** Levenshtein's distance, but neighbours that changed places count as one. */
function editsBetween(from: string, to: string): number {
  const a = [...from];
  const b = [...to];
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? before[j - 2]! + 1 : change;
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, change, swap));
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}
