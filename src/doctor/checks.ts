import { GantryError } from "../base/errors.ts";
import type { Check } from "./check.ts";
import { cgroupChecks } from "./checks/cgroup.ts";
import { engineChecks } from "./checks/engine.ts";
import { hostChecks } from "./checks/host.ts";
import { kernelChecks } from "./checks/kernel.ts";
import { networkChecks } from "./checks/network.ts";
import { registryChecks } from "./checks/registries.ts";
import { signatureChecks } from "./checks/signatures.ts";
import { storageChecks } from "./checks/storage.ts";
import { versionChecks } from "./checks/versions.ts";

/** All checks in the order in which they are shown. */
export const CHECKS: readonly Check[] = [
  ...kernelChecks,
  ...cgroupChecks,
  ...storageChecks,
  ...networkChecks,
  ...hostChecks,
  ...versionChecks,
  ...engineChecks,
  ...registryChecks,
  ...signatureChecks,
];

/** The checks of these ids or areas (`network`); all for none. Throws `invalid` for one that there isn't. */
export function chooseChecks(names: readonly string[]): readonly Check[] {
  if (names.length === 0) return CHECKS;
  const isNamed = (check: Check, name: string) => check.id === name || check.id.startsWith(`${name}.`);
  for (const name of names) {
    if (CHECKS.some((check) => isNamed(check, name))) continue;
    const areas = [...new Set(CHECKS.map(({ id }) => id.split(".")[0]))].join(", ");
    throw new GantryError(
      "invalid",
      `there is no check ${JSON.stringify(name.slice(0, 100))}: name one by its id, or an area of ${areas}`,
    );
  }
  return CHECKS.filter((check) => names.some((name) => isNamed(check, name)));
}
