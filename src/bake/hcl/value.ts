import { isDeepStrictEqual } from "node:util";

/** A value of an expression. Sets are tuples without doubles, in order. */
export type Value = string | number | boolean | null | readonly Value[] | ValueObject;

export interface ValueObject {
  readonly [name: string]: Value;
}

/** What can't be done with a value: becomes an error at the expression's place. */
export class ValueError extends Error {}

/** A variable whose value needs itself. */
export class CycleError extends Error {}

/** A wrong number of arguments: an error of its own kind at the call's end. */
export class ArgumentsError extends ValueError {
  readonly summary: string;

  constructor(summary: string, detail: string) {
    super(detail);
    this.summary = summary;
  }
}

export function isTuple(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

export function isObject(value: Value): value is ValueObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An object without a prototype, so that no name means something else. Its names are in order. */
export function objectOf(rows: Iterable<readonly [name: string, value: Value]>): ValueObject {
  const object = Object.create(null) as Record<string, Value>;
  for (const [name, value] of [...rows].sort(([a], [b]) => (a < b ? -1 : Number(a > b)))) object[name] = value;
  return object;
}

export function typeName(value: Value): string {
  if (value === null) return "null";
  if (isTuple(value)) return "tuple";
  return isObject(value) ? "object" : typeof value === "boolean" ? "bool" : typeof value;
}

export function isEqual(a: Value, b: Value): boolean {
  return isDeepStrictEqual(plain(a), plain(b));
}

/** As JSON has it, for comparing and encoding. */
export function plain(value: Value): unknown {
  if (isTuple(value)) return value.map(plain);
  if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
  return value;
}

/** From JSON. */
export function fromPlain(value: unknown): Value {
  if (Array.isArray(value)) return value.map(fromPlain);
  if (typeof value === "object" && value !== null) {
    return objectOf(Object.entries(value).map(([name, each]) => [name, fromPlain(each)] as const));
  }
  return value as Value;
}

export function toText(value: Value): string {
  if (typeof value === "string") return value;
  if (typeof value === "number") return numberText(value);
  if (typeof value === "boolean") return String(value);
  throw new ValueError(value === null ? "a string is required, got null" : `string required, got ${typeName(value)}`);
}

/** Without an exponent, as short as it can be read again. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? "Inf" : "-Inf";
  if (Number.isInteger(value)) return BigInt(value).toString();
  // Of sums of decimals the last digit or two are none of theirs.
  const [own, rounded] = [String(value), String(Number(value.toPrecision(15)))];
  const text = rounded.length < own.length - 3 ? rounded : own;
  if (!text.includes("e")) return text;
  return Number(text).toFixed(20).replace(/0+$/, "");
}

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

export function toNumber(value: Value): number {
  if (typeof value === "number") return value;
  if (typeof value === "string" && NUMBER.test(value)) return Number(value);
  throw new ValueError(value === null ? "a number is required, got null" : "a number is required");
}

export function toInteger(value: Value): number {
  const number = toNumber(value);
  if (!Number.isInteger(number)) throw new ValueError("value must be a whole number");
  return number;
}

export function toBool(value: Value): boolean {
  if (typeof value === "boolean") return value;
  if (value === "true" || value === "1") return true;
  if (value === "false" || value === "0") return false;
  throw new ValueError(value === null ? "a bool is required, got null" : "a bool is required");
}

export function toTuple(value: Value): readonly Value[] {
  if (isTuple(value)) return value;
  throw new ValueError(`list or tuple required, got ${typeName(value)}`);
}

export function toObject(value: Value): ValueObject {
  if (isObject(value)) return value;
  throw new ValueError(`map or object required, got ${typeName(value)}`);
}

/** Both as values of one type, as a list or the two arms of a condition need them. */
export function unified(values: readonly Value[]): readonly Value[] {
  const types = new Set(values.filter((value) => value !== null).map(typeName));
  if (types.size < 2 || [...types].some((type) => type === "tuple" || type === "object")) return values;
  return types.has("string") ? values.map((value) => (value === null ? null : toText(value))) : values;
}
