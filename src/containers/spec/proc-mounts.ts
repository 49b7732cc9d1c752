import { statfsSync } from "node:fs";
import { GantryError } from "../../base/errors.ts";
import { evaluateInRoot } from "../../kernel/path.ts";
import type { InputMount } from "./input.ts";

const PROC_SUPER_MAGIC = 0x9fa0;
/** Files that tell a container less of its host, as runc allows them. */
const HARMLESS: ReadonlySet<string> = new Set([
  "/proc/cpuinfo",
  "/proc/diskstats",
  "/proc/loadavg",
  "/proc/meminfo",
  "/proc/net/dev",
  "/proc/slabinfo",
  "/proc/stat",
  "/proc/swaps",
  "/proc/sys/crypto/fips_enabled",
  "/proc/sys/kernel/ns_last_pid",
  "/proc/uptime",
]);

/**
 * Refuses mounts over what the runtime writes to in /proc to lock the process in: a path of the image's own choice,
 * links of the image included, would have it write into a file instead. crun itself does not look.
 */
export function checkProcMounts(rootfs: string, mounts: readonly InputMount[]): void {
  for (const mount of mounts) {
    const place = evaluateInRoot(rootfs, mount.destination);
    if (place !== "/proc" && !place.startsWith("/proc/")) continue;
    if (HARMLESS.has(place) || (place === "/proc" && isProc(mount))) continue;
    const why = place === "/proc" ? "it is not of type proc" : "it is inside /proc";
    throw new GantryError(
      "invalid",
      `check proc-safety of ${mount.destination} mount: ${place} cannot be mounted because ${why}`,
    );
  }
}

function isProc({ type, source }: InputMount): boolean {
  return type === "bind" && statfsSync(source).type === PROC_SUPER_MAGIC;
}
