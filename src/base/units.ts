import { GantryError } from "./errors.ts";

/** Sizes, durations and ulimits in the spelling of Docker's go-units; errors are `invalid` with its texts. */

const PREFIXES = "kmgtp";
const DECIMAL_UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
const ULIMITS: ReadonlySet<string> = new Set([
  "core",
  "cpu",
  "data",
  "fsize",
  "locks",
  "memlock",
  "msgqueue",
  "nice",
  "nofile",
  "nproc",
  "rss",
  "rtprio",
  "rttime",
  "sigpending",
  "stack",
]);

/** `32k`, `32kb` and `32KiB` are all 32,768 bytes. */
export function ramInBytes(text: string): number {
  return parseSize(text, 1024);
}

/** Bytes as `13.3kB`: powers of a thousand, `precision` significant digits. */
export function humanSize(bytes: number, precision = 4): string {
  return scaled(bytes, 1000, DECIMAL_UNITS, precision);
}

/** Bytes as `1.5MiB`: powers of 1024, four significant digits. */
export function bytesSize(bytes: number): string {
  return scaled(bytes, 1024, BINARY_UNITS, 4);
}

/** A length of time as `About a minute` or `3 weeks`. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.trunc(milliseconds / 1000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.trunc(milliseconds / 60_000);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.trunc(milliseconds / 3_600_000 + 0.5);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 14) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 60) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc(milliseconds / 3_600_000 / 24 / 365)} years`;
}

export interface UlimitValue {
  readonly name: string;
  /** -1 is unlimited, here and in `hard`. */
  readonly soft: number;
  readonly hard: number;
}

/** Reads `nofile=1024:2048` or `cpu=6`. */
export function parseUlimit(text: string): UlimitValue {
  const equals = text.indexOf("=");
  // The original names the argument only after it was cut, so its text ends here.
  if (equals < 0) throw invalid("invalid ulimit argument: ");
  const name = text.slice(0, equals);
  if (!ULIMITS.has(name)) throw invalid(`invalid ulimit type: ${name}`);
  const limits = text.slice(equals + 1);
  const colon = limits.indexOf(":");
  const soft = parseInteger(colon < 0 ? limits : limits.slice(0, colon));
  const hard = colon < 0 ? soft : parseInteger(limits.slice(colon + 1));
  if (hard !== -1 && soft === -1) {
    throw invalid(`ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: ${hard}`);
  }
  if (hard !== -1 && soft > hard) {
    throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
  }
  return { name, soft, hard };
}

function parseSize(text: string, base: number): number {
  const space = text.indexOf(" ");
  const end = space >= 0 ? space : text.search(/[^0-9.]*$/);
  if (end === 0 && space < 0) throw invalid(`invalid size: '${text}'`);
  const size = parseFloating(text.slice(0, end));
  if (size < 0) throw invalid(`invalid size: '${text}'`);
  const suffix = text.slice(space >= 0 ? end + 1 : end);
  const bytes = Math.trunc(size * multiplier(suffix, base)) + 0;
  if (bytes >= 2 ** 63) throw invalid(`invalid size: '${text}'`);
  return bytes;
}

function multiplier(suffix: string, base: number): number {
  if (suffix === "") return 1;
  if (suffix.length > 3) throw invalid(`invalid suffix: '${suffix}'`);
  const lower = suffix.toLowerCase();
  if (lower === "b") return 1;
  const power = PREFIXES.indexOf(lower[0] ?? "") + 1;
  if (power === 0 || !["", "b", "ib"].includes(lower.slice(1))) throw invalid(`invalid suffix: '${lower}'`);
  return base ** power;
}

function parseFloating(text: string): number {
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text)) {
    throw invalid(`strconv.ParseFloat: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  const value = Number(text);
  if (!Number.isFinite(value)) throw invalid(`strconv.ParseFloat: parsing ${JSON.stringify(text)}: value out of range`);
  return value;
}

function parseInteger(text: string): number {
  if (!/^[+-]?\d+$/.test(text)) throw invalid(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  const value = Number(text);
  if (Math.abs(value) >= 2 ** 63) {
    throw invalid(`strconv.ParseInt: parsing ${JSON.stringify(text)}: value out of range`);
  }
  return value;
}

function scaled(bytes: number, base: number, units: readonly string[], precision: number): string {
  let size = bytes;
  let unit = 0;
  while (size >= base && unit < units.length - 1) {
    size /= base;
    unit++;
  }
  return general(size, precision) + units[unit];
}

/** C's and Go's `%.<precision>g`. */
function general(value: number, precision: number): string {
  if (value === 0) return "0";
  const [mantissa = "", exponentText = "0"] = value.toExponential(precision - 1).split("e");
  const exponent = Number(exponentText);
  if (exponent >= -4 && exponent < precision) return trimZeros(value.toFixed(Math.max(precision - 1 - exponent, 0)));
  const sign = exponent < 0 ? "-" : "+";
  return `${trimZeros(mantissa)}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function invalid(message: string): GantryError {
  return new GantryError("invalid", message);
}
