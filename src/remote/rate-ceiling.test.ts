import assert from "node:assert/strict";
import { test } from "node:test";
import { RateCeiling } from "./rate-ceiling.ts";

test("bytes that several move at once wait for those before them", () => {
  let now = 5000;
  const ceiling = new RateCeiling(
    () => 1000,
    () => now,
  );
  const waits = (): number[] => [500, 500, 1000].map((bytes) => ceiling.delay(bytes));
  // The first tenth of a second is free.
  assert.deepEqual(waits(), [400, 900, 1900]);
  now += 1000;
  assert.deepEqual(waits(), [1400, 1900, 2900]);
  now += 60_000;
  assert.deepEqual(waits(), [400, 900, 1900]);
});

test("without a rate nothing waits, and a new rate counts from then on", () => {
  let rate = 0;
  const ceiling = new RateCeiling(
    () => rate,
    () => 5000,
  );
  assert.equal(ceiling.delay(1e12), 0);
  rate = 10;
  assert.equal(ceiling.delay(1000), 99_900);
  rate = 1_000_000;
  assert.equal(ceiling.delay(500_000), 400);
  rate = 0;
  assert.equal(ceiling.delay(1e12), 0);
});

test("a wait ends when its signal aborts", async () => {
  let rate = 1;
  const ceiling = new RateCeiling(() => rate);
  const ending = new AbortController();
  const passed = ceiling.pass(1_000_000, ending.signal);
  ending.abort();
  assert.equal(await passed, true);
  rate = 0;
  assert.equal(await ceiling.pass(1_000_000), false);
});
