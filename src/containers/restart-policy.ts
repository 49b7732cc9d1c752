import type { ContainerRecord } from "./record.ts";

const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 60_000;
/** A process that ran this long was not failing: the next wait is short again. */
const STEADY_MS = 10_000;

/** Does the policy bring a container back that has just ended? */
export function shouldRestart(record: ContainerRecord, exitCode: number, manuallyStopped: boolean): boolean {
  const { Name, MaximumRetryCount } = record.hostConfig.RestartPolicy;
  if (record.restartWanted === true) return true;
  switch (Name) {
    case "always":
    case "unless-stopped":
      return !manuallyStopped;
    case "on-failure":
      return !manuallyStopped && exitCode !== 0 && (MaximumRetryCount === 0 || record.restartCount < MaximumRetryCount);
    default:
      return false;
  }
}

/** Does the policy want it up when the engine boots, its process being gone? */
export function shouldRevive(record: ContainerRecord): boolean {
  const { Name, MaximumRetryCount } = record.hostConfig.RestartPolicy;
  if (record.state.status === "created") return false;
  if (Name === "always" || record.restartWanted === true) return true;
  if (record.stoppedByUser || record.state.status !== "exited") return false;
  if (Name === "unless-stopped") return true;
  const mayRetry = MaximumRetryCount === 0 || record.restartCount < MaximumRetryCount;
  return Name === "on-failure" && record.state.exitCode !== 0 && mayRetry;
}

/** Milliseconds until the next start: 100, doubling, a minute at most. */
export function nextBackoff(lastMs: number, ranMs: number): number {
  if (lastMs === 0 || ranMs >= STEADY_MS) return FIRST_BACKOFF_MS;
  return Math.min(lastMs * 2, LONGEST_BACKOFF_MS);
}
