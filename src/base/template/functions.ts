import { TemplateError } from "./lex.ts";
import { sprintf } from "./printf.ts";
import { goJson, goText, isTrue, typeName } from "./values.ts";

/** A function that templates call: what it is given is what templates have, nothing is checked before. */
export type TemplateFunction = (...args: unknown[]) => unknown;

/** Most spaces that one call of `pad` adds on a side. */
const MOST_PADDING = 1_000_000;

/** A function was called with more or fewer arguments than it takes. */
export class CountError extends TemplateError {}

/** An argument is of another type than the function takes: the one at `index`, what is wanted in Go's word. */
export class ArgumentError extends TemplateError {
  readonly index: number;
  readonly wanted: string;

  constructor(index: number, wanted: "string" | "integer", value: unknown) {
    const isNil = value === null || value === undefined;
    const type = wanted === "integer" ? "int" : wanted;
    super(isNil ? `invalid value; expected ${type}` : `wrong type for value; expected ${type}; got ${typeName(value)}`);
    this.index = index;
    this.wanted = wanted;
  }
}

function textOf(value: unknown, index = 0): string {
  if (typeof value === "string") return value;
  throw new ArgumentError(index, "string", value);
}

function numberOf(value: unknown, index: number): number {
  if (typeof value === "number" && Number.isInteger(value)) return value;
  throw new ArgumentError(index, "integer", value);
}

/** A place in a list, as `index` and `slice` take it. */
function placeOf(value: unknown, name: string): number {
  if (value === null || value === undefined) throw failed(name, "cannot index slice/array with nil");
  if (typeof value === "number" && Number.isInteger(value)) return value;
  throw failed(name, `cannot index slice/array with type ${typeName(value)}`);
}

function failed(name: string, why: string): TemplateError {
  return new TemplateError(`error calling ${name}: ${why}`);
}

/** Throws unless as many arguments were given; `most` undefined is any number. */
function checkCount(name: string, args: readonly unknown[], least: number, most?: number): void {
  if (args.length >= least && (most === undefined || args.length <= most)) return;
  const wanted = most === least ? String(least) : `at least ${least}`;
  throw new CountError(`wrong number of args for ${name}: want ${wanted} got ${args.length}`);
}

function isNumber(value: unknown): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

function compare(name: string, a: unknown, b: unknown): number {
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
  if (isNumber(a) && isNumber(b)) return a < b ? -1 : a > b ? 1 : 0;
  const isBasic = (value: unknown): boolean =>
    typeof value === "string" || isNumber(value) || typeof value === "boolean";
  if (!isBasic(a) || !isBasic(b)) throw failed(name, "invalid type for comparison");
  throw failed(name, typeof a === typeof b ? "invalid type for comparison" : "incompatible types for comparison");
}

function same(name: string, a: unknown, b: unknown): boolean {
  if ((a ?? null) === (b ?? null)) return true;
  if (a === null || a === undefined || b === null || b === undefined) return false;
  if (typeof a === "object" || typeof b === "object")
    throw failed(name, `non-comparable type ${goText(a)}: ${typeName(a)}`);
  // biome-ignore lint/suspicious/noDoubleEquals: an int may be one or the other, and 1n == 1
  if (isNumber(a) && isNumber(b)) return a == b;
  if (typeof a !== typeof b) throw failed(name, "incompatible types for comparison");
  return false;
}

function index(value: unknown, ...keys: unknown[]): unknown {
  let item = value;
  for (const key of keys) {
    if (Array.isArray(item) || typeof item === "string") {
      const at = placeOf(key, "index");
      const bytes = typeof item === "string" ? Buffer.from(item) : item;
      if (at < 0 || at >= bytes.length) throw failed("index", `index out of range: ${at}`);
      item = bytes[at];
    } else if (typeof item === "object" && item !== null) {
      if (typeof key !== "string") {
        throw failed(
          "index",
          key === null || key === undefined
            ? "value is nil; should be of type string"
            : `value has type ${typeName(key)}; should be string`,
        );
      }
      const map = item as Record<string, unknown>;
      // The zero value of Go's map[string]string, which labels and options are, is the empty text.
      const missing = Object.values(map).every((entry) => typeof entry === "string") ? "" : undefined;
      item = Object.hasOwn(map, key) ? map[key] : missing;
    } else if (item === null || item === undefined) {
      throw failed("index", "index of untyped nil");
    } else {
      throw failed("index", `can't index item of type ${typeName(item)}`);
    }
  }
  return item;
}

function slice(value: unknown, ...places: unknown[]): unknown {
  if (value === null || value === undefined) throw failed("slice", "slice of untyped nil");
  if (places.length > 3) throw failed("slice", `too many slice indexes: ${places.length}`);
  if (!Array.isArray(value) && typeof value !== "string") {
    throw failed("slice", `can't slice item of type ${typeName(value)}`);
  }
  if (typeof value === "string" && places.length === 3) throw failed("slice", "cannot 3-index slice a string");
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  const [start = 0, end = bytes.length] = places.map((place) => {
    const at = placeOf(place, "slice");
    if (at < 0 || at > bytes.length) throw failed("slice", `index out of range: ${at}`);
    return at;
  });
  if (start > end) throw failed("slice", `invalid slice index: ${start} > ${end}`);
  return typeof value === "string" ? (bytes as Buffer).toString("utf8", start, end) : value.slice(start, end);
}

function length(value: unknown): number {
  if (typeof value === "string") return Buffer.byteLength(value);
  if (Array.isArray(value)) return value.length;
  if (typeof value === "object" && value !== null) return Object.keys(value).length;
  throw failed("len", value === undefined || value === null ? "len of nil pointer" : `len of type ${typeName(value)}`);
}

function call(target: unknown, ...args: unknown[]): unknown {
  if (target === null || target === undefined) throw failed("call", "call of nil");
  if (typeof target !== "function") throw failed("call", `non-function . of type ${typeName(target)}`);
  return (target as TemplateFunction)(...args);
}

function title(text: string): string {
  return text.replace(
    /(^|[^\p{L}\p{N}_'])(\p{L})/gu,
    (_, before: string, letter: string) => before + letter.toUpperCase(),
  );
}

const HTML: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&#34;",
  "'": "&#39;",
  "\0": "\uFFFD",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"'\0]/g, (char) => HTML[char] ?? char);
}

const SCRIPT: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "'": "\\'",
  '"': '\\"',
  "<": "\\u003C",
  ">": "\\u003E",
  "&": "\\u0026",
  "=": "\\u003D",
};

function escapeScript(text: string): string {
  return text.replace(/[\\'"<>&=]|[^\P{C}]/gu, (char) => {
    const known = SCRIPT[char];
    if (known !== undefined) return known;
    return [...Array(char.length).keys()]
      .map((at) => `\\u${char.charCodeAt(at).toString(16).toUpperCase().padStart(4, "0")}`)
      .join("");
  });
}

function escapeQuery(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%20", "+");
}

/** What `print` makes of its arguments: spaces only between two that are no strings. */
function joined(args: readonly unknown[]): string {
  return args
    .map((arg, at) => {
      const spaced = at > 0 && typeof arg !== "string" && typeof args[at - 1] !== "string";
      return `${spaced ? " " : ""}${goText(arg)}`;
    })
    .join("");
}

function counted(name: string, least: number, most: number | undefined, act: TemplateFunction): TemplateFunction {
  return (...args) => {
    checkCount(name, args, least, most);
    return act(...args);
  };
}

function padding(value: unknown, index: number): string {
  return " ".repeat(Math.min(MOST_PADDING, Math.max(0, numberOf(value, index))));
}

const BUILTIN: Readonly<Record<string, readonly [least: number, most: number | undefined, TemplateFunction]>> = {
  json: [1, 1, (value) => goJson(value)],
  split: [2, 2, (text, separator) => splitText(textOf(text), textOf(separator, 1))],
  join: [
    2,
    2,
    (items, separator) => (Array.isArray(items) ? items.map(goText).join(textOf(separator, 1)) : goText(items)),
  ],
  title: [1, 1, (text) => title(textOf(text))],
  lower: [1, 1, (text) => textOf(text).toLowerCase()],
  upper: [1, 1, (text) => textOf(text).toUpperCase()],
  pad: [
    3,
    3,
    (text, before, after) => (textOf(text) === "" ? "" : `${padding(before, 1)}${textOf(text)}${padding(after, 2)}`),
  ],
  truncate: [
    2,
    2,
    (text, count) =>
      Buffer.from(textOf(text))
        .subarray(0, Math.max(0, numberOf(count, 1)))
        .toString(),
  ],
  print: [0, undefined, (...args) => joined(args)],
  println: [0, undefined, (...args) => `${args.map(goText).join(" ")}\n`],
  printf: [1, undefined, (format, ...args) => sprintf(textOf(format), args)],
  len: [1, 1, length],
  index: [1, undefined, index],
  slice: [1, undefined, slice],
  call: [1, undefined, call],
  not: [1, 1, (value) => !isTrue(value)],
  eq: [
    1,
    undefined,
    (first, ...others) => {
      if (others.length === 0) throw failed("eq", "missing argument for comparison");
      return others.some((other) => same("eq", first, other));
    },
  ],
  ne: [2, 2, (a, b) => !same("ne", a, b)],
  lt: [2, 2, (a, b) => compare("lt", a, b) < 0],
  le: [2, 2, (a, b) => compare("le", a, b) <= 0],
  gt: [2, 2, (a, b) => compare("gt", a, b) > 0],
  ge: [2, 2, (a, b) => compare("ge", a, b) >= 0],
  html: [0, undefined, (...args) => escapeHtml(joined(args))],
  urlquery: [0, undefined, (...args) => escapeQuery(joined(args))],
  js: [0, undefined, (...args) => escapeScript(joined(args))],
};

function splitText(text: string, separator: string): readonly string[] {
  return separator === "" ? [...text] : text.split(separator);
}

/** What templates may call; `and` and `or` are the evaluator's, since they stop early. */
export const FUNCTIONS: Readonly<Record<string, TemplateFunction>> = Object.fromEntries(
  Object.entries(BUILTIN).map(([name, [least, most, act]]) => [name, counted(name, least, most, act)]),
);
