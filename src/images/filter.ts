import { GantryError } from "../base/errors.ts";

/** Filters as the API gives them: within a key any value matches, all keys must. */
export type Filters = Readonly<Record<string, readonly string[]>>;

/** Refuses keys that a command doesn't know. */
export function checkFilterKeys(filters: Filters, known: readonly string[]): void {
  for (const key of Object.keys(filters)) {
    if (!known.includes(key)) throw new GantryError("invalid", `invalid filter '${key}'`);
  }
}

/** A yes-or-no filter; undefined if it is not given. */
export function booleanFilter(filters: Filters, key: string): boolean | undefined {
  const values = filters[key];
  if (values === undefined || values.length === 0) return undefined;
  const read = new Set(values.map((value) => BOOLEANS.get(value)));
  const [only] = read;
  if (read.size === 1 && only !== undefined) return only;
  throw new GantryError("invalid", `invalid filter '${key}=[${values.join(" ")}]'`);
}

/** True if the labels have all of the wanted ones: `name` or `name=value`. */
export function hasLabels(labels: Readonly<Record<string, string>>, wanted: readonly string[]): boolean {
  return wanted.every((text) => {
    const equals = text.indexOf("=");
    const name = equals < 0 ? text : text.slice(0, equals);
    return Object.hasOwn(labels, name) && (equals < 0 || labels[name] === text.slice(equals + 1));
  });
}

/**
 * The moment, in Unix milliseconds, that `until` names: a length of time before `now` (`1h30m`), Unix seconds, or a
 * date with or without time and zone (without one it is in this machine's).
 */
export function untilFilter(filters: Filters, now: number): number | undefined {
  const values = filters.until ?? [];
  const [text] = values;
  if (text === undefined) return undefined;
  if (values.length > 1) throw new GantryError("invalid", "more than one until filter specified");
  const before = duration(text);
  if (before !== undefined) return now - before;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (/^\d{4}-\d\d-\d\d/.test(text)) {
    // A date alone would be read as UTC.
    const time = Date.parse(text.length === 10 ? `${text}T00:00:00` : text.replace(/^(\S{10})Z$/, "$1T00:00:00Z"));
    if (!Number.isNaN(time)) return time;
  }
  throw new GantryError("invalid", `failed to parse value as time or duration: ${JSON.stringify(text)}`);
}

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

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["true", true],
  ["1", true],
  ["false", false],
  ["0", false],
]);
const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function duration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(ms|s|m|h)/g))
    total += Number(amount) * (UNITS[unit ?? ""] ?? 0);
  return total;
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
