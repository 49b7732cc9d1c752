import { readFileSync } from "node:fs";
import type { Platform } from "./image.ts";
import { hostPlatform } from "./platform.ts";

/** What each level of x86-64 has beyond the one before it (x86-64 psABI, 3.1.1), in the kernel's words. */
const LEVELS: readonly (readonly [variant: string, flags: readonly string[]])[] = [
  ["v2", ["cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"]],
  ["v3", ["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"]],
  ["v4", ["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"]],
];

let known: Platform | undefined;

/**
 * The platform that this machine runs best, with the level of its processor where it has one: what is chosen by who asks
 * for no platform, as newer Docker does. What is made here is for `hostPlatform`.
 */
export function machinePlatform(): Platform {
  known ??= platformWith(hostPlatform(), cpuFlags());
  return known;
}

/** A platform with the level that a processor with these flags has. */
export function platformWith(platform: Platform, flags: ReadonlySet<string>): Platform {
  if (platform.architecture !== "amd64") return platform;
  const missed = LEVELS.findIndex(([, needed]) => !needed.every((flag) => flags.has(flag)));
  const variant = LEVELS.at((missed < 0 ? LEVELS.length : missed) - 1)?.[0];
  return missed === 0 || variant === undefined ? platform : { ...platform, variant };
}

/** Of the first processor: the others have the same. */
function cpuFlags(): ReadonlySet<string> {
  try {
    const [, flags = ""] = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "latin1")) ?? [];
    return new Set(flags.trim().split(/\s+/));
  } catch {
    return new Set();
  }
}
