import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { UnpackThreads } from "./unpack-threads.ts";

/** Niceness of each of this process's threads, the main one's first (proc_pid_stat(5), field 19). */
function nicenesses(): number[] {
  return readdirSync("/proc/self/task").map((thread) => {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, "latin1");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]);
  });
}

test("gives way to the thread that answers everybody, and to nothing else", async () => {
  const before = nicenesses();
  const threads = new UnpackThreads(fileURLToPath(new URL("worker.ts", import.meta.url)));
  try {
    const order = { path: "/nowhere", digest: `sha256:${"0".repeat(64)}`, size: 1, diffId: `sha256:${"0".repeat(64)}` };
    const job = threads.begin(
      { ...order, target: undefined, maxRatio: 1, isVerified: false },
      () => {},
      () => {},
    );
    await assert.rejects(job.done, /ENOENT/);
    const [own = 0, ...others] = nicenesses();
    assert.equal(own, before[0]);
    assert.equal(others.filter((nice) => nice === Math.min(19, own + 5)).length, 1);
  } finally {
    await threads.close();
  }
});
