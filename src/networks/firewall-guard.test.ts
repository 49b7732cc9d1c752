import assert from "node:assert/strict";
import { test } from "node:test";
import { Logger } from "../base/log.ts";
import type { NftChanger } from "../kernel/nft-watch.ts";
import { FirewallGuard } from "./firewall-guard.ts";

function guarded(restore: () => void) {
  const restored: string[] = [];
  const log: string[] = [];
  let disturb: (by: NftChanger | undefined) => void = () => {};
  const guard = new FirewallGuard({
    firewall: {
      watch: (onChange) => (disturb = onChange),
      detach: () => {},
      exists: () => false,
      restore,
      unanswered: () => new Set(),
      judgeAnew: () => {},
    },
    logger: new Logger("info", (line) => log.push(line)),
    onRestored: (by) => restored.push(by),
    onOther: () => {},
  });
  return { guard, restored, log, disturb: () => disturb({ pid: 7, name: "nft" }) };
}

test("tables that could not be put in place are tried again until they are, and told of once", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let tries = 0;
  const { restored, log, disturb, guard } = guarded(() => {
    if (++tries < 4) throw new Error("no memory");
  });
  disturb();
  t.mock.timers.tick(1);
  assert.deepEqual([tries, restored], [1, []]);
  for (const ms of [100, 200, 400]) t.mock.timers.tick(ms);
  assert.deepEqual([tries, restored], [4, ["nft (process 7)"]]);
  t.mock.timers.tick(120_000);
  assert.equal(tries, 4);
  assert.equal(log.filter((line) => line.includes("no memory")).length, 3);
  guard.close();
});

test("one that flushes again and again is answered after ever longer pauses", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let times = 0;
  const { restored, disturb, guard } = guarded(() => times++);
  for (let ms = 0; ms < 10 * 60_000; ms += 50) {
    disturb();
    t.mock.timers.tick(50);
  }
  // 0.1 s and twice as long each time, up to half a minute.
  assert.ok(times > 20 && times < 40, String(times));
  assert.equal(restored.length, 1);
  guard.close();
  t.mock.timers.tick(60_000);
  assert.ok(times < 40);
});
