import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration, parseDuration } from "./duration.ts";

test("durations are read as Go reads them", () => {
  const table: readonly (readonly [string, number])[] = [
    ["0", 0],
    ["1ns", 1],
    ["1.5s", 1.5e9],
    [".5ms", 5e5],
    ["1h30m", 5400e9],
    ["-3ms", -3e6],
    ["+2us", 2000],
    ["2µs", 2000],
    ["2μs", 2000],
  ];
  for (const [text, nanoseconds] of table) assert.equal(parseDuration(text), nanoseconds, text);
});

test("what is no duration is refused in Go's words", () => {
  const table: readonly (readonly [string, string])[] = [
    ["", 'time: invalid duration ""'],
    ["-", 'time: invalid duration "-"'],
    ["s", 'time: invalid duration "s"'],
    ["1", 'time: missing unit in duration "1"'],
    ["1d", 'time: unknown unit "d" in duration "1d"'],
    ["1s 2s", 'time: unknown unit "s " in duration "1s 2s"'],
    ["3000000h", 'time: invalid duration "3000000h"'],
  ];
  for (const [text, message] of table) assert.throws(() => parseDuration(text), { kind: "invalid", message }, text);
});

test("durations are written as Go writes them", () => {
  const table: readonly (readonly [number, string])[] = [
    [0, "0s"],
    [1, "1ns"],
    [1500, "1.5µs"],
    [2_000_000, "2ms"],
    [1_500_000_000, "1.5s"],
    [90e9, "1m30s"],
    [3600e9, "1h0m0s"],
    [5_400_000_000_001, "1h30m0.000000001s"],
    [-3e6, "-3ms"],
  ];
  for (const [nanoseconds, text] of table) assert.equal(formatDuration(nanoseconds), text);
});
