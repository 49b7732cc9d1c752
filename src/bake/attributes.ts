import { csvRows } from "./hcl/text-functions.ts";
import { isObject, isTuple, toBool, toObject, toText, toTuple, type Value, ValueError } from "./hcl/value.ts";
import type { Entry, Field } from "./target.ts";

/** A field's value of what a file says. Throws ValueError for one of another kind; undefined for null. */
export function fieldValue(field: Field, value: Value): unknown {
  if (value === null) return undefined;
  switch (field.kind) {
    case "text":
      return toText(value);
    case "flag":
      return toBool(value);
    case "texts":
      return toTuple(value)
        .filter((item) => item !== null)
        .map(toText);
    case "map":
      // What is null says nothing.
      return Object.fromEntries(
        Object.entries(toObject(value)).flatMap(([name, each]) => (each === null ? [] : [[name, toText(each)]])),
      );
    case "entries":
      return toTuple(value)
        .filter((item) => item !== null && item !== "")
        .map((item) => entryOf(field.entry, item));
  }
}

/** `type=registry,ref=x`, an object of the same, or the short forms that each field has. */
export function entryOf(kind: Field["entry"], value: Value): Entry {
  if (isObject(value)) {
    const rows = Object.entries(value).filter(([, each]) => each !== null && each !== "");
    return Object.fromEntries(
      rows.map(([name, each]) => [name, isTuple(each) ? each.map(toText).join(",") : toText(each)]),
    );
  }
  const text = toText(value);
  if (kind === "ssh") return sshEntry(text);
  const [fields = [], ...more] = csvRows(text);
  if (more.length > 0) throw new ValueError(`${JSON.stringify(text)} has more than one line`);
  const [first = ""] = fields;
  if (fields.length === 1 && !first.includes("=")) return shortEntry(kind, first);
  const rows = fields.map((field) => {
    const equals = field.indexOf("=");
    if (equals < 1) throw new ValueError(`invalid value ${field}: it has to be key=value`);
    const key = field.slice(0, equals).trim().toLowerCase();
    return [kind === "secret" && key === "source" ? "src" : key, field.slice(equals + 1)] as const;
  });
  const entry = Object.fromEntries(rows);
  if (kind === "attest" && entry.type === undefined)
    throw new ValueError(`attestation ${JSON.stringify(text)} has no type`);
  if (kind !== "secret" && entry.type === undefined)
    throw new ValueError(`type is required for ${JSON.stringify(text)}`);
  return entry;
}

function shortEntry(kind: Field["entry"], word: string): Entry {
  if (kind === "cache") return { type: "registry", ref: word };
  if (kind === "output") return word === "-" ? { type: "tar", dest: "-" } : { type: "local", dest: word };
  if (kind === "secret") return { id: word };
  return { type: word };
}

function sshEntry(text: string): Entry {
  const equals = text.indexOf("=");
  if (equals < 0) return { id: text };
  return { id: text.slice(0, equals), paths: text.slice(equals + 1) };
}
