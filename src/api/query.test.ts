import assert from "node:assert/strict";
import { test } from "node:test";
import { checkFilters } from "./filters.ts";
import { asDimension, readQuery } from "./query.ts";

test("booleans are Docker's: everything but five words is true", () => {
  for (const [text, expected] of [
    ["a=", false],
    ["a=0", false],
    ["a=No", false],
    ["a=%20false%20", false],
    ["a=none", false],
    ["", false],
    ["a=1", true],
    ["a=yes", true],
    ["a=2", true],
  ] as const) {
    assert.equal(readQuery({ a: "bool" }, text).a, expected, text);
  }
});

test("filters are read in both of their forms and refused in any other", () => {
  const filters = (value: string) => readQuery({ f: "filters" }, `f=${encodeURIComponent(value)}`).f;
  assert.deepEqual(filters('{"label":["a","b=c"]}'), { label: ["a", "b=c"] });
  assert.deepEqual(filters('{"label":{"a":true,"b":false}}'), { label: ["a", "b"] });
  assert.deepEqual(Object.keys(filters('{"__proto__":["x"]}')), ["__proto__"]);
  for (const bad of ["{", "[]", '"x"', '{"a":1}', '{"a":[1]}', '{"a":{"b":1}}']) {
    assert.throws(() => filters(bad), { kind: "invalid", message: "invalid filter" });
  }
  assert.throws(() => checkFilters({ bogus: [] }, ["label"]), { message: "invalid filter 'bogus'" });
});

test("times keep their nanoseconds", () => {
  const nanos = (value: string) => readQuery({ since: "nanos" }, `since=${value}`).since;
  assert.equal(nanos("1700000000.123456789"), 1_700_000_000_123_456_789n);
  assert.equal(nanos("1.5"), 1_500_000_000n);
  assert.equal(nanos("0"), undefined);
  assert.throws(() => nanos("10m"), { kind: "invalid" });
});

test("numbers that aren't are refused", () => {
  assert.equal(readQuery({ t: "int" }, "t=-1").t, -1);
  assert.throws(() => readQuery({ t: "int" }, "t=x"), { message: 'strconv.Atoi: parsing "x": invalid syntax' });
  assert.throws(() => asDimension("height", "foo"), { message: 'invalid resize height "foo": invalid syntax' });
  assert.throws(() => asDimension("width", "4294967296"), {
    message: 'invalid resize width "4294967296": value out of range',
  });
});
