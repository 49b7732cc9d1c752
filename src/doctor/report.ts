import type { DoctorReport } from "../api/doctor.ts";
import { runChecks } from "./check.ts";
import { chooseChecks } from "./checks.ts";
import { hostMachine } from "./host-machine.ts";
import type { Installation } from "./machine.ts";

/** Runs the checks of these ids or areas, or all, on this machine. Throws `invalid` for one that there isn't. */
export async function examine(installation: Installation, names: readonly string[]): Promise<DoctorReport> {
  const findings = await runChecks(chooseChecks(names), hostMachine(), installation);
  return {
    Version: installation.version,
    Healthy: findings.every(({ Status }) => Status !== "failure"),
    Checks: findings,
  };
}
