import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Allowance, type AllowanceOptions } from "./allowance.ts";

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

/**
 * An event loop of a thousandth of a second a turn: others take what `othersMs` says of it, then one who always wants more
 * has what it may, half a millisecond at most. How many milliseconds it had.
 */
class Loop {
  #nowMs = 0;
  #idleMs = 0;
  readonly clock = { now: () => this.#nowMs, activeMs: () => this.#nowMs - this.#idleMs };

  run(ms: number, othersMs: () => number, ...greedy: readonly Allowance[]): number[] {
    const had = greedy.map(() => 0);
    for (const end = this.#nowMs + ms; this.#nowMs < end; ) {
      this.#nowMs += othersMs();
      let hasSpent = false;
      for (const [index, each] of greedy.entries()) {
        if (each.waitMs() > 0) continue;
        each.spend(() => {
          this.#nowMs += 0.5;
        });
        had[index]! += 0.5;
        hasSpent = true;
      }
      if (hasSpent) continue;
      this.#nowMs += 1;
      this.#idleMs += 1;
    }
    return had.map((each) => each / ms);
  }
}

describe("what may be spent while nobody else wants the event loop", () => {
  const nobody = () => 0;
  const other = (options: Partial<AllowanceOptions> & Pick<AllowanceOptions, "clock">) =>
    new Allowance({ share: 0.2, atLeisure: 0.7, mostMs: 8, ...options });

  function between(share: number | undefined, least: number, most: number): void {
    assert.ok(share !== undefined && share >= least && share <= most, `${share} is not ${least} to ${most}`);
  }

  test("is more, from a moment later on, and no more as soon as somebody does", () => {
    const loop = new Loop();
    const one = other(loop);
    between(loop.run(100, nobody, one)[0], 0.2, 0.35);
    loop.run(500, nobody, one);
    between(loop.run(1000, nobody, one)[0], 0.65, 0.72);
    // The loop's turn takes others a millisecond: they'd have two thirds of it beside one who is not bound.
    const busy = () => 1;
    loop.run(100, busy, one);
    between(loop.run(1000, busy, one)[0], 0.15, 0.22);
    loop.run(500, nobody, one);
    between(loop.run(1000, nobody, one)[0], 0.65, 0.72);
  });

  test("is what is always allowed after a pause, in which others may have begun", () => {
    const loop = new Loop();
    const one = other(loop);
    loop.run(1000, nobody, one);
    loop.run(5000, () => 1);
    between(loop.run(45, () => 1, one)[0], 0.2, 0.4);
  });

  test("is shared: who wants all leaves some for another, and two are others for each other", () => {
    const loop = new Loop();
    const whole = new Allowance({ share: 0.4, atLeisure: 0.9, mostMs: 20, clock: loop.clock });
    const [one, two, three] = [1, 2, 3].map(() => other({ clock: loop.clock, whole }));
    loop.run(1000, nobody, one!);
    between(loop.run(1000, nobody, one!)[0], 0.65, 0.72);
    assert.equal(two!.waitMs(), 0);
    loop.run(1000, nobody, one!, two!);
    const [first = 0, second = 0] = loop.run(1000, nobody, one!, two!);
    between(first, 0.19, 0.7);
    between(second, 0.19, 0.7);
    between(first + second, 0.38, 0.92);
    assert.equal(three!.waitMs(), 0);
  });
});
