import assert from "node:assert/strict";
import { it } from "node:test";
import { FreshFlight } from "./fresh-flight.ts";

it("serves whoever asks during a run by one run that begins afterwards", async () => {
  const runs: PromiseWithResolvers<void>[] = [];
  const flight = new FreshFlight(() => {
    const run = Promise.withResolvers<void>();
    runs.push(run);
    return run.promise;
  });
  const first = flight.run();
  const second = flight.run();
  const third = flight.run();
  assert.equal(runs.length, 1);
  runs[0]?.resolve();
  await first;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(runs.length, 2);
  runs[1]?.resolve();
  await Promise.all([second, third]);
  const fourth = flight.run();
  assert.equal(runs.length, 3);
  runs[2]?.resolve();
  await fourth;
});

it("tells a failure to those who asked for that run alone", async () => {
  let runs = 0;
  const flight = new FreshFlight(async () => {
    await new Promise((resolve) => setImmediate(resolve));
    if (++runs === 1) throw new Error("the first");
  });
  const first = flight.run();
  const second = flight.run();
  await assert.rejects(first, /the first/);
  await second;
});
