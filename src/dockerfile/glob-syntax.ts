/** Whether a pattern is well-formed by the rules of Go's `filepath.Match`. */
export function isGlob(pattern: string): boolean {
  const characters = [...pattern];
  let at = 0;
  while (at < characters.length) {
    const character = characters[at++];
    if (character === "\\") {
      if (at++ >= characters.length) return false;
    } else if (character === "[") {
      const end = classEnd(characters, at);
      if (end === undefined) return false;
      at = end;
    }
  }
  return true;
}

/** Behind the `]` of a class that begins at `from`; undefined if it is malformed. */
function classEnd(characters: readonly string[], from: number): number | undefined {
  let at = from;
  if (characters[at] === "^") at++;
  for (let count = 0; ; count++) {
    if (characters[at] === "]" && count > 0) return at + 1;
    const low = memberEnd(characters, at);
    if (low === undefined) return undefined;
    at = low;
    if (characters[at] !== "-") continue;
    const high = memberEnd(characters, at + 1);
    if (high === undefined) return undefined;
    at = high;
  }
}

function memberEnd(characters: readonly string[], at: number): number | undefined {
  const character = characters[at];
  if (character === undefined || character === "-" || character === "]") return undefined;
  const end = character === "\\" ? at + 2 : at + 1;
  // A class that ends with its member is not closed.
  return end < characters.length ? end : undefined;
}
