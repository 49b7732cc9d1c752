import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Logger } from "../base/log.ts";
import { EventBus } from "../events/bus.ts";
import { openMemory } from "../state/memory.ts";
import { newId } from "./create.ts";
import type { CapturedRun, CaptureOptions } from "./exec.ts";
import { HealthMonitor } from "./health-monitor.ts";
import { timestamp } from "./record.ts";
import { aConfig, aHostConfig } from "./request.fixture.ts";
import { ContainerTable, type Entry } from "./table.ts";

const WELL: CapturedRun = { code: 0, timedOut: false, output: "" };

/** A monitor over containers that run on paper; `capture` stands for their probes. */
function monitorOf(capture: (entry: Entry, options: CaptureOptions) => Promise<CapturedRun>) {
  const table = new ContainerTable(openMemory());
  const events = new EventBus();
  const monitor = new HealthMonitor({
    table,
    events,
    log: new Logger("fatal"),
    execs: { capture: (entry, _config, options) => capture(entry, options) },
    act: () => Promise.resolve(),
  });
  const add = (name: string, startedAt = timestamp()) =>
    table.insert({
      id: newId(),
      name,
      created: timestamp(),
      imageId: "sha256:0",
      image: "busybox",
      chainId: undefined,
      platform: "linux",
      config: { ...aConfig(), Healthcheck: { Test: ["CMD", "probe"], Interval: 50e6, Timeout: 20e6, Retries: 1 } },
      hostConfig: aHostConfig(),
      endpoints: {},
      mounts: [],
      state: { status: "running", pid: 1, startedAt, paused: false, networks: {}, ports: {}, sandboxKey: "" },
      restartCount: 0,
      stoppedByUser: false,
      runtime: "",
      pending: false,
      health: { status: "starting", failingStreak: 0, log: [] },
    });
  return { monitor, events, add };
}

test("two hundred containers are probed a few at a time, and one that hangs holds up no other", async () => {
  let starting = 0;
  let most = 0;
  const { monitor, add } = monitorOf(async (entry, options) => {
    most = Math.max(most, ++starting);
    await delay(1);
    starting--;
    options.onStarted?.();
    if (entry.record.name.startsWith("hangs")) await new Promise(() => {});
    return WELL;
  });
  const hanging = Array.from({ length: 8 }, (_, index) => add(`hangs-${index}`));
  const others = Array.from({ length: 200 }, (_, index) => add(`well-${index}`));
  const all = [...hanging, ...others];
  for (const entry of all) monitor.watch(entry);
  const deadline = Date.now() + 10_000;
  while (others.some(({ record }) => record.health?.status !== "healthy")) {
    assert.ok(Date.now() < deadline, "some were never probed");
    await delay(5);
  }
  for (const { record } of all) monitor.unwatch(record.id);
  assert.equal(most, 4);
  assert.deepEqual(
    hanging.map(({ record }) => record.health?.status),
    hanging.map(() => "starting"),
  );
});

test("what is not looked at any more has its probe given up, and its result does not count", async () => {
  const begun = Promise.withResolvers<CaptureOptions>();
  const end = Promise.withResolvers<CapturedRun>();
  const { monitor, events, add } = monitorOf((_entry, options) => {
    options.onStarted?.();
    begun.resolve(options);
    return end.promise;
  });
  const entry = add("leaves");
  monitor.watch(entry);
  const { signal } = await begun.promise;
  monitor.unwatch(entry.record.id);
  assert.ok(signal.aborted);
  end.resolve(WELL);
  await delay(20);
  assert.equal(entry.record.health?.status, "starting");
  assert.deepEqual(events.past(0n), []);
  await assert.rejects(monitor.probe(entry), { kind: "conflict" });
});

test("a time that ran out and a command that can't be run are failures", async () => {
  const runs = [() => Promise.resolve({ ...WELL, code: 137, timedOut: true }), () => Promise.reject(new Error("no"))];
  const { monitor, events, add } = monitorOf(() => runs.shift()?.() ?? Promise.resolve(WELL));
  const entry = add("fails");
  monitor.watch(entry);
  assert.equal((await monitor.probe(entry)).Output, "Health check exceeded timeout (20ms)");
  assert.deepEqual([entry.record.health?.status, entry.record.health?.failingStreak], ["unhealthy", 1]);
  assert.equal((await monitor.probe(entry)).Output, "no");
  assert.equal(entry.record.health?.log.at(-1)?.ExitCode, -1);
  assert.equal((await monitor.probe(entry)).ExitCode, 0);
  monitor.unwatch(entry.record.id);
  assert.deepEqual(
    events.past(0n).map(({ Action }) => Action),
    ["health_status: unhealthy", "health_status: healthy"],
  );
});
