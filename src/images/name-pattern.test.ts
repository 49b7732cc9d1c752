import assert from "node:assert/strict";
import { test } from "node:test";
import { familiarPattern } from "./name-pattern.ts";

const MATCHES: readonly [pattern: string, name: string, matches: boolean][] = [
  ["busybox", "busybox", true],
  ["busy*", "busybox", true],
  ["*box", "busybox", true],
  ["*", "library/busybox", false],
  ["*/*", "library/busybox", true],
  ["*/b*x", "library/busybox", true],
  ["a*b*/c", "aXbYb/c", true],
  ["a*b*/c", "aXbY/b/c", false],
  ["*a/*", "aa/a/x", false],
  ["*a/*", "aa/x", true],
  ["busyb?x", "busybox", true],
  ["a?b", "a/b", false],
  ["[a-c]usy", "busy", true],
  ["[^a-c]usy", "busy", false],
  ["[^a-c]usy", "zusy", true],
  ["a\\*", "a*", true],
  ["a\\*", "ab", false],
  ["", "", true],
  ["", "a", false],
  ["**", "abc", true],
  ["[\\]]", "]", true],
  ["[a\\-c]", "-", true],
];
for (const [pattern, name, matches] of MATCHES) {
  test(`the pattern ${pattern} ${matches ? "is" : "is not"} ${name}`, () => {
    assert.equal(familiarPattern(pattern)(name), matches);
  });
}

for (const pattern of ["[", "[]", "[a", "a\\", "[a-]", "[-a]"]) {
  test(`the pattern ${pattern} is refused`, () => {
    assert.throws(() => familiarPattern(pattern), /syntax error in pattern/);
  });
}

test("a pattern of many stars takes no longer than another", () => {
  const started = performance.now();
  assert.equal(familiarPattern(`${"*a".repeat(60)}b`)("a".repeat(255)), false);
  assert.ok(performance.now() - started < 1_000, "it held up the process");
});
