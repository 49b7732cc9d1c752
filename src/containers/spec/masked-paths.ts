import { readdirSync } from "node:fs";
import type { HostConfig } from "../../api/container.ts";
import { hasCode } from "../../base/errors.ts";
import type { SecurityOptions } from "./security-options.ts";

const MASKED: readonly string[] = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
];
const READONLY: readonly string[] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const CPU_FOLDER = "/sys/devices/system/cpu";

let throttles: readonly string[] | undefined;

type Paths = Pick<HostConfig, "MaskedPaths" | "ReadonlyPaths">;

/** The lists as `inspect` shows them: the default ones where the user left them out; none for a privileged container. */
export function defaultPaths(wanted: Paths & Pick<HostConfig, "Privileged">): Paths {
  if (wanted.Privileged) return { MaskedPaths: wanted.MaskedPaths, ReadonlyPaths: wanted.ReadonlyPaths };
  return {
    MaskedPaths: wanted.MaskedPaths ?? [...MASKED, ...thermalThrottles()],
    ReadonlyPaths: wanted.ReadonlyPaths ?? [...READONLY],
  };
}

/** What of /proc and /sys the container doesn't see, and what it may only read. */
export function buildMaskedPaths(
  hostConfig: HostConfig,
  security: SecurityOptions,
): { maskedPaths: string[]; readonlyPaths: string[] } {
  // What the user lists holds even for a privileged container.
  const paths = security.systemPathsUnconfined ? hostConfig : defaultPaths(hostConfig);
  return { maskedPaths: [...(paths.MaskedPaths ?? [])], readonlyPaths: [...(paths.ReadonlyPaths ?? [])] };
}

/** The temperatures' counters tell neighbours apart: a side channel. */
function thermalThrottles(): readonly string[] {
  throttles ??= listIfThere(CPU_FOLDER)
    .filter((name) => /^cpu\d+$/.test(name))
    .filter((name) => listIfThere(`${CPU_FOLDER}/${name}`).includes("thermal_throttle"))
    .map((name) => `${CPU_FOLDER}/${name}/thermal_throttle`);
  return throttles;
}

function listIfThere(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return [];
    throw error;
  }
}
