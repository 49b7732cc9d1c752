/** A value that prints as `text` and is `json` in JSON: a struct with a text of its own, or a pointer to none. */
export class Shown {
  readonly text: string;
  readonly json: unknown;

  constructor(text: string, json: unknown) {
    this.text = text;
    this.json = json;
  }

  toJSON(): unknown {
    return this.json;
  }
}

/** Go's truth: false, zero, empty and nil are false. */
export function isTrue(value: unknown): boolean {
  if (value instanceof Shown) return value.json !== null;
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** What Go calls the type of a JSON value. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return "nil";
  if (Array.isArray(value)) return "[]interface {}";
  if (typeof value === "object") return "map[string]interface {}";
  if (typeof value === "number") return Number.isInteger(value) ? "int" : "float64";
  if (typeof value === "bigint") return "int";
  return typeof value === "boolean" ? "bool" : typeof value;
}

/** A value as `%v` prints it; nil inside another value is `<nil>`. */
export function goText(value: unknown): string {
  if (value === undefined || value === null) return "<nil>";
  if (typeof value === "number") return numberText(value);
  if (Array.isArray(value)) return `[${value.map(goText).join(" ")}]`;
  if (value instanceof Shown) return value.text;
  if (typeof value === "object") {
    const rows = Object.entries(value)
      .filter(([, item]) => typeof item !== "function")
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `map[${rows.map(([key, item]) => `${key}:${goText(item)}`).join(" ")}]`;
  }
  return String(value);
}

/** A printed action: nil is `<no value>`. */
export function printed(value: unknown): string {
  return value === undefined || value === null ? "<no value>" : goText(value);
}

/** As Go's `%v` of an int or, with the shortest digits that tell it from others, of a float64. */
export function numberText(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e21) return value.toFixed(0);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
  if (Math.abs(value) >= 1e21 || Math.abs(value) < 1e-4) return exponent(value.toExponential());
  return String(value);
}

/** Go writes at least two digits of an exponent. */
export function exponent(text: string): string {
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}

/** JSON as Go writes it for templates: keys in their order, `<`, `>` and `&` as they are. */
export function goJson(value: unknown): string {
  if (!hasBig(value, 0)) return JSON.stringify(value ?? null);
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return `[${value.map(goJson).join(",")}]`;
  const rows = Object.entries(value as object).filter(([, item]) => item !== undefined && typeof item !== "function");
  return `{${rows.map(([key, item]) => `${JSON.stringify(key)}:${goJson(item)}`).join(",")}}`;
}

function hasBig(value: unknown, depth: number): boolean {
  if (typeof value === "bigint") return true;
  if (typeof value !== "object" || value === null || depth > 100) return false;
  return Object.values(value).some((item) => hasBig(item, depth + 1));
}
