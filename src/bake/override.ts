import { GantryError } from "../base/errors.ts";
import { entryOf } from "./attributes.ts";
import { ValueError } from "./hcl/value.ts";
import { FIELDS, type FieldName, isFieldName, type Target } from "./target.ts";

/** `--set PATTERN.KEY[.NAME][+]=VALUE`, parsed. */
export interface Override {
  /** Names of targets, with `*` and `?`. */
  readonly pattern: string;
  readonly field: FieldName;
  readonly name: string | undefined;
  readonly appends: boolean;
  readonly value: string;
}

/** What `--set` calls otherwise than a file does. */
const ALIASES: Readonly<Record<string, FieldName>> = { platform: "platforms", secrets: "secret" };
const SHORTCUTS: Readonly<Record<string, string>> = { push: "registry", load: "docker" };

/** Reads one `--set`. Throws invalid, naming what is wrong with it. */
export function parseOverride(text: string, env: (name: string) => string | undefined): Override | undefined {
  const equals = text.indexOf("=");
  const left = equals < 0 ? text : text.slice(0, equals);
  const appends = left.endsWith("+");
  const [pattern = "", key, ...names] = (appends ? left.slice(0, -1) : left).split(".");
  if (key === undefined) throw new GantryError("invalid", `invalid override key ${left}, expected target.name`);
  const name = names.length === 0 ? undefined : names.join(".");
  if (equals < 0 && key !== "args") {
    throw new GantryError("invalid", `invalid override ${text}, expected target.name=value`);
  }
  const shortcut = Object.hasOwn(SHORTCUTS, key) ? SHORTCUTS[key] : undefined;
  if (shortcut !== undefined) {
    if (text.slice(equals + 1) !== "true") return undefined;
    return { pattern, field: "output", name: undefined, appends: true, value: `type=${shortcut}` };
  }
  const field = Object.hasOwn(ALIASES, key) ? ALIASES[key]! : key;
  if (!isFieldName(field)) throw new GantryError("invalid", `unknown key: ${key}`);
  if (FIELDS[field].kind === "map" && name === undefined) {
    throw new GantryError("invalid", `invalid key ${left}, ${key} requires name`);
  }
  if (FIELDS[field].kind !== "map" && name !== undefined) {
    throw new GantryError("invalid", `invalid key ${left}: ${key} has no names in it`);
  }
  const value = equals < 0 ? env(name ?? "") : text.slice(equals + 1);
  return value === undefined ? undefined : { pattern, field, name, appends, value };
}

/** A target with overrides, in their order. The first of a list without `+` begins it anew. */
export function override(target: Target, overrides: readonly Override[]): Target {
  const result: Record<string, unknown> = { ...target };
  const begun = new Set<string>();
  for (const { field, name, appends, value } of overrides) {
    const { kind, entry } = FIELDS[field];
    const former = result[field];
    if (kind === "text") result[field] = value;
    else if (kind === "flag") result[field] = flag(field, value);
    else if (kind === "map") result[field] = { ...(former as object | undefined), [name ?? ""]: value };
    else {
      const always = field === "entitlements" || field === "annotations" || field === "attest";
      const keeps = appends || always || begun.has(field);
      begun.add(field);
      const item = kind === "texts" ? value : parsed(field, entry, value);
      result[field] = [...(keeps ? ((former as unknown[] | undefined) ?? []) : []), item];
    }
  }
  return result;
}

function flag(field: string, value: string): boolean {
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw new GantryError("invalid", `invalid value ${value} for boolean key ${field}`);
}

function parsed(field: string, entry: Parameters<typeof entryOf>[0], value: string): unknown {
  try {
    return entryOf(entry, value);
  } catch (error) {
    if (error instanceof ValueError) throw new GantryError("invalid", `invalid value for ${field}: ${error.message}`);
    throw error;
  }
}
