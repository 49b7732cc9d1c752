import { GantryError } from "../base/errors.ts";

/**
 * Go's `path.Match` in the familiar form of names: `*` and `?` stop at a slash. Throws `invalid` as Go does. Takes
 * linear time for each star, which an expression made of the pattern would not.
 */
export function familiarPattern(pattern: string): (name: string) => boolean {
  const tokens = patternTokens(pattern);
  return (name) => {
    const text = [...name];
    let at = 0;
    let token = 0;
    // To fall back to the last star alone is enough: whatever an earlier one could take, this one can.
    let star: { token: number; at: number } | undefined;
    while (at < text.length || token < tokens.length) {
      const wanted = tokens[token];
      if (wanted === "star") {
        star = { token: ++token, at };
        continue;
      }
      if (wanted !== undefined && at < text.length && wanted(text[at] ?? "")) {
        token++;
        at++;
        continue;
      }
      if (star === undefined || star.at >= text.length || text[star.at] === "/") return false;
      at = ++star.at;
      token = star.token;
    }
    return true;
  };
}

type Token = "star" | ((character: string) => boolean);

function patternTokens(pattern: string): Token[] {
  const tokens: Token[] = [];
  for (let rest = pattern; rest !== ""; ) {
    const set = /^\[(\^?)((?:\\.|[^\]\\])+)\]/su.exec(rest);
    const [one = ""] = /^(?:\\.|[^\\[])/su.exec(rest) ?? [];
    if (set !== null) tokens.push(setToken(set[1] === "^", set[2] ?? ""));
    else if (one === "") throw badPattern();
    else if (one === "*") tokens.push("star");
    else if (one === "?") tokens.push((character) => character !== "/");
    else {
      const literal = one.replace(/^\\/, "");
      tokens.push((character) => character === literal);
    }
    rest = rest.slice(set?.[0].length ?? one.length);
  }
  return tokens;
}

/** The inside of brackets: characters and ranges of them, each perhaps escaped. */
function setToken(negated: boolean, inside: string): Token {
  const ranges: (readonly [first: string, last: string])[] = [];
  for (const [, first = "", last] of inside.matchAll(/(\\.|[^\\-])(?:-(\\.|[^\\-]))?|./gsu)) {
    if (first === "") throw badPattern();
    const from = first.replace(/^\\/, "");
    ranges.push([from, (last ?? from).replace(/^\\(?=.)/su, "")]);
  }
  return (character) => ranges.some(([first, last]) => first <= character && character <= last) !== negated;
}

function badPattern(): GantryError {
  return new GantryError("invalid", "syntax error in pattern");
}
