import { takes } from "./arity.ts";
import {
  fromPlain,
  isEqual,
  isObject,
  isTuple,
  objectOf,
  toInteger,
  toNumber,
  toObject,
  toText,
  toTuple,
  type Value,
  ValueError,
} from "./value.ts";

const MANY = Number.POSITIVE_INFINITY;
const MAX_ITEMS = 100_000;

function distinct(items: readonly Value[]): Value[] {
  const seen = new Map<string, Value>();
  for (const item of items) {
    const key = JSON.stringify(item);
    if (!seen.has(key)) seen.set(key, item);
  }
  return [...seen.values()];
}

/** A set: no doubles, in order. */
function setOf(items: readonly Value[]): Value[] {
  const order = (value: Value): string => (typeof value === "string" ? value : JSON.stringify(value));
  return distinct(items).sort((a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return order(a) < order(b) ? -1 : Number(order(a) > order(b));
  });
}

const has = (items: readonly Value[], wanted: Value): boolean => items.some((item) => isEqual(item, wanted));

function flatten(items: readonly Value[]): Value[] {
  return items.flatMap((item) => (isTuple(item) ? flatten(item) : [item]));
}

function lengthOf(value: Value): number {
  if (isTuple(value)) return value.length;
  if (isObject(value)) return Object.keys(value).length;
  throw new ValueError(`collection must be a list, a map or a tuple`);
}

function hasIndex(collection: Value, key: Value): boolean {
  if (isTuple(collection)) return typeof key === "number" && collection[key] !== undefined;
  return isObject(collection) && Object.hasOwn(collection, toText(key));
}

function index(collection: Value, key: Value): Value {
  if (!hasIndex(collection, key)) throw new ValueError("invalid index");
  return isTuple(collection) ? collection[toInteger(key)]! : toObject(collection)[toText(key)]!;
}

function element(items: readonly Value[], at: number): Value {
  if (items.length === 0) throw new ValueError("cannot use element function with an empty list");
  return items[((at % items.length) + items.length) % items.length]!;
}

function slice(items: readonly Value[], from: number, to: number): Value {
  if (from < 0) throw new ValueError("start index must not be less than zero");
  if (to > items.length) throw new ValueError("end index must not be greater than the length of the list");
  if (from > to) throw new ValueError("start index must not be greater than end index");
  return items.slice(from, to);
}

function range(first: number, last: number | undefined, given: number | undefined): Value {
  const [from, to] = last === undefined ? [0, first] : [first, last];
  const step = given ?? (to < from ? -1 : 1);
  if (step === 0) throw new ValueError("step must not be zero");
  if (to !== from && to > from !== step > 0) throw new ValueError("the step leads away from the end");
  const count = Math.max(0, Math.ceil((to - from) / step));
  if (count > MAX_ITEMS) throw new ValueError(`it would have more than ${MAX_ITEMS} numbers`);
  return Array.from({ length: count }, (_, n) => from + n * step);
}

function chunks(items: readonly Value[], size: number): Value {
  if (size < 0) throw new ValueError("the size argument must be positive");
  if (size === 0) return [items];
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size));
}

function product(sets: readonly (readonly Value[])[]): Value {
  const count = sets.reduce((total, set) => total * set.length, 1);
  if (count > MAX_ITEMS) throw new ValueError(`it would have more than ${MAX_ITEMS} rows`);
  return sets.reduce<Value[][]>((rows, set) => rows.flatMap((row) => set.map((item) => [...row, item])), [[]]);
}

function lookup(object: Value, key: Value, other: Value | undefined): Value {
  if (hasIndex(object, key)) return index(object, key);
  if (other === undefined) throw new ValueError(`lookup failed to find key ${JSON.stringify(key)}`);
  return other;
}

function merge(objects: readonly Value[]): Value {
  return objectOf(objects.filter((object) => object !== null).flatMap((object) => Object.entries(toObject(object))));
}

function coalesce(values: readonly Value[]): Value {
  const found = values.find((value) => value !== null);
  if (found === undefined) throw new ValueError("no non-null arguments");
  return found;
}

function decodeJson(text: string): Value {
  try {
    return fromPlain(JSON.parse(text));
  } catch {
    throw new ValueError("the text is no JSON");
  }
}

function indexOf(items: readonly Value[], wanted: Value): number {
  const found = items.findIndex((item) => isEqual(item, wanted));
  if (found < 0) throw new ValueError("item not found");
  return found;
}

const compareTexts = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

/** Lists, sets and maps. */
export const collectionFunctions = {
  chunklist: takes(2, 2, (items, size) => chunks(toTuple(items!), toInteger(size!))),
  coalesce: takes(1, MANY, (...values) => coalesce(values)),
  coalescelist: takes(1, MANY, (...lists) => {
    const found = lists.find((list) => list !== null && toTuple(list).length > 0);
    if (found === undefined) throw new ValueError("no non-null arguments");
    return found;
  }),
  compact: takes(1, 1, (items) => toTuple(items!).filter((item) => item !== null && item !== "")),
  concat: takes(1, MANY, (...lists) => lists.flatMap((list) => [...toTuple(list)])),
  contains: takes(2, 2, (items, wanted) => has(toTuple(items!), wanted!)),
  distinct: takes(1, 1, (items) => distinct(toTuple(items!))),
  element: takes(2, 2, (items, at) => element(toTuple(items!), toInteger(at!))),
  flatten: takes(1, 1, (items) => flatten(toTuple(items!))),
  hasindex: takes(2, 2, (collection, key) => hasIndex(collection!, key!)),
  index: takes(2, 2, (collection, key) => index(collection!, key!)),
  indexof: takes(2, 2, (items, wanted) => indexOf(toTuple(items!), wanted!)),
  jsondecode: takes(1, 1, (text) => decodeJson(toText(text!))),
  keys: takes(1, 1, (object) => Object.keys(toObject(object!))),
  values: takes(1, 1, (object) => Object.values(toObject(object!))),
  length: takes(1, 1, (collection) => lengthOf(collection!)),
  lookup: takes(2, 3, (object, key, other) => lookup(object!, key!, other)),
  merge: takes(0, MANY, (...objects) => merge(objects)),
  range: takes(1, 3, (first, last, step) =>
    range(
      toNumber(first!),
      last === undefined ? undefined : toNumber(last),
      step === undefined ? undefined : toNumber(step),
    ),
  ),
  reverselist: takes(1, 1, (items) => [...toTuple(items!)].reverse()),
  sethaselement: takes(2, 2, (set, wanted) => has(toTuple(set!), wanted!)),
  setintersection: takes(1, MANY, (first, ...sets) =>
    setOf(toTuple(first!).filter((item) => sets.every((set) => has(toTuple(set), item)))),
  ),
  setproduct: takes(1, MANY, (...sets) => product(sets.map(toTuple))),
  setsubtract: takes(2, 2, (a, b) => setOf(toTuple(a!).filter((item) => !has(toTuple(b!), item)))),
  setsymmetricdifference: takes(1, MANY, (first, ...sets) =>
    setOf(
      sets
        .map(toTuple)
        .reduce<readonly Value[]>(
          (all, set) => [...all.filter((item) => !has(set, item)), ...set.filter((item) => !has(all, item))],
          toTuple(first!),
        ),
    ),
  ),
  setunion: takes(1, MANY, (...sets) => setOf(sets.flatMap((set) => [...toTuple(set)]))),
  slice: takes(3, 3, (items, from, to) => slice(toTuple(items!), toInteger(from!), toInteger(to!))),
  sort: takes(1, 1, (items) => toTuple(items!).map(toText).sort(compareTexts)),
  zipmap: takes(2, 2, (keys, values) => {
    const [names, all] = [toTuple(keys!), toTuple(values!)];
    if (names.length !== all.length) throw new ValueError("number of keys does not match number of values");
    return objectOf(names.map((name, n) => [toText(name), all[n]!] as const));
  }),
};
