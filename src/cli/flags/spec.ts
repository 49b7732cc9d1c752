import { parseDuration } from "../../base/duration.ts";
import { parseBool } from "../../base/parse-bool.ts";
import { ramInBytes } from "../../base/units.ts";

/** One flag of a command, as data: parsing, help and completion all read it. */
export interface FlagSpec {
  readonly name: string;
  readonly short?: string;
  /** The type's name in the help; "" for a switch. */
  readonly type: string;
  readonly usage: string;
  /** The value without the flag. Shown in the help unless `shownDefault` says otherwise. */
  readonly initial?: string;
  /** What the help shows as the default; "" for nothing. */
  readonly shownDefault?: string;
  /** Given without a value this is meant; only switches have it. */
  readonly bare?: string;
  readonly hidden?: boolean;
  /** The API version that the engine must know for it; the help of an older one hides it, its use is refused. */
  readonly since?: string;
  /** It should not be used any more: what to use instead. */
  readonly deprecated?: string;
  /** Of engines on Windows only: hidden in the help. */
  readonly windows?: boolean;
  /** An older spelling: its values count as this flag's. */
  readonly into?: string;
  /** Checks one given value and may rewrite it; throws an Error whose message says what is wrong. */
  readonly check?: (value: string) => string;
}

type Extra = Partial<Omit<FlagSpec, "name" | "short" | "usage">>;

/** `names` is `name` or `x,name` with a shorthand. */
function flag(names: string, usage: string, type: string, extra: Extra): FlagSpec {
  const [short, name] = names.includes(",") ? (names.split(",") as [string, string]) : [undefined, names];
  return { name, ...(short === undefined ? {} : { short }), usage, type, ...extra };
}

export function boolFlag(names: string, usage: string, extra: Extra = {}): FlagSpec {
  return flag(names, usage, "", { bare: "true", initial: "false", shownDefault: "", check: checkBool, ...extra });
}

export function textFlag(names: string, usage: string, extra: Extra = {}): FlagSpec {
  const shown = extra.initial === undefined || extra.initial === "" ? "" : `"${extra.initial}"`;
  return flag(names, usage, "string", { initial: "", shownDefault: shown, ...extra });
}

export function listFlag(names: string, usage: string, extra: Extra = {}): FlagSpec {
  return flag(names, usage, "list", { shownDefault: "", ...extra });
}

export function mapFlag(names: string, usage: string, extra: Extra = {}): FlagSpec {
  return flag(names, usage, "map", { shownDefault: "map[]", ...extra });
}

export function intFlag(names: string, usage: string, extra: Extra = {}): FlagSpec {
  const shown = extra.initial === undefined || extra.initial === "0" ? "" : extra.initial;
  return flag(names, usage, "int", { initial: "0", shownDefault: shown, check: parseInteger, ...extra });
}

export function bytesFlag(names: string, usage: string, extra: Extra = {}): FlagSpec {
  return flag(names, usage, "bytes", {
    initial: "0",
    shownDefault: "",
    check: (value) => String(ramInBytes(value)),
    ...extra,
  });
}

export function durationFlag(names: string, usage: string, extra: Extra = {}): FlagSpec {
  const check = (value: string): string => String(parseDuration(value));
  return flag(names, usage, "duration", { initial: "0", shownDefault: "0s", check, ...extra });
}

/** `--filter key=value`; keys are lower-cased and spaces around both are dropped, as Docker does. */
export function filterFlag(usage = "Show only what matches"): FlagSpec {
  return flag("f,filter", usage, "filter", { shownDefault: "", check: checkFilter });
}

export function checkFilter(value: string): string {
  if (value.trim() === "") return "";
  const equals = value.indexOf("=");
  if (equals === -1) throw new Error("bad format of filter (expected name=value)");
  return `${value.slice(0, equals).trim().toLowerCase()}=${value.slice(equals + 1).trim()}`;
}

function checkBool(value: string): string {
  const parsed = parseBool(value);
  if (parsed === undefined) throw new Error(`strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`);
  return String(parsed);
}

/** Go's ParseInt with base 0: decimal, 0x, 0o, 0b and a leading zero for octal. */
function parseInteger(value: string): string {
  return integer(value, "ParseInt", -(2n ** 63n), 2n ** 63n - 1n);
}

export function parseUnsigned(bits: number): (value: string) => string {
  return (value) => integer(value, "ParseUint", 0n, 2n ** BigInt(bits) - 1n);
}

function integer(value: string, call: string, least: bigint, most: bigint): string {
  const match = /^([+-]?)(0x[0-9a-f]+|0b[01]+|0o?[0-7]+|[1-9][0-9]*|0)$/i.exec(value);
  if (match === null || (call === "ParseUint" && match[1] !== "")) {
    throw new Error(`strconv.${call}: parsing ${JSON.stringify(value)}: invalid syntax`);
  }
  const digits = match[2] ?? "0";
  const size = BigInt(/^0[0-7]/.test(digits) ? `0o${digits}` : digits);
  const number = match[1] === "-" ? -size : size;
  if (number < least || number > most) {
    throw new Error(`strconv.${call}: parsing ${JSON.stringify(value)}: value out of range`);
  }
  return String(number);
}
