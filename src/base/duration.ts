import { GantryError } from "./errors.ts";

const UNITS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** Reads Go's durations, `1h30m`, `1.5s`, `-3ms`; the answer is in nanoseconds. Throws invalid, in Go's words. */
export function parseDuration(text: string): number {
  const match = /^([+-]?)(.*)$/s.exec(text);
  const body = match?.[2] ?? "";
  if (body === "0") return 0;
  if (body === "") throw new GantryError("invalid", `time: invalid duration ${JSON.stringify(text)}`);
  let total = 0;
  let at = 0;
  while (at < body.length) {
    const part = /^(\d+\.?\d*|\.\d+)([^\d.]*)/.exec(body.slice(at));
    if (part === null) throw new GantryError("invalid", `time: invalid duration ${JSON.stringify(text)}`);
    const unit = part[2] ?? "";
    if (unit === "") throw new GantryError("invalid", `time: missing unit in duration ${JSON.stringify(text)}`);
    const scale = UNITS[unit];
    if (scale === undefined) {
      throw new GantryError(
        "invalid",
        `time: unknown unit ${JSON.stringify(unit)} in duration ${JSON.stringify(text)}`,
      );
    }
    total += Math.round(Number(part[1]) * scale);
    at += part[0].length;
  }
  if (total >= 2 ** 63) throw new GantryError("invalid", `time: invalid duration ${JSON.stringify(text)}`);
  return match?.[1] === "-" ? -total : total;
}

/** Nanoseconds as Go's `Duration.String` has them: `1m30s`, `1.5ms`, `0s`. */
export function formatDuration(nanoseconds: number): string {
  if (nanoseconds === 0) return "0s";
  const sign = nanoseconds < 0 ? "-" : "";
  const amount = Math.abs(nanoseconds);
  if (amount < 1e3) return `${sign}${amount}ns`;
  if (amount < 1e6) return `${sign}${decimal(amount, 1e3)}µs`;
  if (amount < 1e9) return `${sign}${decimal(amount, 1e6)}ms`;
  const minutes = Math.floor(amount / 60e9);
  const seconds = `${decimal(amount % 60e9, 1e9)}s`;
  if (minutes === 0) return sign + seconds;
  const hours = Math.floor(minutes / 60);
  return hours === 0 ? `${sign}${minutes}m${seconds}` : `${sign}${hours}h${minutes % 60}m${seconds}`;
}

/** `amount / unit` with all its digits and no zeros at the end; the unit is a power of ten. */
function decimal(amount: number, unit: number): string {
  const whole = Math.floor(amount / unit);
  const digits = Math.round(Math.log10(unit));
  const fraction = String(Math.round(amount % unit))
    .padStart(digits, "0")
    .replace(/0+$/, "");
  return fraction === "" ? String(whole) : `${whole}.${fraction}`;
}
