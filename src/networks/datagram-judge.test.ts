import assert from "node:assert/strict";
import { test } from "node:test";
import { Logger } from "../base/log.ts";
import { DatagramJudge } from "./datagram-judge.ts";

test("flows of before a change are judged anew, those that are asked just then have time to answer", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let open = ["a", "b"];
  const judged: string[] = [];
  const log: string[] = [];
  const judge = new DatagramJudge(
    { unanswered: () => new Set(open), judgeAnew: (flows) => judged.push([...flows].join(" ")) },
    new Logger("info", (line) => log.push(line)),
  );
  /** Timers that are set meanwhile count, too. */
  const tick = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 50) t.mock.timers.tick(50);
  };
  judge.rulesChanged();
  judge.rulesChanged();
  tick(1_000);
  assert.deepEqual(judged, []);
  // These come under the new rules, which have changed again by then.
  open = ["b", "c"];
  judge.rulesChanged();
  tick(1_200);
  assert.deepEqual(judged, ["a b"]);
  tick(2_200);
  assert.deepEqual(judged, ["a b", "b c"]);
  open = [];
  judge.rulesChanged();
  tick(10_000);
  assert.equal(judged.length, 2);
  judge.rulesChanged();
  judge.close();
  open = ["d"];
  tick(10_000);
  assert.equal(judged.length, 2);
  assert.deepEqual(log, []);
});

test("what fails is told, and tried again with the next change", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const log: string[] = [];
  let tries = 0;
  const unanswered = () => {
    tries++;
    throw new Error("no memory");
  };
  const judge = new DatagramJudge({ unanswered, judgeAnew: () => {} }, new Logger("info", (line) => log.push(line)));
  for (let change = 1; change <= 2; change++) {
    judge.rulesChanged();
    t.mock.timers.tick(1_000);
    assert.equal(tries, change);
  }
  assert.match(log[0]!, /datagrams that nobody answers.*no memory/);
});
