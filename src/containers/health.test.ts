import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { HealthConfig } from "../api/container.ts";
import {
  goDuration,
  type HealthRecord,
  type HealthResult,
  healthAfter,
  healthAtStart,
  healthPlan,
  healthUnwatched,
  onFailureOf,
  probeWaitMs,
} from "./health.ts";
import { aConfig } from "./request.fixture.ts";

const plan = (Healthcheck: HealthConfig, Shell?: string[]) =>
  healthPlan({ ...aConfig(), Healthcheck, ...(Shell !== undefined && { Shell }) });
const STARTED = "2026-01-01T00:00:00.000000000Z";
const probe = (ExitCode: number, second = 0): HealthResult => {
  const time = `2026-01-01T00:00:${String(second).padStart(2, "0")}.000000000Z`;
  return { Start: time, End: time, ExitCode, Output: "" };
};
const NEW: HealthRecord = { status: "starting", failingStreak: 0, log: [] };

describe("a health check", () => {
  it("is a command, or a line for the image's shell, or nothing", () => {
    assert.deepEqual(plan({ Test: ["CMD", "a", "b"] })?.command, ["a", "b"]);
    assert.deepEqual(plan({ Test: ["CMD-SHELL", "a b"] })?.command, ["/bin/sh", "-c", "a b"]);
    assert.deepEqual(plan({ Test: ["CMD-SHELL", "a b"] }, ["/bin/ash", "-ec"])?.command, ["/bin/ash", "-ec", "a b"]);
    for (const Test of [["NONE"], [], ["BOGUS", "a"], [""]]) assert.equal(plan({ Test }), undefined);
    assert.equal(healthPlan(aConfig()), undefined);
    assert.equal(healthAtStart(aConfig(), undefined), undefined);
  });

  it("has Docker's times and retries unless it has its own", () => {
    const { command: _, ...times } = plan({ Test: ["CMD", "a"] })!;
    const defaults = { intervalMs: 30_000, timeoutMs: 30_000, startPeriodMs: 0, startIntervalMs: 5_000, retries: 3 };
    assert.deepEqual(times, defaults);
    const own = plan({
      Test: ["CMD", "a"],
      Interval: 1e9,
      Timeout: 2e6,
      StartPeriod: 3e9,
      StartInterval: 4e6,
      Retries: 5,
    });
    assert.deepEqual(
      [own?.intervalMs, own?.timeoutMs, own?.startPeriodMs, own?.startIntervalMs, own?.retries],
      [1000, 2, 3000, 4, 5],
    );
  });

  it("makes a container unhealthy by so many failures in a row, and healthy by one success", () => {
    const rules = plan({ Test: ["CMD", "a"], Retries: 2 })!;
    const codes = [1, 0, 1, 1, 1, 0];
    const seen: string[] = [];
    let health = NEW;
    for (const code of codes) {
      health = healthAfter(health, probe(code), rules, STARTED);
      seen.push(`${health.status} ${health.failingStreak}`);
    }
    const wanted = ["starting 1", "healthy 0", "healthy 1", "unhealthy 2", "unhealthy 3", "healthy 0"];
    assert.deepEqual(seen, wanted);
    assert.deepEqual(
      health.log.map(({ ExitCode }) => ExitCode),
      codes.slice(-5),
    );
  });

  it("forgives failures within the start period until the first success", () => {
    const rules = plan({ Test: ["CMD", "a"], Retries: 1, StartPeriod: 10e9 })!;
    const early = healthAfter(NEW, probe(1, 9), rules, STARTED);
    assert.deepEqual([early.status, early.failingStreak, early.log.length], ["starting", 0, 1]);
    assert.equal(healthAfter(NEW, probe(1, 10), rules, STARTED).status, "unhealthy");
    const well = healthAfter(NEW, probe(0, 1), rules, STARTED);
    assert.equal(healthAfter(well, probe(1, 2), rules, STARTED).status, "unhealthy");
  });

  it("comes more often while the container starts", () => {
    const rules = plan({ Test: ["CMD", "a"], StartPeriod: 10e9, StartInterval: 1e9 })!;
    assert.equal(probeWaitMs(NEW, rules, 9_999), 1000);
    assert.equal(probeWaitMs(NEW, rules, 10_000), 30_000);
    assert.equal(probeWaitMs({ ...NEW, status: "healthy" }, rules, 1), 30_000);
  });

  it("begins anew with each start and counts as failed when nobody looks", () => {
    const config = { ...aConfig(), Healthcheck: { Test: ["CMD", "a"] } };
    const before: HealthRecord = { status: "healthy", failingStreak: 2, log: [probe(0)] };
    assert.deepEqual(healthAtStart(config, before), { status: "starting", failingStreak: 0, log: [probe(0)] });
    assert.equal(healthUnwatched(before)?.status, "unhealthy");
    assert.equal(healthUnwatched(undefined), undefined);
  });

  it("asks by a label for what is done about a failure", () => {
    assert.equal(onFailureOf(null), "none");
    assert.equal(onFailureOf({ "gantry.health.on-failure": "restart" }), "restart");
    assert.equal(onFailureOf({ "gantry.health.on-failure": "burn" }), undefined);
  });

  it("writes durations as Go does", () => {
    const table: [number, string][] = [
      [1, "1ms"],
      [250, "250ms"],
      [1500, "1.5s"],
      [30_000, "30s"],
      [90_000, "1m30s"],
      [3_600_000, "1h0m0s"],
      [0.5 + 1, "1.5ms"],
    ];
    for (const [ms, text] of table) assert.equal(goDuration(ms), text);
  });
});
