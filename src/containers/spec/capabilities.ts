import { GantryError } from "../../base/errors.ts";
import { CAPABILITIES } from "./host.ts";

const ALL = "ALL";
/** What Docker gives a container that doesn't say otherwise. */
const DEFAULTS: readonly string[] = (
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL " +
  "AUDIT_WRITE"
)
  .split(" ")
  .map((name) => `CAP_${name}`);

export interface CapabilityWishes {
  readonly add: readonly string[];
  readonly drop: readonly string[];
  readonly privileged: boolean;
}

/** The container's capabilities, `available` being the engine's own. Refuses unknown and unavailable names. */
export function resolveCapabilities(wishes: CapabilityWishes, available: readonly string[]): string[] {
  if (wishes.privileged) return [...available];
  const add = normalizeCapabilities(wishes.add, available);
  const drop = normalizeCapabilities(wishes.drop, available);
  if (add.includes(ALL)) return available.filter((name) => !drop.includes(name));
  if (drop.includes(ALL)) return [...new Set(add)];
  const kept = DEFAULTS.filter((name) => available.includes(name) && !drop.includes(name));
  return [...new Set([...kept, ...add])];
}

/** Upper case with CAP_; `ALL` stays. */
export function normalizeCapabilities(names: readonly string[], available: readonly string[]): string[] {
  return names.map((given) => {
    const upper = given.toUpperCase();
    if (upper === ALL) return ALL;
    const name = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
    if (!CAPABILITIES.includes(name)) {
      throw new GantryError("invalid", `unknown capability: ${JSON.stringify(name)}`);
    }
    if (!available.includes(name)) {
      throw new GantryError(
        "invalid",
        `capability not supported by your kernel or not available in the current environment: ${JSON.stringify(name)}`,
      );
    }
    return name;
  });
}
