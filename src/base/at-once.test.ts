import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { atOnce } from "./at-once.ts";

test("so many are acted on at a time, in their order", async () => {
  const begun: number[] = [];
  let [running, most] = [0, 0];
  await atOnce(3, [1, 2, 3, 4, 5, 6, 7], async (one) => {
    begun.push(one);
    most = Math.max(most, ++running);
    await turn();
    running--;
  });
  assert.deepEqual(begun, [1, 2, 3, 4, 5, 6, 7]);
  assert.equal(most, 3);
});

test("after a failure nothing is begun, and it is thrown when what was begun has ended", async () => {
  const begun: number[] = [];
  const ended: number[] = [];
  const acting = atOnce(2, [1, 2, 3, 4], async (one) => {
    begun.push(one);
    if (one === 1) throw new Error("the first");
    await turn();
    ended.push(one);
  });
  await assert.rejects(acting, /the first/);
  assert.deepEqual([begun, ended], [[1, 2], [2]]);
});

test("nothing to act on is done at once", async () => {
  await atOnce(4, [], () => assert.fail("there is none"));
});
