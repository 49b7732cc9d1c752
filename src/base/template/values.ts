/** Go's truth: false, zero, empty and nil are false. */
export function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** A value as `%v` prints it; nil inside another value is `<nil>`. */
export function goText(value: unknown): string {
  if (value === undefined || value === null) return "<nil>";
  if (typeof value === "number") return numberText(value);
  if (Array.isArray(value)) return `[${value.map(goText).join(" ")}]`;
  if (typeof value === "object") {
    const rows = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `map[${rows.map(([key, item]) => `${key}:${goText(item)}`).join(" ")}]`;
  }
  return String(value);
}

/** A printed action: nil is `<no value>`. */
export function printed(value: unknown): string {
  return value === undefined || value === null ? "<no value>" : goText(value);
}

function numberText(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e21) return value.toFixed(0);
  return String(value).replace(/e([+-])(\d)$/, "e$10$2");
}

/** JSON as Go writes it: keys of maps sorted, `<`, `>` and `&` as they are. */
export function goJson(value: unknown): string {
  return JSON.stringify(value ?? null, (_, item: unknown) => (typeof item === "function" ? undefined : item));
}
