import { setTimeout as delay } from "node:timers/promises";
import { hasCode, isKind } from "../../base/errors.ts";
import { type ProcessStat, statProcess } from "../../kernel/process.ts";
import { signalProcess } from "./process-signal.ts";

const SIGKILL = 9;
/** A process that was killed shows as gone a little later; one in a frozen cgroup only when that thaws. */
const WITHIN_MS = 5000;

/**
 * Kills a process, its descendants and whatever is in the session that it leads, also what was orphaned meanwhile, as
 * often as it takes until none is left. `candidates` are the pids among which they are. What has made itself a session
 * of its own and lost its parents is not found: nothing tells it from the container's other processes.
 */
export async function killProcessTree(
  root: { readonly pid: number; readonly startTime: number },
  candidates: () => readonly number[],
): Promise<void> {
  const deadline = Date.now() + WITHIN_MS;
  const known = new Map([[root.pid, root.startTime]]);
  // One that was killed while it forked may be gone, and its child not yet be listed: only two empty looks count.
  let empty = 0;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    const living = new Map<number, ProcessStat>();
    for (const pid of new Set([root.pid, ...candidates()])) {
      const stat = statProcess(pid);
      if (stat === undefined || stat.state === "Z" || stat.state === "X") continue;
      living.set(pid, stat);
    }
    const found = treeOf(living, root.pid, known);
    empty = found.length === 0 ? empty + 1 : 0;
    if (empty === 2 || Date.now() > deadline) return;
    for (const [pid, { startTime }] of found) {
      known.set(pid, startTime);
      kill(pid, startTime);
    }
    await delay(waitMs);
  }
}

/** Of the living, those that are known, or whose session is the root's; and so on with their children. */
function treeOf(
  living: ReadonlyMap<number, ProcessStat>,
  root: number,
  known: ReadonlyMap<number, number>,
): (readonly [number, ProcessStat])[] {
  const tree = new Set<number>();
  for (const [pid, startTime] of known) if (living.get(pid)?.startTime === startTime) tree.add(pid);
  for (let grew = true; grew; ) {
    grew = false;
    for (const [pid, { parent, session }] of living) {
      if (tree.has(pid) || (session !== root && !tree.has(parent))) continue;
      tree.add(pid);
      grew = true;
    }
  }
  return [...living].filter(([pid]) => tree.has(pid));
}

function kill(pid: number, startTime: number): void {
  try {
    signalProcess(pid, startTime, SIGKILL, String(pid));
  } catch (error) {
    if (!isKind(error, "conflict") && !hasCode(error, "ESRCH")) throw error;
  }
}
