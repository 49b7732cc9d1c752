import { GantryError } from "../base/errors.ts";
import { parseBool } from "../base/parse-bool.ts";
import { entryOf } from "./attributes.ts";
import { ValueError } from "./hcl/value.ts";
import { type Entry, FIELDS, type FieldName, isFieldName, normal, type Target } from "./target.ts";

/** `--set PATTERN.KEY[.NAME][+]=VALUE`, parsed. */
export interface Override {
  /** Names of targets, with `*` and `?`. */
  readonly pattern: string;
  readonly field: FieldName | "push" | "load";
  readonly name: string | undefined;
  readonly appends: boolean;
  readonly value: string;
}

/** What `--set` calls otherwise than a file does. */
const ALIASES: Readonly<Record<string, FieldName>> = { platform: "platforms", secrets: "secret" };

/** Reads one `--set`. Throws invalid, naming what is wrong with it. */
export function parseOverride(text: string, env: (name: string) => string | undefined): Override | undefined {
  const equals = text.indexOf("=");
  const left = equals < 0 ? text : text.slice(0, equals);
  const appends = left.endsWith("+");
  const bare = appends ? left.slice(0, -1) : left;
  const [pattern = "", key, ...names] = bare.split(".");
  if (key === undefined) throw new GantryError("invalid", `invalid override key ${bare}, expected target.name`);
  const name = names.length === 0 ? undefined : names.join(".");
  if (equals < 0 && key !== "args") {
    throw new GantryError("invalid", `invalid override ${text}, expected target.name=value`);
  }
  if (key === "push" || key === "load") {
    return { pattern, field: key, name: undefined, appends: false, value: text.slice(equals + 1) };
  }
  const field = Object.hasOwn(ALIASES, key) ? ALIASES[key]! : key;
  if (!isFieldName(field) || field === "description" || field === "dockerfile-inline") {
    throw new GantryError("invalid", `unknown key: ${key}`);
  }
  if (FIELDS[field].kind === "map" && name === undefined) {
    throw new GantryError("invalid", `invalid key ${left}, ${key} requires name`);
  }
  if (FIELDS[field].kind !== "map" && name !== undefined) {
    throw new GantryError("invalid", `invalid key ${left}: ${key} has no names in it`);
  }
  const value = equals < 0 ? env(name ?? "") : text.slice(equals + 1);
  return value === undefined ? undefined : { pattern, field, name, appends, value };
}

/** Added to what there is, with `+` or without. */
const ADDED: ReadonlySet<string> = new Set(["entitlements", "annotations", "attest"]);

/** A target with overrides, in their order. The first of a list without `+` begins it anew. */
export function override(target: Target, overrides: readonly Override[]): Target {
  const result: Record<string, unknown> = { ...target };
  const begun = new Set<string>();
  for (const { field, name, appends, value } of overrides) {
    if (field === "push" || field === "load") {
      if (flag(field, value) || field === "push") {
        result.output = (field === "push" ? pushed : loaded)(
          (result.output as Entry[] | undefined) ?? [],
          flag(field, value),
        );
      }
      continue;
    }
    const { kind, entry } = FIELDS[field];
    const former = result[field];
    if (kind === "text") result[field] = value;
    else if (kind === "flag") result[field] = flag(field, value);
    else if (kind === "map") result[field] = { ...(former as object | undefined), [name ?? ""]: value };
    else {
      const keeps = appends || ADDED.has(field) || begun.has(field);
      begun.add(field);
      const kept = keeps ? ((former as unknown[] | undefined) ?? []) : [];
      result[field] = value === "" ? kept : [...kept, kind === "texts" ? value : parsed(field, entry, value)];
    }
  }
  return normal(result);
}

/** Images are pushed; a target that makes no output but such gets one. */
function pushed(outputs: readonly Entry[], isOn: boolean): readonly Entry[] {
  if (!isOn) {
    return outputs
      .filter(({ type }) => type !== "registry")
      .map((output) => (output.type === "image" ? { ...output, push: "false" } : output));
  }
  const all = outputs.map((output) => (output.type === "image" ? { ...output, push: "true" } : output));
  return outputs.every(({ type }) => type === "docker") ? [...all, { type: "image", push: "true" }] : all;
}

/** Images go into the engine's store, too; what is no image stays as it is. */
function loaded(outputs: readonly Entry[]): readonly Entry[] {
  for (const { type = "", dest = "" } of outputs) {
    if (type === "docker" && dest === "") return outputs;
    if (!["docker", "image", "registry", "oci"].includes(type)) return outputs;
  }
  return [...outputs, { type: "docker" }];
}

function flag(field: string, value: string): boolean {
  const parsedValue = parseBool(value);
  if (parsedValue !== undefined) return parsedValue;
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
