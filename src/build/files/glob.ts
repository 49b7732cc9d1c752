/**
 * Whether a name matches a pattern by the rules of Go's `filepath.Match`, of one part of a path: `*`, `?`, classes as
 * `[a-z]` and `[^a]`, a backslash before what is meant as it is. A malformed pattern matches nothing.
 */
export function matchesName(pattern: string, name: string): boolean {
  const tokens = tokensOf(pattern);
  if (tokens === undefined) return false;
  const characters = [...name];
  // Only the last star is tried again: what an earlier one could take more, that one can as well.
  let token = 0;
  let at = 0;
  let star = -1;
  let starAt = 0;
  while (at < characters.length || token < tokens.length) {
    const next = tokens[token];
    if (next === "*") {
      star = token++;
      starAt = at;
    } else if (next !== undefined && at < characters.length && fits(next, characters[at]!)) {
      token++;
      at++;
    } else if (star >= 0 && starAt < characters.length) {
      at = ++starAt;
      token = star + 1;
    } else return false;
  }
  return true;
}

/** False for a path of which some part is malformed as a pattern. */
export function isGlob(path: string): boolean {
  return path.split("/").every((part) => !hasWildcards(part) || tokensOf(part) !== undefined);
}

/** Whether a path has anything that is special in a pattern. */
export function hasWildcards(path: string): boolean {
  return /(?:^|[^\\])(?:\\\\)*[*?[]/.test(path);
}

type Token = "*" | { readonly ranges: readonly (readonly [number, number])[]; readonly negated: boolean };

const ANY: Token = { ranges: [], negated: true };

function fits(token: Exclude<Token, "*">, character: string): boolean {
  const code = character.codePointAt(0)!;
  return token.ranges.some(([low, high]) => low <= code && code <= high) !== token.negated;
}

function tokensOf(pattern: string): Token[] | undefined {
  const characters = [...pattern];
  const tokens: Token[] = [];
  for (let at = 0; at < characters.length; ) {
    const character = characters[at++]!;
    if (character === "*") {
      if (tokens.at(-1) !== "*") tokens.push("*");
    } else if (character === "?") tokens.push(ANY);
    else if (character === "[") {
      const found = classAt(characters, at);
      if (found === undefined) return undefined;
      tokens.push(found.token);
      at = found.end;
    } else {
      const meant = character === "\\" ? characters[at++] : character;
      if (meant === undefined) return undefined;
      const code = meant.codePointAt(0)!;
      tokens.push({ ranges: [[code, code]], negated: false });
    }
  }
  return tokens;
}

function classAt(
  characters: readonly string[],
  from: number,
): { readonly token: Token; readonly end: number } | undefined {
  let at = from;
  const negated = characters[at] === "^";
  if (negated) at++;
  const ranges: [number, number][] = [];
  const member = (): number | undefined => {
    let character = characters[at++];
    if (character === undefined || character === "-" || character === "]") return undefined;
    if (character === "\\") character = characters[at++];
    return character?.codePointAt(0);
  };
  for (;;) {
    if (characters[at] === "]" && ranges.length > 0) return { token: { ranges, negated }, end: at + 1 };
    const low = member();
    if (low === undefined) return undefined;
    if (characters[at] !== "-") {
      ranges.push([low, low]);
      continue;
    }
    at++;
    const high = member();
    if (high === undefined) return undefined;
    ranges.push([low, high]);
  }
}
