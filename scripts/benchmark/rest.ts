import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

const LOOK_MS = 40;
const QUIET = 0.15;
const PATIENCE_MS = 2_000;

/**
 * Waits until the processors are mostly idle: an engine goes on cleaning after it has answered, and what one does then
 * must not be counted as the time of the other, whose turn is next. Gives up after two seconds.
 */
export async function machineAtRest(): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  let before = ticks();
  while (Date.now() < deadline) {
    await delay(LOOK_MS);
    const now = ticks();
    const total = now.total - before.total;
    if (total > 0 && (now.busy - before.busy) / total < QUIET) return;
    before = now;
  }
}

/** Clock ticks of all processors since boot (proc_stat(5)). */
function ticks(): { readonly busy: number; readonly total: number } {
  const row = readFileSync("/proc/stat", "latin1").split("\n", 1)[0] ?? "";
  const fields = row.split(/\s+/).slice(1).map(Number);
  const total = fields.reduce((sum, value) => sum + value, 0);
  return { total, busy: total - (fields[3] ?? 0) - (fields[4] ?? 0) };
}
