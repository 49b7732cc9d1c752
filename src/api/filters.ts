import { parseDuration } from "../base/duration.ts";
import { GantryError } from "../base/errors.ts";
import { linearPattern } from "../base/linear-pattern.ts";

/** A `filters` parameter: key to values. Within a key any value matches but of labels, of which all must; all keys must. */
export type Filters = Readonly<Record<string, readonly string[]>>;

/** Refuses a filter whose key is none of `accepted`, in Docker's words. */
export function checkFilters(filters: Filters, accepted: readonly string[]): void {
  for (const key of Object.keys(filters)) {
    if (!accepted.includes(key)) throw new GantryError("invalid", `invalid filter '${key.slice(0, 100)}'`);
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

/**
 * Tests texts against the value of a filter that is a regular expression, of a name or an id; one that isn't valid is a
 * piece of text, as with Docker. The time it takes grows with the text alone.
 */
export function textTest(value: string): (text: string) => boolean {
  let matches: (text: string) => boolean;
  try {
    matches = linearPattern(value);
  } catch {
    matches = (text) => text.includes(value);
  }
  return (text) => text === value || matches(text);
}

/** True if the labels carry each `key` or `key=value` asked for. */
export function matchLabels(labels: Readonly<Record<string, string>> | null, asked: readonly string[]): boolean {
  return asked.every((wanted) => {
    const equals = wanted.indexOf("=");
    const key = equals < 0 ? wanted : wanted.slice(0, equals);
    if (labels === null || !Object.hasOwn(labels, key)) return false;
    return equals < 0 || labels[key] === wanted.slice(equals + 1);
  });
}

/** A prune's `label` and `label!`: the latter spares what carries all of its labels, not any, as Docker does. */
export function matchPruneLabels(labels: Readonly<Record<string, string>> | null, filters: Filters): boolean {
  const spared = filters["label!"] ?? [];
  return matchLabels(labels, filters.label ?? []) && (spared.length === 0 || !matchLabels(labels, spared));
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
  const before = durationMs(text);
  if (before !== undefined) return now - before;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (/^\d{4}-\d\d-\d\d/.test(text)) {
    // A date alone would be read as UTC.
    const time = Date.parse(text.length === 10 ? `${text}T00:00:00` : text.replace(/^(\S{10})Z$/, "$1T00:00:00Z"));
    if (!Number.isNaN(time)) return time;
  }
  throw new GantryError("invalid", `failed to parse value as time or duration: ${JSON.stringify(text)}`);
}

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ["true", true],
  ["1", true],
  ["false", false],
  ["0", false],
]);

/** undefined if it is none; a bare 0 is a time. */
function durationMs(text: string): number | undefined {
  if (text === "0") return undefined;
  try {
    return parseDuration(text) / 1e6;
  } catch {
    return undefined;
  }
}
