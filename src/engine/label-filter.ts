/** True if the labels carry each `key` or `key=value` asked for. */
export function matchLabels(labels: Readonly<Record<string, string>> | null, asked: readonly string[]): boolean {
  return asked.every((wanted) => {
    const equals = wanted.indexOf("=");
    const key = equals < 0 ? wanted : wanted.slice(0, equals);
    if (labels === null || !Object.hasOwn(labels, key)) return false;
    return equals < 0 || labels[key] === wanted.slice(equals + 1);
  });
}
