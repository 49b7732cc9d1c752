/** The same record with its keys in the order of Go's maps in JSON, which people know from Docker's answers. */
export function byKey<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}
