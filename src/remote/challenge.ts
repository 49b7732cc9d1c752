/** One way that a registry offers to prove oneself (RFC 9110, 11.6.1). */
export interface Challenge {
  /** Lower-case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const MAX_HEADER = 8192;
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const SCHEME = new RegExp(`\\s*(${TOKEN})(?:\\s+|(?=,)|$)`, "y");
const PARAMETER = new RegExp(`\\s*(${TOKEN})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s,"]+))\\s*`, "y");

/** Reads a WWW-Authenticate header; what isn't one ends the list. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  const text = header.slice(0, MAX_HEADER);
  let at = 0;
  while (at < text.length) {
    SCHEME.lastIndex = at;
    const scheme = SCHEME.exec(text)?.[1];
    if (scheme === undefined) break;
    at = SCHEME.lastIndex;
    const parameters = new Map<string, string>();
    for (;;) {
      PARAMETER.lastIndex = at;
      const [, name, quoted, plain] = PARAMETER.exec(text) ?? [];
      if (name === undefined) break;
      at = PARAMETER.lastIndex;
      parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "");
      if (text[at] !== ",") break;
      at++;
    }
    challenges.push({ scheme: scheme.toLowerCase(), parameters });
    while (/[\s,]/.test(text[at] ?? "")) at++;
  }
  return challenges;
}
