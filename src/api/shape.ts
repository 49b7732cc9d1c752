import { GantryError } from "../base/errors.ts";
import { type JsonSchema, orNull } from "./json-schema.ts";

/**
 * Descriptions of JSON values that are read as Go's encoding/json reads them into a struct: keys in any case, the last
 * of several wins, unknown ones are ignored, null leaves the zero value, and a wrong type is refused in Go's words,
 * which clients and their users know. A schema library has no notion of any of these, so this is one of our own.
 */
export interface Shape<T> {
  /** The name of the Go type, for refusals. */
  readonly type: string;
  /** The value of an absent field. */
  zero(): T;
  read(value: unknown, at: Place): T;
  /** What a client is told to send. Null is taken everywhere, but told only of what distinguishes it from a value. */
  schema(): JsonSchema;
}

/** Where in the document: the struct that holds the field, and the path of fields from the top. */
export interface Place {
  readonly struct: string;
  readonly path: string;
}

export const TOP: Place = { struct: "", path: "" };

/** A number that JavaScript's can't hold exactly, or that isn't written as an integer. */
export class WrittenNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

function refuse(value: string, type: string, at: Place): never {
  const target = at.path === "" ? "value" : `struct field ${at.struct}.${at.path}`;
  throw new GantryError("invalid", `invalid JSON: json: cannot unmarshal ${value} into Go ${target} of type ${type}`);
}

function kindOf(value: unknown): string {
  if (value instanceof WrittenNumber) return "number";
  if (typeof value === "boolean") return "bool";
  return Array.isArray(value) ? "array" : typeof value;
}

export const text: Shape<string> = {
  type: "string",
  zero: () => "",
  read: (value, at) => (typeof value === "string" ? value : value === null ? "" : refuse(kindOf(value), "string", at)),
  schema: () => ({ type: "string" }),
};

export const flag: Shape<boolean> = {
  type: "bool",
  zero: () => false,
  read: (value, at) =>
    typeof value === "boolean" ? value : value === null ? false : refuse(kindOf(value), "bool", at),
  schema: () => ({ type: "boolean" }),
};

/** An integer of a Go type. 64-bit ones beyond 2^53 are rounded to a double: none of them counts anything real. */
function integer(type: string, min: bigint, max: bigint): Shape<number> {
  return {
    type,
    zero: () => 0,
    read: (value, at) => {
      if (value === null) return 0;
      const written =
        typeof value === "number" ? String(value) : value instanceof WrittenNumber ? value.text : undefined;
      if (written === undefined) return refuse(kindOf(value), type, at);
      if (!/^-?\d{1,20}$/.test(written)) return refuse(`number ${written.slice(0, 40)}`, type, at);
      const exact = BigInt(written);
      if (exact < min || exact > max) return refuse(`number ${written}`, type, at);
      return Number(exact) + 0;
    },
    schema: () => {
      // A 64-bit bound is no number that JSON's readers hold exactly: its format says it.
      const bounds = max < 2n ** 53n ? { minimum: Number(min), maximum: Number(max) } : {};
      return { type: "integer", ...(max >= 2n ** 53n ? { format: min < 0n ? "int64" : "uint64" } : bounds) };
    },
  };
}

const signed = (bits: bigint): [bigint, bigint] => [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n];
const unsigned = (bits: bigint): [bigint, bigint] => [0n, 2n ** bits - 1n];

export const int = integer("int", ...signed(64n));
export const int64 = integer("int64", ...signed(64n));
const uint = integer("uint", ...unsigned(64n));
export const uint16 = integer("uint16", ...unsigned(16n));
export const uint32 = integer("uint32", ...unsigned(32n));
export const uint64 = integer("uint64", ...unsigned(64n));

/** A slice: null when absent. */
export function list<T>(item: Shape<T>): Shape<T[] | null> {
  const type = `[]${item.type}`;
  return {
    type,
    zero: () => null,
    read: (value, at) => {
      if (value === null) return null;
      if (!Array.isArray(value)) return refuse(kindOf(value), type, at);
      return value.map((each: unknown) => item.read(each, at));
    },
    schema: () => orNull({ type: "array", items: item.schema() }),
  };
}

/** A map of strings to values, by key as Go writes one: null when absent. Any key is safe, `__proto__` too. */
export function map<T>(item: Shape<T>): Shape<Record<string, T> | null> {
  const type = `map[string]${item.type}`;
  return {
    type,
    zero: () => null,
    read: (value, at) => {
      if (value === null) return null;
      if (typeof value !== "object" || Array.isArray(value) || value instanceof WrittenNumber) {
        return refuse(kindOf(value), type, at);
      }
      const entries = Object.entries(value).map(([key, each]) => [key, item.read(each, at)] as const);
      return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
    },
    schema: () => orNull({ type: "object", additionalProperties: item.schema() }),
  };
}

/** A pair as Go's `[2]uint`: missing items are 0, further ones are ignored. */
export const pair: Shape<[number, number]> = {
  type: "[2]uint",
  zero: () => [0, 0],
  read: (value, at) => {
    if (value === null) return [0, 0];
    if (!Array.isArray(value)) return refuse(kindOf(value), "[2]uint", at);
    return [uint.read(value[0] ?? null, at), uint.read(value[1] ?? null, at)];
  },
  schema: () => orNull({ type: "array", items: uint.schema(), maxItems: 2 }),
};

/** A list of strings that may be given as one string. */
export const words: Shape<string[] | null> = {
  type: "string",
  zero: () => null,
  read: (value, at) => {
    if (value === null) return null;
    if (!Array.isArray(value)) return [text.read(value, at)];
    return value.map((each: unknown) =>
      typeof each === "string" || each === null ? (each ?? "") : refuse("array", "string", at),
    );
  },
  schema: () => ({ anyOf: [{ type: ["array", "null"], items: { type: "string" } }, { type: "string" }] }),
};

/** An absent or null value is null: Go's pointer. */
export function pointer<T>(shape: Shape<T>): Shape<T | null> {
  return {
    type: shape.type,
    zero: () => null,
    read: (value, at) => (value === null ? null : shape.read(value, at)),
    schema: () => orNull(shape.schema()),
  };
}

/** An absent or null value leaves the field out: Go's `omitempty`. */
export function optional<T>(shape: Shape<T>): Shape<NonNullable<T> | undefined> {
  return {
    type: shape.type,
    zero: () => undefined,
    read: (value, at) => (value === null ? undefined : (shape.read(value, at) ?? undefined)),
    schema: () => shape.schema(),
  };
}

type Fields<T> = { readonly [K in keyof T]-?: Shape<T[K]> };

/** A struct: every field of the result is there, save the optional ones. */
export function struct<T extends object>(type: string, fields: Fields<T>): Shape<T> {
  const name = type.slice(type.lastIndexOf(".") + 1);
  const rows = Object.entries(fields) as [string, Shape<unknown>][];
  const byKey = new Map(rows.map(([field, shape]) => [field.toLowerCase(), { field, shape }]));
  const blank = (): Record<string, unknown> => {
    const out: Record<string, unknown> = {};
    for (const [field, shape] of rows) {
      const value = shape.zero();
      if (value !== undefined) out[field] = value;
    }
    return out;
  };
  return {
    type,
    zero: () => blank() as T,
    read: (value, at) => {
      const out = blank();
      if (value === null) return out as T;
      if (typeof value !== "object" || Array.isArray(value) || value instanceof WrittenNumber) {
        return refuse(kindOf(value), type, at);
      }
      for (const [key, each] of Object.entries(value)) {
        const row = byKey.get(key.toLowerCase());
        if (row === undefined) continue;
        const path = at.path === "" ? row.field : `${at.path}.${row.field}`;
        const read = row.shape.read(each, { struct: name, path });
        // A null after a value changes nothing in Go, unless the field is a pointer, a slice or a map.
        if (each === null && row.shape.zero() !== null && row.shape.zero() !== undefined) continue;
        if (read === undefined) delete out[row.field];
        else out[row.field] = read;
      }
      return out as T;
    },
    schema: () => ({
      type: "object",
      title: type,
      properties: Object.fromEntries(rows.map(([field, shape]) => [field, shape.schema()])),
    }),
  };
}
