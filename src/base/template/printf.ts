import { exponent, goText, numberText, typeName } from "./values.ts";

const MOST_WIDTH = 1_000_000;

/** Go's Sprintf for JSON values. */
export function sprintf(format: string, args: readonly unknown[]): string {
  let used = 0;
  let reordered = false;
  const star = (): number | undefined => {
    const value = args[used++];
    return typeof value === "number" && Math.abs(value) <= MOST_WIDTH ? value : undefined;
  };
  const text = format.replace(
    /%([-+ #0]*)(\[\d+\])?(\d+|\*)?(\.(?:\d+|\*)?)?(\[\d+\])?([\s\S]|$)/gu,
    (_, given: string, before?: string, width?: string, point?: string, after?: string, verb = "") => {
      if (verb === "%") return "%";
      if (verb === "") return "%!(NOVERB)";
      let flags = given;
      const place = after ?? before;
      if (before !== undefined && width === "*") used = Number(before.slice(1, -1)) - 1;
      let size = width === "*" ? star() : Number(width ?? 0);
      if (size === undefined || size > MOST_WIDTH) return "%!(BADWIDTH)";
      if (size < 0) {
        size = -size;
        flags += "-";
      }
      const digits = point === undefined ? undefined : point === ".*" ? star() : Number(point.slice(1));
      if (point !== undefined && (digits === undefined || digits < 0 || digits > MOST_WIDTH)) return "%!(BADPREC)";
      if (place !== undefined) reordered = true;
      if (place !== undefined && !(width === "*" && after === undefined)) used = Number(place.slice(1, -1)) - 1;
      if (place !== undefined && (used < 0 || used >= args.length)) return `%!${verb}(BADINDEX)`;
      if (used >= args.length) return `%!${verb}(MISSING)`;
      return padded(args[used++], verb, flags, size, digits);
    },
  );
  if (reordered || used >= args.length) return text;
  const extra = args
    .slice(used)
    .map((arg) => (arg === null || arg === undefined ? "<nil>" : `${typeName(arg)}=${goText(arg)}`));
  return `${text}%!(EXTRA ${extra.join(", ")})`;
}

function padded(value: unknown, verb: string, flags: string, size: number, digits: number | undefined): string {
  const body = formatted(verb, value, flags, digits);
  const missing = Math.max(0, size - [...body].length);
  if (flags.includes("-")) return body + " ".repeat(missing);
  const isNumber = typeof value === "number" || typeof value === "bigint";
  if (!flags.includes("0") || (isNumber && digits !== undefined && "dxXob".includes(verb))) {
    return " ".repeat(missing) + body;
  }
  return /^[+-]/.test(body) && isNumber
    ? (body[0] ?? "") + "0".repeat(missing) + body.slice(1)
    : "0".repeat(missing) + body;
}

function formatted(verb: string, value: unknown, flags: string, digits: number | undefined): string {
  const isNil = value === null || value === undefined;
  if (verb === "T") return isNil ? "<nil>" : typeName(value);
  if (verb === "v")
    return flags.includes("#") ? goSyntax(value) : isNil ? "<nil>" : signed(goText(value), value, flags);
  if (isNil) return `%!${verb}(<nil>)`;
  if (Array.isArray(value)) return `[${value.map((item) => formatted(verb, item, flags, digits)).join(" ")}]`;
  if (typeof value === "object") {
    const rows = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    const cell = (item: unknown): string => formatted(verb, item, flags, digits);
    return `map[${rows.map(([key, item]) => `${cell(key)}:${cell(item)}`).join(" ")}]`;
  }
  const text =
    typeof value === "string"
      ? formattedString(verb, value, flags, digits)
      : typeof value === "boolean"
        ? verb === "t"
          ? String(value)
          : undefined
        : formattedNumber(verb, value as number | bigint, flags, digits);
  return text ?? `%!${verb}(${typeName(value)}=${goText(value)})`;
}

function goSyntax(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (value === null || value === undefined) return "<nil>";
  if (Array.isArray(value)) return `[]interface {}{${value.map(goSyntax).join(", ")}}`;
  if (typeof value !== "object") return goText(value);
  const rows = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[string]interface {}{${rows.map(([key, item]) => `${JSON.stringify(key)}:${goSyntax(item)}`).join(", ")}}`;
}

function formattedString(verb: string, value: string, flags: string, digits: number | undefined): string | undefined {
  const text = digits === undefined ? value : [...value].slice(0, digits).join("");
  if (verb === "s") return text;
  if (verb === "q")
    return flags.includes("#") && !/[`\x00-\x08\x0a-\x1f\x7f]/.test(text) ? `\`${text}\`` : JSON.stringify(text);
  if (verb !== "x" && verb !== "X") return undefined;
  const hex = Buffer.from(text).toString("hex");
  const spaced = flags.includes(" ") ? (hex.match(/../g) ?? []).join(" ") : hex;
  return verb === "X" ? spaced.toUpperCase() : spaced;
}

const BASES: Readonly<Record<string, number>> = { d: 10, x: 16, X: 16, o: 8, O: 8, b: 2 };

function formattedNumber(
  verb: string,
  value: number | bigint,
  flags: string,
  digits: number | undefined,
): string | undefined {
  const isInteger = typeof value === "bigint" || Number.isInteger(value);
  const base = BASES[verb];
  if (base !== undefined) {
    if (!isInteger) return undefined;
    const exact = BigInt(value);
    const prefix = verb === "O" || (flags.includes("#") && verb !== "d") ? PREFIXES[verb] : "";
    const body = (exact < 0n ? -exact : exact).toString(base).padStart(digits ?? 1, "0");
    const text = `${exact < 0n ? "-" : ""}${prefix}${body}`;
    return signed(verb === "X" ? text.toUpperCase() : text, value, flags);
  }
  if (verb === "c" && isInteger) return String.fromCodePoint(Math.max(0, Math.min(0x10ffff, Number(value))));
  if (verb === "q" && isInteger) return `'${String.fromCodePoint(Math.max(0, Math.min(0x10ffff, Number(value))))}'`;
  if (verb === "U" && isInteger) return `U+${Number(value).toString(16).toUpperCase().padStart(4, "0")}`;
  const number = Number(value);
  const places = Math.min(digits ?? 6, 100);
  if (verb === "f" || verb === "F") return signed(number.toFixed(places), value, flags);
  if (verb === "e" || verb === "E") {
    const text = exponent(number.toExponential(places));
    return signed(verb === "E" ? text.toUpperCase() : text, value, flags);
  }
  if (verb !== "g" && verb !== "G") return undefined;
  const short = digits === undefined ? number : Number(number.toPrecision(Math.max(1, places)));
  return signed(numberText(short), value, flags);
}

const PREFIXES: Readonly<Record<string, string>> = { x: "0x", X: "0X", o: "0", O: "0o", b: "0b" };

function signed(text: string, value: unknown, flags: string): string {
  if (typeof value !== "number" && typeof value !== "bigint") return text;
  if (text.startsWith("-")) return text;
  return flags.includes("+") ? `+${text}` : flags.includes(" ") ? ` ${text}` : text;
}
