import assert from "node:assert/strict";
import { test } from "node:test";
import { excessOf, type JsonBounds } from "./json-bounds.ts";

const WIDE: JsonBounds = { depth: 100, members: 100, values: 1000 };

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
    ["]]]][", 1],
  ];
  for (const [text, depth] of cases) {
    const bytes = Buffer.from(text);
    assert.equal(excessOf(bytes, { ...WIDE, depth }), undefined, text);
    if (depth > 0) assert.match(excessOf(bytes, { ...WIDE, depth: depth - 1 }) ?? "", /nested more than/, text);
  }
});

test("counts an object's members, each object's apart, and all values", () => {
  const bytes = Buffer.from('{"a:":{"b":1,"c":":,"},"d":[{"e":2},{"f":3},4,5]}');
  assert.equal(excessOf(bytes, { ...WIDE, members: 2 }), undefined);
  assert.equal(excessOf(bytes, { ...WIDE, members: 1 }), "an object in it has more than 1 members");
  assert.equal(excessOf(bytes, { ...WIDE, values: 11 }), undefined);
  assert.equal(excessOf(bytes, { ...WIDE, values: 10 }), "it has more than 10 values");
});

test("stops at the bound, and takes no time for what it passes over", () => {
  const began = performance.now();
  assert.match(excessOf(Buffer.alloc(8 << 20, "["), WIDE) ?? "", /nested more than 100 deep/);
  assert.match(excessOf(Buffer.alloc(8 << 20, "[],"), WIDE) ?? "", /more than 1000 values/);
  assert.match(excessOf(Buffer.alloc(8 << 20, '"":'), WIDE) ?? "", /more than 100 members/);
  assert.equal(excessOf(Buffer.alloc(8 << 20, '\\"'), WIDE), undefined);
  assert.ok(performance.now() - began < 1000);
});
