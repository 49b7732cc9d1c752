import { filtersQuery } from "../../client/client.ts";

/** The `filters` of a query from the values of `--filter`, with what a command adds itself. */
export function filtersOf(values: readonly string[], more: Readonly<Record<string, string>> = {}): string | undefined {
  const filters = new Map<string, string[]>();
  const rows = [
    ...values
      .filter((value) => value !== "")
      .map((value) => [value.slice(0, value.indexOf("=")), value.slice(value.indexOf("=") + 1)] as const),
    ...Object.entries(more),
  ];
  for (const [key, value] of rows) {
    const list = filters.get(key) ?? [];
    if (!list.includes(value)) list.push(value);
    filters.set(key, list);
  }
  return filtersQuery(filters);
}
