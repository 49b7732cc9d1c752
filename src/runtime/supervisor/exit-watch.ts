import { closeSync } from "node:fs";
import { exitCodeOf, exitCodeOfPidfd, pidfdOpen, statProcess } from "../../kernel/process.ts";
import { Readiness } from "../../kernel/readiness.ts";

const REAP_WAIT_MS = 1000;

/**
 * Watches a process that is no child of this one (its supervisor was killed, its new parent reaps it). `told` gets the
 * exit code if the kernel or the zombie still gives it. Returns false if the process is gone already.
 */
export function watchStranger(pid: number, startTime: number, told: (code: number | undefined) => void): boolean {
  let fd: number;
  try {
    fd = pidfdOpen(pid);
  } catch {
    return false;
  }
  // Only after the pidfd is open does the start time prove whose it is.
  if (statProcess(pid)?.startTime !== startTime) {
    closeSync(fd);
    return false;
  }
  const readiness = new Readiness(fd, () => {
    readiness.close();
    const stat = statProcess(pid);
    const zombie = stat !== undefined && stat.startTime === startTime && stat.state === "Z";
    if (zombie && Number.isFinite(stat.exitStatus)) finish(exitCodeOf(stat.exitStatus));
    else learn(Date.now() + REAP_WAIT_MS);
  });
  const finish = (code: number | undefined): void => {
    closeSync(fd);
    told(code);
  };
  // A pidfd is readable from the zombie on; the kernel tells the code once that has been reaped.
  const learn = (deadline: number): void => {
    const code = exitCodeOfPidfd(fd);
    if (code !== undefined || Date.now() >= deadline) finish(code);
    else setTimeout(learn, 2, deadline);
  };
  readiness.watch(true);
  return true;
}
