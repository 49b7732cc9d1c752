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
