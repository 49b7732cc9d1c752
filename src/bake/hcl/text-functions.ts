import { sprintf } from "../../base/template/printf.ts";
import { takes } from "./arity.ts";
import { isTuple, objectOf, plain, toInteger, toText, toTuple, typeName, type Value, ValueError } from "./value.ts";

const MANY = Number.POSITIVE_INFINITY;
const text1 = (run: (text: string) => Value) => takes(1, 1, (text) => run(toText(text!)));
const graphemes = (text: string): string[] =>
  [...new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(text)].map(({ segment }) => segment);

/** Go's expression as JavaScript's, with what `(?P<name>…)` is called there. */
function expression(source: string, flags = ""): RegExp {
  const inline = /^\(\?([ims]+)\)/.exec(source);
  const body = source.slice(inline?.[0].length ?? 0).replace(/\(\?P</g, "(?<");
  try {
    return new RegExp(body, [...new Set([..."u", ...flags, ...(inline?.[1] ?? "")])].join(""));
  } catch {
    throw new ValueError(`invalid regular expression ${JSON.stringify(source)}`);
  }
}

/** A match's value: the text, its groups in order, or its named groups. */
function captured(match: RegExpMatchArray): Value {
  if (match.groups !== undefined) {
    return objectOf(Object.entries(match.groups).map(([name, text]) => [name, text ?? null] as const));
  }
  return match.length === 1 ? match[0] : match.slice(1).map((text) => text ?? null);
}

function regex(pattern: string, text: string): Value {
  const match = expression(pattern).exec(text);
  if (match === null) throw new ValueError("pattern did not match any part of the given string");
  return captured(match);
}

/** Go's `$1` and `${name}` in a replacement. */
function replaceAll(text: string, pattern: string, replacement: string): string {
  return text.replace(expression(pattern, "g"), (...args) => {
    const groups = typeof args.at(-1) === "object" ? (args.at(-1) as Record<string, string | undefined>) : {};
    const numbered = args.slice(
      0,
      args.findIndex((arg, index) => index > 0 && typeof arg === "number"),
    );
    return replacement.replace(/\$(?:\{(\w+)\}|(\w+)|(\$))/g, (_, braced?: string, bare?: string, dollar?: string) => {
      if (dollar !== undefined) return "$";
      const name = braced ?? bare ?? "";
      return String((/^\d+$/.test(name) ? numbered[Number(name)] : groups[name]) ?? "");
    });
  });
}

function format(pattern: string, args: readonly Value[]): string {
  return sprintf(
    pattern,
    args.map((arg) => (typeof arg === "object" && arg !== null ? JSON.stringify(plain(arg)) : arg)),
  );
}

function formatList(pattern: string, args: readonly Value[]): Value {
  const lists = args.filter(isTuple);
  const length = lists[0]?.length ?? 1;
  if (lists.some((list) => list.length !== length))
    throw new ValueError("all list arguments must have the same length");
  return Array.from({ length }, (_, index) =>
    format(
      pattern,
      args.map((arg) => (isTuple(arg) ? arg[index]! : arg)),
    ),
  );
}

function substring(text: string, offset: number, length: number): string {
  const parts = graphemes(text);
  const from = offset < 0 ? Math.max(0, parts.length + offset) : offset;
  return parts.slice(from, length < 0 ? undefined : from + length).join("");
}

function trimmed(text: string, cutset: string): string {
  const cut = new Set(cutset);
  const all = [...text];
  let [from, to] = [0, all.length];
  while (from < to && cut.has(all[from]!)) from++;
  while (to > from && cut.has(all[to - 1]!)) to--;
  return all.slice(from, to).join("");
}

function csv(text: string): Value {
  const [head = [], ...rows] = csvRows(text);
  return rows.map((row) => {
    if (row.length !== head.length) throw new ValueError("wrong number of fields");
    return objectOf(head.map((name, index) => [name, row[index]!] as const));
  });
}

/** The rows of comma-separated values, quoted as RFC 4180 has it. */
export function csvRows(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let field = "";
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const next = text[at]!;
    if (isQuoted) {
      if (next !== '"') field += next;
      else if (text[at + 1] === '"') field += text[++at];
      else isQuoted = false;
    } else if (next === '"' && field === "") isQuoted = true;
    else if (next === ",") {
      row.push(field);
      field = "";
    } else if (next === "\n") {
      rows.push([...row, field.replace(/\r$/, "")]);
      [row, field] = [[], ""];
    } else field += next;
  }
  if (isQuoted) throw new ValueError("a quoted field has no end");
  if (field !== "" || row.length > 0) rows.push([...row, field]);
  return rows;
}

/** Texts and bytes. */
export const textFunctions = {
  byteslen: text1((text) => Buffer.byteLength(text)),
  chomp: text1((text) => text.replace(/[\r\n]+$/, "")),
  csvdecode: text1(csv),
  format: takes(1, MANY, (pattern, ...args) => format(toText(pattern!), args)),
  formatlist: takes(1, MANY, (pattern, ...args) => formatList(toText(pattern!), args)),
  indent: takes(2, 2, (spaces, text) => toText(text!).replaceAll("\n", `\n${" ".repeat(toInteger(spaces!))}`)),
  join: takes(2, MANY, (separator, ...lists) =>
    lists.flatMap((list) => toTuple(list).map(toText)).join(toText(separator!)),
  ),
  lower: text1((text) => text.toLowerCase()),
  // Letter by letter: none becomes two.
  upper: text1((text) =>
    text.replace(/./gsu, (letter) => ([...letter.toUpperCase()].length === 1 ? letter.toUpperCase() : letter)),
  ),
  title: text1((text) =>
    text.replace(/(^|[^\p{L}\p{N}_'])(\p{L})/gu, (_, before, first) => before + first.toUpperCase()),
  ),
  regex: takes(2, 2, (pattern, text) => regex(toText(pattern!), toText(text!))),
  regexall: takes(2, 2, (pattern, text) =>
    [...toText(text!).matchAll(expression(toText(pattern!), "g"))].map(captured),
  ),
  regex_replace: takes(3, 3, (text, pattern, by) => replaceAll(toText(text!), toText(pattern!), toText(by!))),
  replace: takes(3, 3, (text, what, by) => toText(text!).replaceAll(toText(what!), () => toText(by!))),
  reverse: text1((text) => graphemes(text).reverse().join("")),
  sanitize: text1((text) => text.replace(/[^a-zA-Z0-9_-]/g, "_")),
  split: takes(2, 2, (separator, text) => toText(text!).split(toText(separator!))),
  strlen: text1((text) => graphemes(text).length),
  substr: takes(3, 3, (text, offset, length) => substring(toText(text!), toInteger(offset!), toInteger(length!))),
  trim: takes(2, 2, (text, cutset) => trimmed(toText(text!), toText(cutset!))),
  trimprefix: takes(2, 2, (text, prefix) => {
    const [whole, start] = [toText(text!), toText(prefix!)];
    return whole.startsWith(start) ? whole.slice(start.length) : whole;
  }),
  trimsuffix: takes(2, 2, (text, suffix) => {
    const [whole, end] = [toText(text!), toText(suffix!)];
    return end !== "" && whole.endsWith(end) ? whole.slice(0, -end.length) : whole;
  }),
  trimspace: text1((text) => text.trim()),
  urlencode: text1((text) =>
    encodeURIComponent(text)
      .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
      .replaceAll("%20", "+"),
  ),
  base64encode: text1((text) => Buffer.from(text).toString("base64")),
  base64decode: text1((text) => {
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0)
      throw new ValueError("failed to decode base64 data");
    return Buffer.from(text, "base64").toString();
  }),
  // What a page would take for markup is escaped, as Go does.
  jsonencode: takes(1, 1, (value) =>
    JSON.stringify(plain(value!)).replace(
      /[<>&\u2028\u2029]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
    ),
  ),
  bytesslice: takes(3, 3, (text, offset, length) => {
    if (typeof text !== "string") throw new ValueError(`string required, got ${typeName(text!)}`);
    const from = toInteger(offset!);
    return Buffer.from(text)
      .subarray(from, from + toInteger(length!))
      .toString();
  }),
};
