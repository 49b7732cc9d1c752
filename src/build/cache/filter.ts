import { GantryError } from "../../base/errors.ts";
import type { CacheUsage } from "../builder.ts";

/** What is asked of a field: `type==regular`, `id~=abc`, `description!="x"`, `inuse`. */
interface Condition {
  readonly field: string;
  readonly operator: "==" | "!=" | "~=" | "";
  readonly value: string;
}

const FLAGS: Readonly<Record<string, (row: CacheUsage) => boolean>> = {
  inuse: ({ inUse }) => inUse,
  shared: ({ shared }) => shared,
  private: ({ shared }) => !shared,
  mutable: ({ type }) => type === "exec.cachemount" || type === "source.local",
  immutable: ({ type }) => type !== "exec.cachemount" && type !== "source.local",
};
const TEXTS: Readonly<Record<string, (row: CacheUsage) => readonly string[]>> = {
  id: ({ id }) => [id],
  parent: ({ parents }) => parents,
  parents: ({ parents }) => parents,
  type: ({ type }) => [type],
  description: ({ description }) => [description],
};

/**
 * Filters as BuildKit's clients send them: of several any must match, of one text all its conditions, between commas.
 * None matches everything. Throws invalid.
 */
export function cacheFilter(texts: readonly string[]): (row: CacheUsage) => boolean {
  const filters = texts.filter((text) => text !== "").map(parseFilter);
  if (filters.length === 0) return () => true;
  return (row) => filters.some((conditions) => conditions.every((condition) => matches(row, condition)));
}

function matches(row: CacheUsage, { field, operator, value }: Condition): boolean {
  const flag = FLAGS[field];
  if (flag !== undefined) {
    const wanted = operator === "" || asBoolean(field, value);
    return flag(row) === (operator === "!=" ? !wanted : wanted);
  }
  const texts = TEXTS[field]!(row);
  switch (operator) {
    case "":
      return texts.some((text) => text !== "");
    case "==":
      return texts.includes(value);
    case "!=":
      return !texts.includes(value);
    case "~=":
      return texts.some((text) => text.includes(value));
  }
}

function asBoolean(field: string, value: string): boolean {
  if (["1", "true"].includes(value)) return true;
  if (["0", "false"].includes(value)) return false;
  throw invalid(`${field}=${value}`);
}

function parseFilter(text: string): Condition[] {
  const conditions: Condition[] = [];
  let rest = text;
  for (;;) {
    const field = /^[A-Za-z][\w.-]*/.exec(rest)?.[0];
    if (field === undefined) throw invalid(text);
    rest = rest.slice(field.length);
    const operator = /^(==|!=|~=|=)?/.exec(rest)![0];
    rest = rest.slice(operator.length);
    const { value, left } = operator === "" ? { value: "", left: rest } : wordOf(rest, text);
    rest = left;
    const name = field.toLowerCase();
    if (!Object.hasOwn(FLAGS, name) && !Object.hasOwn(TEXTS, name)) throw invalid(text);
    const condition: Condition = {
      field: name,
      operator: operator === "=" ? "==" : (operator as Condition["operator"]),
      value,
    };
    if (Object.hasOwn(FLAGS, name) && operator !== "") asBoolean(name, value);
    conditions.push(condition);
    if (rest === "") return conditions;
    if (!rest.startsWith(",")) throw invalid(text);
    rest = rest.slice(1);
  }
}

/** A word up to a comma, or a text in quotes as JSON has it. */
function wordOf(rest: string, text: string): { readonly value: string; readonly left: string } {
  if (!rest.startsWith('"')) {
    const comma = rest.indexOf(",");
    return comma < 0 ? { value: rest, left: "" } : { value: rest.slice(0, comma), left: rest.slice(comma) };
  }
  const quoted = /^"(?:[^"\\]|\\.)*"/.exec(rest)?.[0];
  if (quoted === undefined) throw invalid(text);
  try {
    return { value: JSON.parse(quoted) as string, left: rest.slice(quoted.length) };
  } catch {
    throw invalid(text);
  }
}

function invalid(text: string): GantryError {
  return new GantryError("invalid", `invalid filter '${text.slice(0, 100)}'`);
}
