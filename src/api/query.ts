import { GantryError } from "../base/errors.ts";
import type { Filters } from "./filters.ts";
import type { JsonSchema } from "./json-schema.ts";

/** How one query parameter is read. */
export type QueryKind = keyof QueryValues;

/** One of a few words; what is absent or empty is undefined. Any other is refused as `refusal: "given"`. */
export interface Choice {
  readonly oneOf: readonly string[];
  readonly refusal: string;
}

interface QueryValues {
  /** undefined when absent. */
  text: string | undefined;
  /** Every occurrence, in order. */
  texts: readonly string[];
  bool: boolean;
  boolOrTrue: boolean;
  int: number | undefined;
  filters: Filters;
  /** Unix nanoseconds; undefined when absent, empty or 0. */
  nanos: bigint | undefined;
}

export type QuerySpec = Readonly<Record<string, QueryKind | Choice>>;
export type Query<S extends QuerySpec> = {
  readonly [K in keyof S]: S[K] extends QueryKind
    ? QueryValues[S[K]]
    : S[K] extends Choice
      ? S[K]["oneOf"][number] | undefined
      : never;
};

/**
 * Reads a request's query by its specification. Parameters that it doesn't name are ignored, as Docker does, and so are
 * those that `isKnown` denies.
 */
export function readQuery<S extends QuerySpec>(spec: S, search: string, isKnown?: (name: string) => boolean): Query<S> {
  const given = new URLSearchParams(search);
  if (isKnown !== undefined) for (const name of Object.keys(spec)) if (!isKnown(name)) given.delete(name);
  const values: [string, QueryValues[QueryKind]][] = [];
  for (const [name, kind] of Object.entries(spec)) {
    values.push([name, typeof kind === "string" ? readers[kind](given, name) : asChoice(kind, given.get(name) ?? "")]);
  }
  return Object.fromEntries(values) as Query<S>;
}

const readers: { readonly [K in QueryKind]: (given: URLSearchParams, name: string) => QueryValues[K] } = {
  text: (given, name) => given.get(name) ?? undefined,
  texts: (given, name) => given.getAll(name),
  bool: (given, name) => asBoolean(given.get(name) ?? ""),
  boolOrTrue: (given, name) => asBoolean(given.get(name) ?? "1"),
  int: (given, name) => {
    const text = given.get(name) ?? "";
    return text === "" ? undefined : asInteger(text);
  },
  filters: (given, name) => asFilters(given.get(name) ?? ""),
  nanos: (given, name) => asNanos(name, given.get(name) ?? ""),
};

export interface Reading {
  readonly schema: JsonSchema;
  readonly description?: string;
  /** The value is a JSON document. */
  readonly json?: true;
}

/** What each kind is for those who send it. */
export const readsAs: Readonly<Record<QueryKind, Reading>> = {
  text: { schema: { type: "string" } },
  texts: { schema: { type: "array", items: { type: "string" } }, description: "May be given several times." },
  bool: { schema: { type: "boolean" } },
  boolOrTrue: { schema: { type: "boolean" }, description: "True unless given." },
  int: { schema: { type: "integer" } },
  filters: {
    schema: { type: "object", additionalProperties: { type: "array", items: { type: "string" } } },
    json: true,
  },
  nanos: { schema: { type: "string" }, description: "Unix seconds; a fraction of nine digits at most." },
};

function asChoice({ oneOf, refusal }: Choice, text: string): string | undefined {
  if (text === "" || oneOf.includes(text)) return text || undefined;
  throw new GantryError("invalid", `${refusal}: ${JSON.stringify(text.slice(0, 100))}`);
}

function asBoolean(text: string): boolean {
  return !["", "0", "no", "false", "none"].includes(text.trim().toLowerCase());
}

function asInteger(text: string): number {
  if (!/^[+-]?\d+$/.test(text)) {
    throw new GantryError("invalid", `strconv.Atoi: parsing ${JSON.stringify(text.slice(0, 100))}: invalid syntax`);
  }
  const value = Number(text);
  if (!Number.isSafeInteger(value)) {
    throw new GantryError("invalid", `strconv.Atoi: parsing "${text.slice(0, 100)}": value out of range`);
  }
  return value;
}

/** Rows or columns of a terminal: an unsigned 32-bit number, else refused naming what it was for. */
export function asDimension(what: "height" | "width", text: string | undefined): number {
  const given = text ?? "";
  const why = !/^\d+$/.test(given) ? "invalid syntax" : Number(given) > 0xffffffff ? "value out of range" : undefined;
  if (why === undefined) return Number(given);
  throw new GantryError("invalid", `invalid resize ${what} ${JSON.stringify(given.slice(0, 100))}: ${why}`);
}

/** Both forms of a map that clients send: `{"k":["v"]}` and `{"k":{"v":true}}`. */
function asFilters(text: string): Filters {
  if (text === "") return {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new GantryError("invalid", "invalid filter");
  }
  if (parsed === null) return {};
  if (typeof parsed !== "object" || Array.isArray(parsed)) throw new GantryError("invalid", "invalid filter");
  return Object.fromEntries(Object.entries(parsed).map(([key, value]) => [key, asFilterValues(value)]));
}

function asFilterValues(value: unknown): string[] {
  if (value === null) return [];
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value;
  if (typeof value === "object" && !Array.isArray(value)) {
    if (Object.values(value).every((each) => typeof each === "boolean")) return Object.keys(value);
  }
  throw new GantryError("invalid", "invalid filter");
}

/** `seconds[.fraction]` since the epoch; clients turn every other form into it. */
function asNanos(name: string, text: string): bigint | undefined {
  if (text === "" || text === "0") return undefined;
  const match = /^(-?\d{1,12})(?:\.(\d{1,9})\d*)?$/.exec(text);
  if (match === null) {
    throw new GantryError(
      "invalid",
      `invalid value for "${name}": ${JSON.stringify(text.slice(0, 100))} is no time in seconds since the epoch`,
    );
  }
  const [, seconds = "0", fraction = ""] = match;
  const nanos = BigInt(fraction.padEnd(9, "0"));
  const whole = BigInt(seconds) * 1_000_000_000n;
  return seconds.startsWith("-") ? whole - nanos : whole + nanos;
}
