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
  const read = new Set(values.map((value) => BOOLEANS[value]));
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

/** Go's `path.Match` in the familiar form of names: `*` and `?` stop at a slash. Throws `invalid` as Go does. */
export function familiarPattern(pattern: string): (name: string) => boolean {
  const expression = patternExpression(pattern);
  return (name) => expression.test(name);
}

const BOOLEANS: Readonly<Record<string, boolean>> = { true: true, "1": true, false: false, "0": false };
const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function duration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(ms|s|m|h)/g))
    total += Number(amount) * (UNITS[unit ?? ""] ?? 0);
  return total;
}

function patternExpression(pattern: string): RegExp {
  let source = "";
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? "";
    // Stars side by side are one: each more would multiply the ways to match.
    if (character === "*") source += source.endsWith("[^/]*") ? "" : "[^/]*";
    else if (character === "?") source += "[^/]";
    else if (character === "[") {
      const set = /^\[(\^?)((?:\\.|[^\]\\])+)\]/.exec(pattern.slice(at));
      if (set === null) throw new GantryError("invalid", "syntax error in pattern");
      source += `[${set[1]}${(set[2] ?? "").replace(/\\?([\]\\^[])/g, "\\$1")}]`;
      at += set[0].length - 1;
    } else if (character === "\\") {
      const escaped = pattern[++at];
      if (escaped === undefined) throw new GantryError("invalid", "syntax error in pattern");
      source += quote(escaped);
    } else source += quote(character);
  }
  try {
    return new RegExp(`^${source}$`);
  } catch (cause) {
    throw new GantryError("invalid", "syntax error in pattern", { cause });
  }
}

function quote(character: string): string {
  return character.replace(/[.*+?^${}()|[\]\\/-]/, "\\$&");
}
