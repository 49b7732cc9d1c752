import { closeSync } from "node:fs";
import { GantryError, hasCode } from "../../base/errors.ts";
import { pidfdOpen, signalPidfd, statProcess } from "../../kernel/process.ts";

/** Signals a process only if it is still the one that had this start time. */
export function signalProcess(pid: number, startTime: number, signal: number, name: string): void {
  let fd: number;
  try {
    fd = pidfdOpen(pid);
  } catch {
    throw notRunning(name);
  }
  try {
    if (statProcess(pid)?.startTime !== startTime) throw notRunning(name);
    signalPidfd(fd, signal);
  } catch (error) {
    if (hasCode(error, "ESRCH")) throw notRunning(name);
    if (hasCode(error, "EINVAL")) throw new GantryError("invalid", `invalid signal: ${signal}`);
    throw error;
  } finally {
    closeSync(fd);
  }
}

export function notRunning(id: string): GantryError {
  return new GantryError("conflict", `container ${id} is not running`);
}
