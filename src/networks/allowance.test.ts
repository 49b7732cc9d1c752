import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Allowance } from "./allowance.ts";

function spin(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

test("what is spent has to be waited for, and what is shared counts for all", async () => {
  const whole = new Allowance({ share: 0.5, mostMs: 20 });
  const one = new Allowance({ share: 0.25, mostMs: 5, whole });
  const other = new Allowance({ share: 0.25, mostMs: 5, whole });
  assert.equal(one.waitMs(), 0);
  assert.equal(
    one.spend(() => {
      spin(10);
      return "done";
    }),
    "done",
  );
  const wait = one.waitMs();
  assert.ok(wait >= 8, `5 ms beyond a quarter are 20 ms: ${wait}`);
  assert.equal(other.waitMs(), 0);
  assert.throws(() => other.spend(() => spin(30) ?? assert.fail("it counts what fails, too")));
  assert.ok(whole.waitMs() > 0);
  assert.ok(one.waitMs() > 0);
  await delay(Math.max(one.waitMs(), other.waitMs(), whole.waitMs()) + 5);
  assert.deepEqual([one.waitMs(), other.waitMs()], [0, 0]);
});
