import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { BuildRecord } from "../builder.ts";
import { historyFilter } from "./history-filter.ts";

const NOW = Date.parse("2026-03-01T12:00:00Z");

function record(change: Partial<BuildRecord>): BuildRecord {
  return {
    ...{ id: "one", name: "n", target: "", platforms: [], steps: 1, cachedSteps: 0, warnings: 0 },
    ...{ createdAt: NOW - 3600_000, completedAt: NOW - 3590_000, attributes: {}, metadata: {} },
    ...change,
  };
}

const { completedAt: _, ...running } = record({ id: "running" });
const RECORDS: readonly BuildRecord[] = [
  record({ id: "good", options: { "vcs:source": "https://host/a.git" } }),
  record({ id: "bad", error: "no such stage", options: { context: "https://host/b.git#main" } }),
  record({ id: "given-up", error: "context canceled", createdAt: NOW - 86_400_000 * 3 }),
  running,
];

describe("filters of the history", () => {
  const KEPT: readonly (readonly [readonly string[], readonly string[]])[] = [
    [[], ["good", "bad", "given-up", "running"]],
    [["status==error"], ["bad"]],
    [
      ["status==completed", "status==canceled"],
      ["good", "given-up"],
    ],
    [["status!=running,ref!=good"], ["bad", "given-up"]],
    [["ref~=oo"], ["good"]],
    [["repository~=https://host/b.git"], ["bad"]],
    [["repository==https://host/a.git"], ["good"]],
    [["startedAt<24h"], ["given-up"]],
    [["startedAt>=2026-03-01T11:00:00Z"], ["good", "bad", "running"]],
    [["completedAt<=2026-03-01T11:00:09Z"], ["running"]],
    [["duration>20s"], ["given-up"]],
    [["duration>=10s,status==completed"], ["good"]],
    [['"status==error"'], ["bad"]],
  ];
  for (const [texts, ids] of KEPT) {
    test(`keep what they say: ${texts.join(" or ") || "none"}`, () => {
      assert.deepEqual(
        RECORDS.filter(historyFilter(texts, NOW)).map(({ id }) => id),
        ids,
      );
    });
  }

  for (const text of ["status", "x==y", "status>error", "duration==1s", "duration>soon", "startedAt>soon", '"a']) {
    test(`that are none are refused: ${text}`, () => {
      assert.throws(() => historyFilter([text], NOW), { kind: "invalid" });
    });
  }
});
