import assert from "node:assert/strict";
import { test } from "node:test";
import type { BuildHistoryRow } from "../../../api/build-history.ts";
import { historyFilter } from "./filter.ts";

const NOW = Date.parse("2026-01-01T12:00:00Z");

const row = (more: Partial<BuildHistoryRow>): BuildHistoryRow => ({
  Id: "abc",
  Name: "shop",
  CreatedAt: "2026-01-01T11:00:00Z",
  CompletedAt: "2026-01-01T11:02:00Z",
  Error: "",
  Target: "",
  Platforms: [],
  Steps: 0,
  CachedSteps: 0,
  Warnings: 0,
  Attributes: { "vcs:source": "https://example.com/x.git" },
  Metadata: {},
  ...more,
});

for (const [text, more, expected] of [
  ["status=completed", {}, true],
  ["status=error", {}, false],
  ["status=error", { Error: "failed" }, true],
  ["status!=error", { Error: "failed" }, false],
  ["status=canceled", { Error: "context canceled" }, true],
  ["status=running", { CompletedAt: null }, true],
  ["ref~=b", {}, true],
  ["name=shop", {}, true],
  ["repository=https://example.com/x.git", {}, true],
  ["duration>1m", {}, true],
  ["duration<=1m", {}, false],
  ["startedAt<30m", {}, true],
  ["startedAt>30m", {}, false],
  ["completedAt>2h", {}, true],
  ["completedAt>2h", { CompletedAt: null }, false],
] as const) {
  test(`${text} ${expected ? "means" : "does not mean"} ${JSON.stringify(more)}`, () => {
    assert.equal(historyFilter([text], NOW)(row(more)), expected);
  });
}

for (const [text, message] of [
  ["nothing", 'invalid filter "nothing"'],
  ["x=y", 'unsupported filter "x=y"'],
  ["duration=1m", 'invalid separator for "duration=1m", expected <=, <, >= or >'],
  ["status>x", 'invalid separator for "status>x", expected =, != or ~='],
] as const) {
  test(`${text} is refused`, () => {
    assert.throws(() => historyFilter([text], NOW), { message });
  });
}
