import assert from "node:assert/strict";
import { test } from "node:test";
import { jsonDepth } from "./json-depth.ts";

test("counts what nests, and nothing in a string", () => {
  const cases: [string, number][] = [
    ["1", 0],
    ["{}", 1],
    ['{"a":[{}],"b":[[[]]]}', 4],
    ['"[[[["', 0],
    ['["\\"[[[", []]', 2],
    ['["\\\\", [], "]"]', 2],
    ['["\\\\\\"[", 1]', 1],
    ['["open', 1],
    ["]]]][", 0],
  ];
  for (const [text, depth] of cases) assert.equal(jsonDepth(Buffer.from(text), 100), depth, text);
});

test("stops at the limit", () => {
  assert.equal(jsonDepth(Buffer.alloc(8 << 20, "["), 64), 64);
  assert.equal(jsonDepth(Buffer.alloc(8 << 20, '\\"'), 64), 0);
});
