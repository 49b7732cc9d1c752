import type { Expression } from "./syntax.ts";
import { isObject, isTuple, objectOf, toBool, toNumber, toText, typeName, type Value, ValueError } from "./value.ts";

/** A type as `type = list(string)` says it. */
export type Type =
  | { readonly name: "string" | "number" | "bool" | "any" }
  | { readonly name: "list" | "set" | "map"; readonly of: Type }
  | { readonly name: "tuple"; readonly items: readonly Type[] }
  | {
      readonly name: "object";
      readonly members: ReadonlyMap<string, { readonly type: Type; readonly optional: boolean }>;
    };

const ANY: Type = { name: "any" };

/** Reads a type constraint. Throws ValueError for what is none. */
export function typeOf(expression: Expression): Type {
  const inner = expression.kind === "wrapped" ? expression.inner : expression;
  if (inner.kind === "variable") {
    const { name } = inner;
    if (name === "string" || name === "number" || name === "bool" || name === "any") return { name };
    if (name === "list" || name === "set" || name === "map") return { name, of: ANY };
  }
  if (inner.kind === "call" && inner.args.length === 1) {
    const [arg] = inner.args as [Expression];
    const { name } = inner;
    if (name === "list" || name === "set" || name === "map") return { name, of: typeOf(arg) };
    if (name === "tuple" && arg.kind === "tuple") return { name, items: arg.items.map(typeOf) };
    if (name === "object" && arg.kind === "object") return { name, members: new Map(arg.items.map(memberOf)) };
  }
  if (inner.kind === "variable") {
    throw new ValueError(`The keyword ${JSON.stringify(inner.name)} is not a valid type specification.`);
  }
  throw new ValueError(
    "A type specification is either a primitive type keyword (bool, number, string) or a complex type constructor " +
      "call, like list(string).",
  );
}

function memberOf({ key, value }: { key: Expression; value: Expression }) {
  const name = key.kind === "literal" ? String(key.value) : "";
  const optional = value.kind === "call" && value.name === "optional" && value.args[0] !== undefined;
  const type = typeOf(optional ? (value as Extract<Expression, { kind: "call" }>).args[0]! : value);
  return [name, { type, optional }] as const;
}

/** The value as one of the type. Throws ValueError if it can't be. */
export function convertTo(value: Value, type: Type): Value {
  if (value === null || type.name === "any") return value;
  switch (type.name) {
    case "string":
      return toText(value);
    case "number":
      return toNumber(value);
    case "bool":
      return toBool(value);
    case "list":
    case "set": {
      if (!isTuple(value)) throw new ValueError(`${type.name} required, got ${typeName(value)}`);
      const items = value.map((item) => convertTo(item, type.of));
      if (type.name === "list") return items;
      // Without doubles, in order.
      const once = [...new Map(items.map((item) => [JSON.stringify(item), item]))];
      return once.sort(([a], [b]) => (a < b ? -1 : Number(a > b))).map(([, item]) => item);
    }
    case "map":
      if (!isObject(value)) throw new ValueError(`map required, got ${typeName(value)}`);
      return objectOf(Object.entries(value).map(([name, each]) => [name, convertTo(each, type.of)] as const));
    case "tuple":
      if (!isTuple(value) || value.length !== type.items.length) {
        throw new ValueError(`tuple of ${type.items.length} required, got ${typeName(value)}`);
      }
      return value.map((item, index) => convertTo(item, type.items[index]!));
    case "object": {
      if (!isObject(value)) throw new ValueError(`object required, got ${typeName(value)}`);
      const rows: [string, Value][] = [];
      for (const [name, member] of type.members) {
        const own = Object.hasOwn(value, name) ? value[name]! : undefined;
        if (own === undefined && !member.optional) throw new ValueError(`attribute "${name}" is required`);
        rows.push([name, own === undefined ? null : convertTo(own, member.type)]);
      }
      return objectOf(rows);
    }
  }
}

/** `list of string`, as errors and lists name it. */
export function shownType(type: Type): string {
  if (type.name === "any") return "dynamic";
  return "of" in type
    ? `${type.name} of ${type.of.name === "any" ? "any single type" : shownType(type.of)}`
    : type.name;
}
