import type { DoctorFinding, DoctorStatus } from "../api/doctor.ts";
import { messageOf } from "../base/errors.ts";
import type { Installation, Machine } from "./machine.ts";

export interface Finding {
  readonly status: DoctorStatus;
  /** One sentence: what is, or what is wrong. */
  readonly found: string;
  /** One sentence with the exact command where there is one; for a status of `ok` there is nothing to mend. */
  readonly mend?: string;
}

export interface Check {
  readonly id: string;
  readonly title: string;
  readonly run: (machine: Machine, installation: Installation) => Finding | Promise<Finding>;
}

export const ok = (found: string): Finding => ({ status: "ok", found });
export const note = (found: string, mend?: string): Finding => finding("note", found, mend);
export const warning = (found: string, mend?: string): Finding => finding("warning", found, mend);
export const failure = (found: string, mend?: string): Finding => finding("failure", found, mend);

function finding(status: DoctorStatus, found: string, mend: string | undefined): Finding {
  return { status, found, ...(mend !== undefined && { mend }) };
}

const PATIENCE_MS = 10_000;

/** Runs checks side by side and resolves with their findings in the checks' order. */
export function runChecks(
  checks: readonly Check[],
  machine: Machine,
  installation: Installation,
  patienceMs = PATIENCE_MS,
): Promise<DoctorFinding[]> {
  return Promise.all(
    checks.map(async (check) => {
      const { status, found, mend = "" } = await inTime(check, machine, installation, patienceMs);
      return { ID: check.id, Title: check.title, Status: status, Found: found, Mend: mend };
    }),
  );
}

async function inTime(check: Check, machine: Machine, installation: Installation, ms: number): Promise<Finding> {
  const { promise: late, resolve } = Promise.withResolvers<Finding>();
  const timer = setTimeout(() => resolve(warning(`it could not be told within ${ms / 1000} seconds`)), ms);
  // A turn of the event loop before each: what is measured in one must not wait for the others.
  const result = (async () => {
    await new Promise((next) => setImmediate(next));
    return check.run(machine, installation);
  })().catch((error: unknown) => warning(`it could not be told: ${messageOf(error)}`));
  try {
    return await Promise.race([result, late]);
  } finally {
    clearTimeout(timer);
  }
}
