import { TemplateError } from "./lex.ts";
import { sprintf } from "./printf.ts";
import { goJson, goText, isTrue } from "./values.ts";

export type TemplateFunction = (...args: unknown[]) => unknown;

function textOf(value: unknown, name: string): string {
  if (typeof value === "string") return value;
  throw new TemplateError(`error calling ${name}: wrong type for value; expected string; got ${typeName(value)}`);
}

function numberOf(value: unknown, name: string): number {
  if (typeof value === "number") return value;
  throw new TemplateError(`error calling ${name}: expected integer; found ${goText(value)}`);
}

function typeName(value: unknown): string {
  if (value === null || value === undefined) return "nil";
  if (Array.isArray(value)) return "[]interface {}";
  if (typeof value === "object") return "map[string]interface {}";
  return typeof value === "number" ? "int" : typeof value === "boolean" ? "bool" : typeof value;
}

function compare(name: string, a: unknown, b: unknown): number {
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
  if (typeof a === "number" && typeof b === "number") return a - b;
  throw new TemplateError(`error calling ${name}: incompatible types for comparison`);
}

function same(a: unknown, b: unknown): boolean {
  if ((a ?? null) === (b ?? null)) return true;
  if (a === null || a === undefined || b === null || b === undefined) return false;
  if (typeof a !== typeof b) throw new TemplateError("error calling eq: incompatible types for comparison");
  return false;
}

function index(value: unknown, ...keys: unknown[]): unknown {
  let item = value;
  for (const key of keys) {
    if (Array.isArray(item) || typeof item === "string") {
      const at = numberOf(key, "index");
      if (at < 0 || at >= item.length) throw new TemplateError(`error calling index: index out of range: ${at}`);
      item = typeof item === "string" ? item.charCodeAt(at) : item[at];
    } else if (typeof item === "object" && item !== null) {
      const map = item as Record<string, unknown>;
      // The zero value of Go's map[string]string, which labels and options are, is the empty text.
      const missing = Object.values(map).every((entry) => typeof entry === "string") ? "" : undefined;
      item = Object.hasOwn(map, String(key)) ? map[String(key)] : missing;
    } else if (item === null || item === undefined) {
      throw new TemplateError("error calling index: index of untyped nil");
    } else {
      throw new TemplateError(`error calling index: can't index item of type ${typeName(item)}`);
    }
  }
  return item;
}

function slice(value: unknown, from?: unknown, to?: unknown): unknown {
  if (!Array.isArray(value) && typeof value !== "string") {
    throw new TemplateError(`error calling slice: can't slice item of type ${typeName(value)}`);
  }
  const start = from === undefined ? 0 : numberOf(from, "slice");
  const end = to === undefined ? value.length : numberOf(to, "slice");
  if (start < 0 || end > value.length || start > end) {
    throw new TemplateError(`error calling slice: index out of range: ${start > value.length ? start : end}`);
  }
  return value.slice(start, end);
}

function length(value: unknown): number {
  if (typeof value === "string") return Buffer.byteLength(value);
  if (Array.isArray(value)) return value.length;
  if (typeof value === "object" && value !== null) return Object.keys(value).length;
  throw new TemplateError(
    `error calling len: len of ${value === undefined || value === null ? "nil pointer" : `type ${typeName(value)}`}`,
  );
}

function title(text: string): string {
  return text.replace(
    /(^|[^\p{L}\p{N}_'])(\p{L})/gu,
    (_, before: string, letter: string) => before + letter.toUpperCase(),
  );
}

function escapeHtml(text: string): string {
  return text
    .replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
    .replace(/&#38;/g, "&amp;")
    .replace(/&#60;/g, "&lt;")
    .replace(/&#62;/g, "&gt;");
}

/** What templates may call; `and` and `or` are the evaluator's, since they stop early. */
export const FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  json: (value) => goJson(value),
  split: (text, separator) => textOf(text, "split").split(textOf(separator, "split")),
  join: (items, separator) =>
    Array.isArray(items) ? items.map(goText).join(textOf(separator, "join")) : goText(items),
  title: (text) => title(textOf(text, "title")),
  lower: (text) => textOf(text, "lower").toLowerCase(),
  upper: (text) => textOf(text, "upper").toUpperCase(),
  pad: (text, before, after) => {
    const value = textOf(text, "pad");
    if (value === "") return "";
    return " ".repeat(Math.max(0, numberOf(before, "pad"))) + value + " ".repeat(Math.max(0, numberOf(after, "pad")));
  },
  truncate: (text, count) => {
    const value = textOf(text, "truncate");
    return value.slice(0, Math.max(0, Math.min(value.length, numberOf(count, "truncate"))));
  },
  print: (...args) => {
    const isText = args.map((arg) => typeof arg === "string");
    return args.map((arg, at) => (at > 0 && !isText[at] && !isText[at - 1] ? ` ${goText(arg)}` : goText(arg))).join("");
  },
  println: (...args) => `${args.map(goText).join(" ")}\n`,
  printf: (format, ...args) => sprintf(textOf(format, "printf"), args),
  len: length,
  index,
  slice,
  not: (value) => !isTrue(value),
  eq: (first, ...others) => {
    if (others.length === 0) throw new TemplateError("error calling eq: missing argument for comparison");
    return others.some((other) => same(first, other));
  },
  ne: (a, b) => !same(a, b),
  lt: (a, b) => compare("lt", a, b) < 0,
  le: (a, b) => compare("le", a, b) <= 0,
  gt: (a, b) => compare("gt", a, b) > 0,
  ge: (a, b) => compare("ge", a, b) >= 0,
  html: (...args) => escapeHtml(args.map(goText).join("")),
  urlquery: (...args) => encodeURIComponent(args.map(goText).join("")).replace(/%20/g, "+"),
  js: (...args) => JSON.stringify(args.map(goText).join("")).slice(1, -1).replace(/'/g, "\\'").replace(/</g, "\\u003C"),
};
