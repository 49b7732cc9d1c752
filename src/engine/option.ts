import { ramInBytes } from "../base/units.ts";

/**
 * One setting of the engine, as a flag and as a key of the configuration file. Readers throw a plain Error whose
 * message is the reason alone; who calls them says of which flag or key.
 */
export interface Option<T> {
  /** The flag without its dashes. */
  readonly flag: string;
  readonly short?: string;
  /** The file's key: the flag, or its plural where it may be given more than once. */
  readonly key: string;
  readonly initial: T;
  /** True for flags that stand without a value. */
  readonly isSwitch: boolean;
  readonly help: string;
  /** All of a flag's occurrences, in order. */
  fromFlag(given: readonly string[]): T;
  fromFile(given: unknown): T;
}

interface Naming {
  readonly short?: string;
  readonly key?: string;
  readonly help: string;
}

export function textOption(
  flag: string,
  initial: string,
  naming: Naming,
  check: (text: string) => string = (text) => text,
): Option<string> {
  return {
    flag,
    key: flag,
    ...naming,
    initial,
    isSwitch: false,
    fromFlag: (given) => check(given.at(-1) ?? initial),
    fromFile: (given) => check(asText(given)),
  };
}

export function switchOption(flag: string, initial: boolean, naming: Naming): Option<boolean> {
  return {
    flag,
    key: flag,
    ...naming,
    initial,
    isSwitch: true,
    fromFlag: (given) => asSwitch(given.at(-1) ?? "true"),
    fromFile: (given) => {
      if (typeof given !== "boolean") throw new Error(`${show(given)} is neither true nor false`);
      return given;
    },
  };
}

/** As `intOption`, where 0 is the default, as dockerd has it. */
export function intOrDefaultOption(...args: Parameters<typeof intOption>): Option<number> {
  const option = intOption(...args);
  return {
    ...option,
    fromFlag: (given) => (/^[+-]?0+$/.test(given.at(-1) ?? "") ? option.initial : option.fromFlag(given)),
    fromFile: (given) => (given === 0 ? option.initial : option.fromFile(given)),
  };
}

export function intOption(
  flag: string,
  initial: number,
  range: readonly [number, number],
  naming: Naming,
): Option<number> {
  const check = (value: number) => {
    if (!Number.isSafeInteger(value) || value < range[0] || value > range[1]) {
      throw new Error(`it must be a whole number from ${range[0]} to ${range[1]}`);
    }
    return value;
  };
  return {
    flag,
    key: flag,
    ...naming,
    initial,
    isSwitch: false,
    fromFlag: (given) => check(/^[+-]?\d+$/.test(given.at(-1) ?? "") ? Number(given.at(-1)) : Number.NaN),
    fromFile: (given) => check(typeof given === "number" ? given : Number.NaN),
  };
}

/** Bytes, as `64m` or a number. */
export function bytesOption(flag: string, initial: number, naming: Naming): Option<number> {
  const read = (text: string) => {
    const bytes = ramInBytes(text);
    if (bytes <= 0) throw new Error("it must be more than 0");
    return bytes;
  };
  return {
    flag,
    key: flag,
    ...naming,
    initial,
    isSwitch: false,
    fromFlag: (given) => read(given.at(-1) ?? ""),
    fromFile: (given) => read(typeof given === "number" ? String(given) : asText(given)),
  };
}

/** Bytes as above, or 0 for none. */
export function bytesOrNoneOption(flag: string, initial: number, naming: Naming): Option<number> {
  const option = bytesOption(flag, initial, naming);
  const isNone = (given: unknown) => given === 0 || given === "0";
  return {
    ...option,
    fromFlag: (given) => (isNone(given.at(-1)) ? 0 : option.fromFlag(given)),
    fromFile: (given) => (isNone(given) ? 0 : option.fromFile(given)),
  };
}

/** May be given more than once; each is checked by itself. */
export function listOption<T>(
  flag: string,
  naming: Naming & { readonly key: string },
  read: (item: string) => T,
  readObject: (item: unknown) => T = (item) => read(asText(item)),
): Option<readonly T[]> {
  return {
    flag,
    ...naming,
    initial: [],
    isSwitch: false,
    fromFlag: (given) => given.map(read),
    fromFile: (given) => {
      if (!Array.isArray(given)) throw new Error(`${show(given)} is no list`);
      return given.map(readObject);
    },
  };
}

/** Named values: `name=value` as a flag, an object in the file. */
export function recordOption<T>(
  flag: string,
  naming: Naming & { readonly key: string },
  read: (item: string) => readonly [string, T],
  readObject: (name: string, item: unknown) => T,
): Option<Readonly<Record<string, T>>> {
  return {
    flag,
    ...naming,
    initial: {},
    isSwitch: false,
    fromFlag: (given) => Object.fromEntries(given.map(read)),
    fromFile: (given) =>
      Object.fromEntries(Object.entries(asObject(given)).map(([name, item]) => [name, readObject(name, item)])),
  };
}

export function asText(given: unknown): string {
  if (typeof given !== "string") throw new Error(`${show(given)} is no text`);
  return given;
}

export function asObject(given: unknown): Readonly<Record<string, unknown>> {
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw new Error(`${show(given)} is no object`);
  return given as Record<string, unknown>;
}

/** Splits `key=value`. */
export function asPair(text: string): readonly [string, string] {
  const equals = text.indexOf("=");
  if (equals <= 0) throw new Error(`bad attribute format: ${text}`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

function asSwitch(text: string): boolean {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  throw new Error(`strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
}

function show(given: unknown): string {
  return JSON.stringify(given)?.slice(0, 100) ?? "nothing";
}
