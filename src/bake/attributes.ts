import { csvRows } from "./hcl/text-functions.ts";
import { isObject, isTuple, toBool, toText, type Value, ValueError } from "./hcl/value.ts";
import type { Entry, Field } from "./target.ts";

/** A field's value of what a file says. Throws ValueError for one of another kind; undefined for null. */
export function fieldValue(field: Field, value: Value): unknown {
  if (value === null && field.kind !== "entries") return undefined;
  switch (field.kind) {
    case "text":
      return toText(value);
    case "flag":
      return toBool(value);
    case "texts":
      return items(value, "list of string required").map(toText);
    case "map":
      if (!isObject(value)) throw new ValueError("map of string required");
      // What is null says nothing.
      return Object.fromEntries(
        Object.entries(value).flatMap(([name, each]) => (each === null ? [] : [[name, toText(each)]])),
      );
    case "entries":
      if (value === null) throw new ValueError("null value is not allowed");
      return items(value, "list or tuple required")
        .filter((item) => item !== "")
        .map((item) => entryOf(field.entry, item));
  }
}

function items(value: Value, otherwise: string): readonly Value[] {
  if (!isTuple(value)) throw new ValueError(otherwise);
  if (value.includes(null)) throw new ValueError("null value is not allowed");
  return value;
}

/** `type=registry,ref=x`, an object of the same, or the short forms that each field has. */
export function entryOf(kind: Field["entry"], value: Value): Entry {
  if (isObject(value)) {
    const rows = Object.entries(value).filter(([, each]) => each !== null && each !== "");
    const texts = rows.map(
      ([name, each]) => [name, isTuple(each) ? each.map(toText).join(",") : toText(each)] as const,
    );
    return checked(kind, Object.fromEntries(texts), JSON.stringify(Object.fromEntries(texts)));
  }
  const text = toText(value);
  if (kind === "ssh") return sshEntry(text);
  const [fields = [], ...more] = csvRows(text);
  if (more.length > 0) throw new ValueError(`${JSON.stringify(text)} has more than one line`);
  const [first = ""] = fields;
  if (fields.length === 1 && kind === "output" && !first.startsWith("type=")) {
    return first === "-" ? { type: "tar", dest: "-" } : { type: "local", dest: first };
  }
  if (fields.length === 1 && kind === "cache" && !first.includes("=")) return { type: "registry", ref: first };
  const rows = fields.map((field) => {
    const equals = field.indexOf("=");
    if (equals < 1) {
      throw new ValueError(
        kind === "secret" ? `invalid field '${field}' must be a key=value pair` : `invalid value ${field}`,
      );
    }
    return [field.slice(0, equals).trim().toLowerCase(), field.slice(equals + 1)] as const;
  });
  return checked(kind, Object.fromEntries(rows), JSON.stringify(text));
}

function checked(kind: Field["entry"], entry: Entry, shown: string): Entry {
  if (kind === "secret") return secretEntry(entry, shown);
  if (kind === "ssh" || (entry.type ?? "") !== "") return entry;
  if (kind === "attest") throw new ValueError("attestation type not specified");
  throw new ValueError(kind === "cache" ? `type required form> ${shown}` : "type is required for output");
}

/** A secret of the environment is one of a variable; which kind it is, its own fields say. */
function secretEntry({ type, id = "", source, src = source, env, ...more }: Entry, shown: string): Entry {
  const [other] = Object.keys(more);
  if (other !== undefined) throw new ValueError(`unexpected key '${other}' in ${shown}`);
  if (type !== undefined && type !== "file" && type !== "env") {
    throw new ValueError(`unsupported secret type ${JSON.stringify(type)}`);
  }
  const isVariable = type === "env" && env === undefined;
  const [variable, file] = isVariable ? [src, undefined] : [env, src];
  return { id, ...(file !== undefined && { src: file }), ...(variable !== undefined && { env: variable }) };
}

function sshEntry(text: string): Entry {
  const equals = text.indexOf("=");
  if (equals < 0) return { id: text };
  return { id: text.slice(0, equals), paths: text.slice(equals + 1) };
}
