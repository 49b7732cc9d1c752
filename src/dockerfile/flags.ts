import { invalid } from "./source.ts";
import { withSuggestion } from "./suggest.ts";

/** `--name=value` of one instruction, checked against the flags that it has. */

export type FlagKind = "boolean" | "text" | "texts";

export type FlagKinds = Readonly<Record<string, FlagKind>>;

type ValueOf<K extends FlagKind> = K extends "boolean" ? boolean : K extends "text" ? string : readonly string[];

/** Flags that aren't given are absent; a list is empty. */
export type Flags<Kinds extends FlagKinds> = {
  readonly [Name in keyof Kinds]: Kinds[Name] extends "texts" ? readonly string[] : ValueOf<Kinds[Name]> | undefined;
};

/** Reads the flags of a node. Throws `invalid` for one that is unknown, given twice or has no fitting value. */
export function readFlags<const Kinds extends FlagKinds>(words: readonly string[], kinds: Kinds): Flags<Kinds> {
  const values = new Map<string, boolean | string | string[]>();
  for (const name in kinds) if (kinds[name] === "texts") values.set(name, []);
  const used = new Set<string>();
  for (const word of words) {
    const equals = word.indexOf("=");
    const name = word.slice(2, equals < 0 ? undefined : equals);
    const value = equals < 0 ? undefined : word.slice(equals + 1);
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined) throw invalid(withSuggestion(`unknown flag: --${name}`, name, Object.keys(kinds)));
    if (used.has(name) && kind !== "texts") throw invalid(`duplicate flag specified: --${name}`);
    used.add(name);
    if (kind === "boolean") values.set(name, booleanOf(name, value));
    else if (value === undefined) throw invalid(`missing a value on flag: --${name}`);
    else if (kind === "text") values.set(name, value);
    else (values.get(name) as string[]).push(value);
  }
  return Object.fromEntries(values) as Flags<Kinds>;
}

function booleanOf(name: string, value: string | undefined): boolean {
  if (value === "") throw invalid(`missing a value on flag: --${name}`);
  const lower = value?.toLowerCase() ?? "true";
  if (lower !== "true" && lower !== "false") {
    throw invalid(`expecting boolean value for flag --${name}, not: ${value}`);
  }
  return lower === "true";
}
