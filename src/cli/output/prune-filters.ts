import { filtersQuery } from "../../client/client.ts";
import type { Call } from "../command.ts";

/**
 * The filters of a pruning command: those of the command line, then those of `pruneFilters` in the configuration that
 * the command line doesn't contradict.
 */
export function pruneFilters(call: Call): ReadonlyMap<string, readonly string[]> {
  const filters = new Map<string, string[]>();
  const add = (key: string, value: string): void => {
    const values = filters.get(key) ?? [];
    if (!values.includes(value)) values.push(value);
    filters.set(key, values);
  };
  for (const text of call.flags.list("filter")) {
    const equals = text.indexOf("=");
    if (equals !== -1) add(text.slice(0, equals), text.slice(equals + 1));
  }
  const given = new Map([...filters].map(([key, values]) => [key, [...values]]));
  for (const text of call.settings.config().pruneFilters ?? []) {
    const equals = text.indexOf("=");
    if (equals === -1) continue;
    const key = text.slice(0, equals);
    const value = text.slice(equals + 1);
    const opposite = key === "label" ? "label!" : key === "label!" ? "label" : "";
    if (!(given.get(opposite) ?? []).includes(value)) add(key, value);
  }
  return filters;
}

/** The filters as the API takes them, with what a command adds. */
export function pruneQuery(
  filters: ReadonlyMap<string, readonly string[]>,
  more: Readonly<Record<string, string>> = {},
): string | undefined {
  const all = new Map(filters);
  for (const [key, value] of Object.entries(more)) all.set(key, [...(filters.get(key) ?? []), value]);
  return filtersQuery(all);
}
