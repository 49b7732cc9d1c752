import { csvFields } from "../../base/csv.ts";
import { GantryError } from "../../base/errors.ts";

/** A type and its attributes, as `type=…,name=value` says them. */
export interface Typed {
  readonly type: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** `type=x,a=b`; a word alone is what `short` makes of it. */
export function typed(given: string, short: (word: string) => Typed): Typed {
  const fields = csvFields(given);
  const [first = ""] = fields;
  if (fields.length === 1 && !first.includes("=")) return short(first);
  const attributes: Record<string, string> = {};
  for (const field of fields) {
    const [name, value] = pair(field);
    if (value === undefined) throw new GantryError("invalid", `invalid value ${field}: it has to be key=value`);
    attributes[name.trim().toLowerCase()] = value;
  }
  const { type = "", ...rest } = attributes;
  if (type === "") throw new GantryError("invalid", `type is required for ${JSON.stringify(given)}`);
  return { type, attributes: rest };
}

/** `name=value`; undefined without a value. */
export function pair(given: string): readonly [name: string, value: string | undefined] {
  const equals = given.indexOf("=");
  return equals < 0 ? [given, undefined] : [given.slice(0, equals), given.slice(equals + 1)];
}
