import { invalid } from "./source.ts";

/** Patterns of `${name#pattern}`, `%` and `/`: `*`, `?` and literal characters; neither crosses a line's end. */

type Token = { readonly is: "star" } | { readonly is: "any" } | { readonly is: "literal"; readonly text: string };

/** Pattern's tokens times text's characters that are tried at most. */
const MOST_WORK = 4_000_000;

/** The text without the start that matches: the shortest such start, or the longest. */
export function withoutPrefix(pattern: string, text: string, longest: boolean): string {
  const tokens = tokensOf(pattern);
  const characters = [...text];
  const ends = endsOf(tokens, characters, 0);
  const end = longest ? ends.at(-1) : ends[0];
  return end === undefined ? text : characters.slice(end).join("");
}

/** The same of its end. */
export function withoutSuffix(pattern: string, text: string, longest: boolean): string {
  const tokens = tokensOf(pattern).toReversed();
  const characters = [...text].toReversed();
  const ends = endsOf(tokens, characters, 0);
  const end = longest ? ends.at(-1) : ends[0];
  return end === undefined ? text : characters.slice(end).toReversed().join("");
}

/** The text with the first part that matches, or all such parts, replaced; each as long as it can be. */
export function replaced(pattern: string, text: string, replacement: string, all: boolean): string {
  const tokens = tokensOf(pattern);
  const characters = [...text];
  let result = "";
  let at = 0;
  let work = 0;
  /** Where the last match ended: an empty one right there would be part of it. */
  let lastEnd = -1;
  while (at <= characters.length) {
    work += tokens.length * (characters.length - at + 1);
    if (work > MOST_WORK) throw invalid("the text is too long for a pattern in a substitution");
    const end = endsOf(tokens, characters, at).at(-1);
    if (end !== undefined && !(end === at && at === lastEnd)) {
      result += replacement;
      if (!all) return result + characters.slice(end).join("");
      lastEnd = end;
      if (end > at) {
        at = end;
        continue;
      }
    }
    result += characters[at] ?? "";
    at++;
  }
  return result;
}

function tokensOf(pattern: string): Token[] {
  const tokens: Token[] = [];
  const characters = [...pattern];
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at]!;
    if (character === "*") tokens.push({ is: "star" });
    else if (character === "?") tokens.push({ is: "any" });
    else if (character !== "\\") tokens.push({ is: "literal", text: character });
    else {
      const escaped = characters[++at];
      if (escaped === undefined || !"}/*?\\".includes(escaped)) {
        throw invalid(`invalid pattern (${pattern}) in substitution: invalid escape '\\${escaped ?? ""}'`);
      }
      tokens.push({ is: "literal", text: escaped });
    }
  }
  return tokens;
}

/** Where a match that begins at `start` can end, in order. */
function endsOf(tokens: readonly Token[], text: readonly string[], start: number): number[] {
  if (tokens.length * (text.length - start) > MOST_WORK) {
    throw invalid("the text is too long for a pattern in a substitution");
  }
  // reached[i]: the first i tokens can have matched what lies before the current place.
  let reached = new Uint8Array(tokens.length + 1);
  reached[0] = 1;
  const ends: number[] = [];
  for (let at = start; at <= text.length; at++) {
    for (let i = 0; i < tokens.length; i++) if (reached[i] === 1 && tokens[i]!.is === "star") reached[i + 1] = 1;
    if (reached[tokens.length] === 1) ends.push(at);
    const character = text[at];
    if (character === undefined) break;
    const next = new Uint8Array(tokens.length + 1);
    let any = false;
    for (let i = 0; i < tokens.length; i++) {
      if (reached[i] === 0) continue;
      const token = tokens[i]!;
      const takes = token.is === "literal" ? token.text === character : character !== "\n";
      if (!takes) continue;
      next[token.is === "star" ? i : i + 1] = 1;
      any = true;
    }
    if (!any) break;
    reached = next;
  }
  return ends;
}
