import type { HealthConfig } from "../../api/container.ts";
import type { ParsedFlags } from "../flags/parse.ts";

/** The health check that the `--health-*` flags describe; undefined leaves the image's. */
export function parseHealth(flags: ParsedFlags): HealthConfig | undefined {
  const command = flags.text("health-cmd");
  const numbers = {
    Interval: flags.int("health-interval"),
    Timeout: flags.int("health-timeout"),
    StartPeriod: flags.int("health-start-period"),
    StartInterval: flags.int("health-start-interval"),
    Retries: flags.int("health-retries"),
  };
  const has = command !== "" || Object.values(numbers).some((value) => value !== 0);
  if (flags.bool("no-healthcheck")) {
    if (has) throw new Error("--no-healthcheck conflicts with --health-* options");
    return { Test: ["NONE"] };
  }
  if (!has) return undefined;
  const names = [
    ["Interval", "interval"],
    ["Timeout", "timeout"],
    ["Retries", "retries"],
    ["StartPeriod", "start-period"],
    ["StartInterval", "start-interval"],
  ] as const;
  for (const [key, name] of names) if (numbers[key] < 0) throw new Error(`--health-${name} cannot be negative`);
  const set = Object.fromEntries(Object.entries(numbers).filter(([, value]) => value !== 0));
  return { ...(command === "" ? {} : { Test: ["CMD-SHELL", command] }), ...set };
}

/** Where the engine looks for what to do about a container that turns unhealthy. */
const ON_FAILURE_LABEL = "gantry.health.on-failure";
const ON_FAILURE: readonly string[] = ["none", "kill", "restart", "stop"];

export function checkOnFailure(text: string): string {
  if (ON_FAILURE.includes(text)) return text;
  throw new Error(`use one of ${ON_FAILURE.join(", ")}`);
}

/** The label that `--health-on-failure` stands for. */
export function onFailureLabel(flags: ParsedFlags): Record<string, string> {
  return flags.changed("health-on-failure") ? { [ON_FAILURE_LABEL]: flags.text("health-on-failure") } : {};
}
