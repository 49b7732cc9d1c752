import { randomBytes } from "node:crypto";
import { detachedMount } from "../../kernel/detached-mount.ts";

/**
 * Each first write to a `cgroup.procs` waits for an RCU grace period (half of a container's creation) unless some
 * hierarchy is mounted with `favordynmods`. This makes such a hierarchy: a named one without controllers, mounted
 * nowhere. It lives as long as the returned descriptor, so it goes with the supervisor. Processes see one more line in
 * /proc/self/cgroup. undefined where the kernel has no such option (before 6.0) or no named hierarchies.
 */
export function favourCgroupMoves(): number | undefined {
  const name = `gantry-${randomBytes(4).toString("hex")}`;
  try {
    return detachedMount("cgroup", { none: true, name, favordynmods: true });
  } catch {
    return undefined;
  }
}
