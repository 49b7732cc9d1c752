import assert from "node:assert/strict";
import { it } from "node:test";
import { hasWildcards, matchesName } from "./glob.ts";

/** What Go's filepath.Match says. */
const TABLE: readonly (readonly [string, string, boolean])[] = [
  ["abc", "abc", true],
  ["*", "abc", true],
  ["*c", "abc", true],
  ["a*", "a", true],
  ["a*", "abc", true],
  ["a*b*c*d*e*", "axbxcxdxe", true],
  ["a*b?c*x", "abxbbxdbxebxczzx", true],
  ["a*b?c*x", "abxbbxdbxebxczzy", false],
  ["ab[c]", "abc", true],
  ["ab[b-d]", "abc", true],
  ["ab[e-g]", "abc", false],
  ["ab[^c]", "abc", false],
  ["ab[^b-d]", "abc", false],
  ["ab[^e-g]", "abc", true],
  ["a\\*b", "a*b", true],
  ["a\\*b", "ab", false],
  ["a?b", "a☺b", true],
  ["a[^a]b", "a☺b", true],
  ["a???b", "a☺b", false],
  ["[a-ζ]*", "α", true],
  ["*[a-ζ]", "A", false],
  ["[\\]a]", "]", true],
  ["[\\-]", "-", true],
  ["[x\\-]", "-", true],
  ["[x\\-]", "z", false],
  ["[\\-x]", "a", false],
  ["[]a]", "]", false],
  ["[-]", "-", false],
  ["[x-]", "x", false],
  ["[-x]", "x", false],
  ["\\", "a", false],
  ["[a-b-c]", "a", false],
  ["[", "a", false],
  ["[^", "a", false],
  ["[^bc", "a", false],
  ["a[", "a", false],
  ["a[", "ab", false],
  ["*x", "xxx", true],
  ["**", "anything", true],
  ["*", "", true],
  ["", "", true],
  ["?", "", false],
  [".*", ".git", true],
  ["*", ".git", true],
];

it("matches names as Go's filepath.Match does", () => {
  for (const [pattern, name, matches] of TABLE) assert.equal(matchesName(pattern, name), matches, `${pattern} ${name}`);
});

it("takes no longer for many stars", () => {
  const begun = performance.now();
  assert.equal(matchesName(`${"*a".repeat(200)}b`, "a".repeat(250)), false);
  assert.ok(performance.now() - begun < 1000);
});

it("knows where a path has wildcards", () => {
  assert.deepEqual(["/a/b", "/a/*", "/a/\\*", "/a/\\\\*", "[x]", "a?"].map(hasWildcards), [
    false,
    true,
    false,
    true,
    true,
    true,
  ]);
});
