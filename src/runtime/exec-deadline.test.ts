import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { RuntimeFixture } from "./runtime.fixture.ts";

test("an exec that runs longer than it may is killed with all it started, by the next supervisor too", async () => {
  await using fixture = await RuntimeFixture.make();
  const request = fixture.request(["sleep", "1000"]);
  await fixture.client.create(request);
  await fixture.client.start(request.id);
  const brood = ["sh", "-c", "(sleep 7700 & sleep 7701) & sh -c 'sleep 7702' & sleep 7703"];
  /** Those of its processes that live; they may take a moment after their first one's exit to go. */
  const left = async () => {
    for (const deadline = Date.now() + 5000; ; await after(10)) {
      const lines = execFileSync("ps", ["-eo", "args"], { encoding: "utf8" }).split("\n");
      const sleeping = lines.filter((line) => /^sleep 770[0-3]\s*$/.test(line));
      if (sleeping.length === 0 || Date.now() > deadline) return sleeping;
    }
  };
  const timed = fixture.execRequest(request.id, brood, { timeoutMs: 300 });
  await fixture.client.exec(timed);
  const exit = await fixture.exitOf(timed.execId);
  assert.deepEqual([exit.code, exit.timedOut], [137, true]);
  assert.deepEqual(await left(), []);

  const asked = fixture.execRequest(request.id, brood);
  await fixture.client.exec(asked);
  await fixture.client.killExecTree(request.id, asked.execId);
  assert.deepEqual(await left(), []);
  const ended = await fixture.exitOf(asked.execId);
  assert.deepEqual([ended.code, ended.timedOut], [137, undefined]);

  const kept = fixture.execRequest(request.id, brood, { timeoutMs: 1500 });
  await fixture.client.exec(kept);
  process.kill(fixture.supervisorPid, "SIGKILL");
  assert.equal((await fixture.exitOf(kept.execId)).timedOut, true);
  assert.deepEqual(await left(), []);
  await fixture.client.delete(request.id);
});
