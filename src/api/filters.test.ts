import assert from "node:assert/strict";
import { test } from "node:test";
import { booleanFilter, checkFilters, matchLabels, matchPruneLabels, textTest, untilFilter } from "./filters.ts";

test("a key that is not known is refused by name", () => {
  checkFilters({ label: ["a"] }, ["label"]);
  assert.throws(() => checkFilters({ constructor: [] }, ["label"]), /invalid filter 'constructor'/);
});

test("a name matches by its whole, by a part, by a regular expression, and never for long", () => {
  const rows: [string, string, boolean][] = [
    ["web", "my-web-1", true],
    ["^web$", "my-web-1", false],
    ["^my-.*-\\d$", "my-web-1", true],
    ["a[", "a[1", true],
    ["a[", "a1", false],
    ["(a+)+$", `${"a".repeat(5000)}b`, false],
  ];
  for (const [value, text, expected] of rows) assert.equal(textTest(value)(text), expected, value);
});

test("labels match by key or by key and value, all of them", () => {
  const rows: [Record<string, string> | null, string[], boolean][] = [
    [{ a: "1" }, [], true],
    [{ a: "1" }, ["a"], true],
    [{ a: "1=2" }, ["a=1=2"], true],
    [{ a: "1" }, ["a=2"], false],
    [{ a: "1", b: "2" }, ["a", "b=2"], true],
    [{ a: "1" }, ["a", "b"], false],
    [{}, ["toString"], false],
    [null, ["a"], false],
    [null, [], true],
  ];
  for (const [labels, asked, matches] of rows) assert.equal(matchLabels(labels, asked), matches, JSON.stringify(asked));
});

test("a prune spares what carries all the labels that it must not have", () => {
  const spare = { "label!": ["a", "b"] };
  assert.equal(matchPruneLabels({ a: "", b: "" }, spare), false);
  assert.equal(matchPruneLabels({ a: "" }, spare), true);
  assert.equal(matchPruneLabels({ a: "" }, { label: ["b"] }), false);
});

test("until is an age, Unix seconds or a date", () => {
  const now = 1_000_000_000;
  assert.equal(untilFilter({}, now), undefined);
  assert.equal(untilFilter({ until: ["1h30m"] }, now), now - 5_400_000);
  assert.equal(untilFilter({ until: ["-5m"] }, now), now + 300_000);
  assert.equal(untilFilter({ until: ["10"] }, now), 10_000);
  assert.equal(untilFilter({ until: ["1970-01-01T00:00:10Z"] }, now), 10_000);
  assert.equal(untilFilter({ until: ["2020-02-03"] }, now), new Date(2020, 1, 3).getTime());
  assert.throws(() => untilFilter({ until: ["soon"] }, now), /failed to parse value as time or duration: "soon"/);
  assert.throws(() => untilFilter({ until: ["1h", "2h"] }, now), /more than one until filter specified/);
});

test("yes and no are read in each spelling, and never both", () => {
  assert.equal(booleanFilter({}, "dangling"), undefined);
  assert.equal(booleanFilter({ dangling: ["1", "true"] }, "dangling"), true);
  assert.equal(booleanFilter({ dangling: ["0"] }, "dangling"), false);
  assert.throws(() => booleanFilter({ dangling: ["1", "0"] }, "dangling"), /invalid filter 'dangling=\[1 0\]'/);
  assert.throws(() => booleanFilter({ dangling: ["constructor"] }, "dangling"), /invalid filter 'dangling=/);
});
