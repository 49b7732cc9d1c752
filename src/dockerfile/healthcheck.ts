import { parseDuration } from "../base/duration.ts";
import { readFlags } from "./flags.ts";
import { quote } from "./go-text.ts";
import type { Healthcheck } from "./instruction.ts";
import type { Node } from "./node.ts";
import { invalid } from "./source.ts";

/** Nanoseconds; a shorter one is a mistake. */
const SHORTEST = 1_000_000;
const FLAGS = {
  interval: "text",
  timeout: "text",
  "start-period": "text",
  "start-interval": "text",
  retries: "text",
} as const;

/** HEALTHCHECK's flags and command. */
export function readHealthcheck(node: Node): Healthcheck {
  const [type, ...words] = node.args;
  if (type === undefined) throw invalid("HEALTHCHECK requires at least one argument");
  if (type.toUpperCase() === "NONE") {
    if (words.length > 0) throw invalid("HEALTHCHECK NONE takes no arguments");
    return { Test: ["NONE"] };
  }
  const flags = readFlags(node.flags, FLAGS);
  if (type.toUpperCase() !== "CMD") {
    throw invalid(`Unknown type ${quote(type.toUpperCase())} in HEALTHCHECK (try CMD)`);
  }
  if (words.length === 0) throw invalid("Missing command after HEALTHCHECK CMD");
  return {
    Test: node.json ? ["CMD", ...words] : ["CMD-SHELL", words.join(" ")],
    ...interval("Interval", "interval", flags.interval),
    ...interval("Timeout", "timeout", flags.timeout),
    ...interval("StartPeriod", "start-period", flags["start-period"]),
    ...interval("StartInterval", "start-interval", flags["start-interval"]),
    ...retries(flags.retries),
  };
}

function interval(field: keyof Healthcheck, flag: string, value: string | undefined): Healthcheck {
  if (value === undefined || value === "") return {};
  const nanoseconds = parseDuration(value);
  if (nanoseconds === 0) return {};
  if (nanoseconds < SHORTEST) throw invalid(`Interval ${quote(flag)} cannot be less than 1ms`);
  return { [field]: nanoseconds };
}

function retries(value: string | undefined): Healthcheck {
  if (value === undefined || value === "") return {};
  if (!/^[+-]?[0-9]+$/.test(value)) throw invalid(`strconv.ParseInt: parsing ${quote(value)}: invalid syntax`);
  const count = Number(value);
  if (Math.abs(count) >= 2 ** 31) throw invalid(`strconv.ParseInt: parsing ${quote(value)}: value out of range`);
  if (count < 0) throw invalid(`--retries cannot be negative (${count})`);
  return count === 0 ? {} : { Retries: count };
}
