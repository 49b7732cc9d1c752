import { linearPattern } from "../base/linear-pattern.ts";
import { invalid } from "./source.ts";

/**
 * What a pattern matches by the regular expression that the original makes of it: the one truth of classes and escapes,
 * for which its rules are odd. It takes linear time, but much more of it than the tests of `pattern.ts`. Throws
 * `invalid` for what is no expression.
 */
export function expressionMatches(text: string): (path: string) => boolean {
  try {
    return linearPattern(expressionOf(text));
  } catch {
    throw invalid("syntax error in pattern");
  }
}

function expressionOf(text: string): string {
  let expression = "^";
  const characters = [...text];
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at]!;
    if (character === "*" && characters[at + 1] === "*") {
      at++;
      if (characters[at + 1] === "/") at++;
      expression += at + 1 === characters.length ? ".*" : "(.*/)?";
    } else if (character === "*") expression += "[^/]*";
    else if (character === "?") expression += "[^/]";
    else if (".+()|{}$".includes(character)) expression += `\\${character}`;
    else if (character === "\\") expression += `\\${characters[++at] ?? ""}`;
    else expression += character;
  }
  return `${expression}$`;
}
