import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gcPolicy, readGcConfig } from "../gc-config.ts";
import { bytesToKeep, staleness } from "./policy.ts";

const limits = (reservedSpace: number, maxUsedSpace: number, minFreeSpace: number) => ({
  ...{ reservedSpace, maxUsedSpace, minFreeSpace },
});

describe("what is kept of the cache", () => {
  for (const [given, used, free, expected] of [
    [limits(0, 0, 0), 100, 5, undefined],
    [limits(40, 0, 0), 100, 5, 40],
    [limits(0, 60, 0), 100, 5, 60],
    [limits(0, 0, 30), 100, 50, 100],
    [limits(0, 0, 30), 100, 10, 80],
    [limits(0, 60, 30), 100, 10, 60],
    [limits(0, 90, 30), 100, 10, 80],
    [limits(85, 90, 30), 100, 10, 85],
    [limits(0, 0, 300), 100, 10, 0],
  ] as const) {
    it(`${JSON.stringify(given)} of ${used} with ${free} free leaves ${expected ?? "nothing"}`, () => {
      assert.equal(bytesToKeep(given, used, free), expected ?? undefined);
    });
  }

  it("takes first what was used long ago, and of that what was seldom used", () => {
    const row = (lastUsedAt: number, usageCount: number) => staleness({ lastUsedAt, usageCount }, 100 * 3_600_000);
    assert.ok(row(0, 1) > row(50 * 3_600_000, 1));
    assert.ok(row(0, 1) > row(0, 100));
  });

  it("is read as dockerd's builder.gc has it", () => {
    const read = readGcConfig({
      enabled: true,
      defaultKeepStorage: "10GB",
      policy: [
        { filter: ["unused-for=48h", "type==source.local"], keepStorage: "512MB" },
        { all: true, keepDuration: "1h30m", maxUsedSpace: 1000, minFreeSpace: "1g", reservedSpace: 10 },
      ],
    });
    assert.equal(read.reservedSpace, 10 * 1024 ** 3);
    assert.deepEqual(read.rules, [
      { filters: ["type==source.local"], all: false, keepForMs: 48 * 3_600_000, space: limits(512 << 20, 0, 0) },
      { filters: [], all: true, keepForMs: 90 * 60_000, space: limits(10, 1000, 1024 ** 3) },
    ]);
    assert.deepEqual(gcPolicy(readGcConfig(false), 1000).enabled, false);
    assert.deepEqual(gcPolicy(readGcConfig(true), 1000).rules.at(-1), {
      ...{ filters: [], all: true, keepForMs: 0 },
      space: limits(100, 600, 200),
    });
  });

  it("refuses what it doesn't know, by name", () => {
    for (const [given, why] of [
      [{ polcy: [] }, /there is no polcy in gc/],
      [{ enabled: "yes" }, /gc.enabled is neither true nor false/],
      [{ policy: [{ keepStorage: "much" }] }, /much/],
      [{ policy: [{ filter: ["size==1"] }] }, /invalid filter 'size==1'/],
      [{ policy: {} }, /no list/],
      ["yes", /no object/],
      [null, /no object/],
    ] as const) {
      assert.throws(() => readGcConfig(given), why);
    }
  });
});
