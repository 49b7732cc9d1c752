import { expressionMatches } from "./pattern-expression.ts";

/** One pattern of an ignore file, without its `!`. What it matches is what moby/patternmatcher's matches. */
export interface Pattern {
  readonly text: string;
  /** A whole path; folders above it are the caller's matter. */
  matches(path: string): boolean;
  /** Whether some path below a folder might match. */
  couldMatchBelow(folder: string): boolean;
}

type Matches = (path: string) => boolean;

/** Throws `invalid` for a pattern that can't be compiled. */
export function patternOf(text: string): Pattern {
  const literal = literalPrefix(text);
  return {
    text,
    matches: compile(text),
    couldMatchBelow: (folder) => {
      const below = `${folder}/`;
      if (literal.length === text.length) return literal.startsWith(below);
      return literal.startsWith(below) || below.startsWith(literal);
    },
  };
}

const META = /[*?[\]\\^]/;

function literalPrefix(text: string): string {
  const meta = text.search(META);
  return meta < 0 ? text : text.slice(0, meta);
}

/** The quickest test that answers as the original's regular expression would. */
function compile(text: string): Matches {
  const stars = text.indexOf("**");
  const rest = stars < 0 ? text : text.slice(0, stars) + text.slice(stars + 2);
  const otherMeta = /[*?[\]\\]/.test(rest);
  if (!otherMeta) {
    if (stars < 0) return (path) => path === text;
    if (stars === 0) return endsWith(text.slice(2));
    if (stars === text.length - 2) return startsWith(text.slice(0, -2));
    // `a/**/` is `a/**`; a clean pattern never ends so.
  }
  const tokens = tokensOf(text);
  const exact = expressionMatches(text);
  if (tokens === undefined) return exact;
  const matches = globMatches(tokens);
  // `**` doesn't cross a line's end.
  return (path) => (path.includes("\n") ? exact(path) : matches(path));
}

function startsWith(prefix: string): Matches {
  return (path) => path.startsWith(prefix);
}

/** `**` and what follows; `**`+`/x` is `x` in any folder. */
function endsWith(suffix: string): Matches {
  if (!suffix.startsWith("/")) return (path) => path.endsWith(suffix);
  const name = suffix.slice(1);
  return (path) => path.endsWith(suffix) || path === name;
}

type Token =
  | { readonly is: "text"; readonly text: string }
  /** `?` */
  | { readonly is: "one" }
  /** `*` */
  | { readonly is: "segment" }
  /** `**`: nothing, or whatever ends in a slash. */
  | { readonly is: "folders" }
  /** `**` at the end. */
  | { readonly is: "rest" };

/** Undefined for patterns with rules of their own: classes, escapes, `^`, and `**` within a name. */
function tokensOf(text: string): Token[] | undefined {
  if (/[[\]\\^]/.test(text)) return undefined;
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; ) {
    if (text.startsWith("**", at)) {
      const within = at > 0 && text[at - 1] !== "/";
      at += 2;
      if (text[at] === "/") at++;
      if (within && at < text.length) return undefined;
      tokens.push({ is: at === text.length ? "rest" : "folders" });
    } else if (text[at] === "*") {
      tokens.push({ is: "segment" });
      at++;
    } else if (text[at] === "?") {
      tokens.push({ is: "one" });
      at++;
    } else {
      let end = at + 1;
      while (end < text.length && text[end] !== "*" && text[end] !== "?") end++;
      tokens.push({ is: "text", text: text.slice(at, end) });
      at = end;
    }
  }
  return tokens;
}

/**
 * Only the last `*` and the last `**` are ever tried again: what an earlier one could take more, a later one can as
 * well, and a `*` never crosses a slash.
 */
function globMatches(tokens: readonly Token[]): Matches {
  const [first, second] = tokens;
  if (tokens.length === 2 && first?.is === "segment" && second?.is === "text") {
    const { text } = second;
    const slash = text.lastIndexOf("/");
    if (slash < 0) return (path) => path.endsWith(text) && !path.includes("/");
  }
  return (path) => {
    let token = 0;
    let at = 0;
    let segmentToken = -1;
    let segmentAt = 0;
    let foldersToken = -1;
    let foldersAt = 0;
    for (;;) {
      const current = tokens[token];
      let failed = false;
      if (current === undefined) {
        if (at === path.length) return true;
        failed = true;
      } else if (current.is === "rest") return true;
      else if (current.is === "folders") {
        foldersToken = token++;
        foldersAt = at;
        segmentToken = -1;
      } else if (current.is === "segment") {
        segmentToken = token++;
        segmentAt = at;
      } else if (current.is === "one") {
        const code = path.codePointAt(at);
        if (code === undefined || code === 0x2f) failed = true;
        else {
          at += code > 0xffff ? 2 : 1;
          token++;
        }
      } else if (path.startsWith(current.text, at)) {
        at += current.text.length;
        token++;
        if (current.text.includes("/")) segmentToken = -1;
      } else failed = true;
      if (!failed) continue;
      if (segmentToken >= 0 && segmentAt < path.length && path[segmentAt] !== "/") {
        at = ++segmentAt;
        token = segmentToken + 1;
        continue;
      }
      if (foldersToken < 0) return false;
      const slash = path.indexOf("/", foldersAt);
      if (slash < 0) return false;
      at = foldersAt = slash + 1;
      token = foldersToken + 1;
      segmentToken = -1;
    }
  };
}
