import { constants } from "node:os";
import { GantryError } from "../base/errors.ts";

/** The real-time signals that programs may use: glibc keeps the kernel's first two for itself. */
const RT_MIN = 34;
const RT_MAX = 64;
const NAMES = new Map<string, number>([...Object.entries(constants.signals), ["SIGCLD", 17], ["SIGIOT", 6]]);

/**
 * A signal's number from what users write: `9`, `KILL`, `SIGKILL` in any case, `RTMIN+3`, `SIGRTMAX-1`. Refuses
 * anything else, and numbers that no signal has, with `invalid` and Docker's words.
 */
export function parseSignal(text: string): number {
  const number = /^\d{1,3}$/.test(text) ? Number(text) : named(text.toUpperCase());
  if (number === undefined || number < 1 || number > RT_MAX) {
    throw new GantryError("invalid", `invalid signal: ${text}`);
  }
  return number;
}

function named(text: string): number | undefined {
  const name = text.startsWith("SIG") ? text : `SIG${text}`;
  const realtime = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realtime === null) return NAMES.get(name);
  const [, base, sign, offset = "0"] = realtime;
  if (sign !== undefined && (sign === "+") !== (base === "MIN")) return undefined;
  const value = base === "MIN" ? RT_MIN + Number(offset) : RT_MAX - Number(offset);
  return value < RT_MIN || value > RT_MAX ? undefined : value;
}
