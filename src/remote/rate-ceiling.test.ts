import assert from "node:assert/strict";
import { test } from "node:test";
import { RateCeiling } from "./rate-ceiling.ts";

test("bytes that several move at once wait for those before them", () => {
  const ceiling = new RateCeiling(() => 1000);
  const waits = [500, 500, 1000].map((bytes) => ceiling.delay(bytes));
  // The first tenth of a second is free; the test itself takes some of what is left.
  for (const [index, expected] of [400, 900, 1900].entries()) {
    const wait = waits[index] ?? 0;
    assert.ok(wait <= expected && wait > expected - 300, `${wait} is not ${expected}`);
  }
});

test("without a rate nothing waits, and a new rate counts from then on", () => {
  let rate = 0;
  const ceiling = new RateCeiling(() => rate);
  assert.equal(ceiling.delay(1e12), 0);
  rate = 10;
  assert.ok(ceiling.delay(1000) > 90_000);
  rate = 1_000_000;
  assert.ok(ceiling.delay(500_000) < 500);
  rate = 0;
  assert.equal(ceiling.delay(1e12), 0);
});

test("a wait ends when its signal aborts", async () => {
  const ceiling = new RateCeiling(() => 1);
  const ending = new AbortController();
  const passed = ceiling.pass(1_000_000, ending.signal);
  ending.abort();
  await passed;
});
