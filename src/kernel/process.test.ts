import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { clampRlimit, exitCodeOfPidfd, pidfdOpen, signalPidfd, spawnProcess, statProcess, tryWait } from "./process.ts";
import { Readiness } from "./readiness.ts";

function ended(pidfd: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const readiness = new Readiness(pidfd, () => {
    readiness.close();
    resolve();
  });
  readiness.watch(true);
  return promise;
}

test("a process gets exactly its descriptors, folder and environment, and its code is told", async () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-spawn-"));
  const nothing = openSync("/dev/null", "r");
  const out = openSync(join(folder, "out"), "w");
  try {
    const script = "pwd; echo $A; echo err >&2; exit 44";
    const args = ["sh", "-c", script];
    const pid = spawnProcess({ file: "/bin/sh", args, env: { A: "b c" }, cwd: folder, stdio: [nothing, out, out] });
    const pidfd = pidfdOpen(pid);
    await ended(pidfd);
    assert.equal(statProcess(pid)?.state, "Z");
    assert.deepEqual(tryWait(pid), { pid, code: 44 });
    assert.equal(tryWait(pid), undefined);
    assert.equal(statProcess(pid), undefined);
    // Kernels before 6.15 can't tell.
    assert.ok([44, undefined].includes(exitCodeOfPidfd(pidfd)));
    closeSync(pidfd);
    assert.equal(readFileSync(join(folder, "out"), "utf8"), `${folder}\nb c\nerr\n`);
  } finally {
    closeSync(nothing);
    closeSync(out);
    rmSync(folder, { recursive: true });
  }
});

test("a signal through a pidfd ends a process with 128 + n", async () => {
  const nothing = openSync("/dev/null", "r+");
  const pid = spawnProcess({ file: "/bin/sleep", args: ["sleep", "100"], env: {}, stdio: [nothing, nothing, nothing] });
  closeSync(nothing);
  const pidfd = pidfdOpen(pid);
  signalPidfd(pidfd, 15);
  await ended(pidfd);
  assert.deepEqual(tryWait(pid), { pid, code: 143 });
  assert.throws(() => signalPidfd(pidfd, 15), { code: "ESRCH" });
  closeSync(pidfd);
});

test("what can't be executed is refused with the reason", () => {
  assert.throws(() => spawnProcess({ file: "/no/such", args: ["x"], env: {}, stdio: [] }), { code: "ENOENT" });
});

test("a limit is no larger than it may be", () => {
  const { soft, hard, clamped } = clampRlimit("RLIMIT_NOFILE", 100, 10);
  assert.deepEqual({ soft, hard, clamped }, { soft: 10, hard: 10, clamped: true });
  assert.throws(() => clampRlimit("RLIMIT_NONSENSE", 1, 1), { code: "EINVAL" });
});
