import assert from "node:assert/strict";
import { test } from "node:test";
import { linearPattern } from "./linear-pattern.ts";

/** Where JavaScript's expressions mean the same, they are the referee. */
const EXPRESSIONS = [
  "web",
  "^web$",
  "^/?web$",
  "^(web|db|api)$",
  "^(web|db|)$",
  "w.b",
  "w.*b",
  "(ab)+c",
  "(ab)*c",
  "^a?b?c?$",
  "^(?:a|b){2,3}$",
  "^a{2}$",
  "^a{2,}$",
  "a{,2}",
  "a{x",
  "[a-c]+$",
  "^[^a-c]+$",
  "[\\w.-]+_1$",
  "[]a]",
  "\\d+$",
  "^\\D+$",
  "\\bweb\\b",
  "web\\B",
  "a\\.b",
  "^\\s*$",
  "(?<name>a)b",
  "a|b|c_1",
  "x*",
  "a+?b",
  "((a|b)c)*d",
  "^(a*)*$",
  "$^",
];
const TEXTS = [
  "web",
  "/web",
  "db",
  "api",
  "webs",
  "my web!",
  "w\nb",
  "wxyzb",
  "ababc",
  "c",
  "abc",
  "aa",
  "aaa",
  "ab",
].concat(["", "a{x", "a{,2}", "proj_web_1", "]", "a.b", "axb", "acbcd", "12", "aab", "💥", "a-b.c_1"]);
for (const source of EXPRESSIONS) {
  test(`${source} matches what it matches elsewhere`, () => {
    // JavaScript reads "[]" as a class of nothing.
    const referee = new RegExp(source.replace("[]a]", "[\\]a]"));
    for (const text of TEXTS) assert.equal(linearPattern(source)(text), referee.test(text), JSON.stringify(text));
  });
}

test("Go's flags are known", () => {
  assert.ok(linearPattern("(?i)WEB[A-C]")("my-webb"));
  assert.ok(linearPattern("(?i:W)eb")("web"));
  assert.ok(!linearPattern("(?i:W)eB")("web"));
  assert.ok(linearPattern("(?s)a.b")("a\nb"));
  assert.ok(linearPattern("(?P<x>a)b")("ab"));
});

const REFUSED = [
  "(",
  ")",
  "a)",
  "[a",
  "[",
  "*",
  "a**",
  "(?=a)",
  "(?!a)",
  "(?<=a)b",
  "(a)\\1",
  "\\",
  "[z-a]",
  "a{1001}",
];
REFUSED.push("a{3,2}", "(".repeat(300) + ")".repeat(300), "(?:(?:a{100}){100}){100}");
for (const source of REFUSED) {
  test(`${source.slice(0, 30)} is refused as Go refuses it`, () => {
    assert.throws(() => linearPattern(source), SyntaxError);
  });
}

const RUNAWAYS: readonly [string, string][] = [
  ["^(a+)+$", `${"a".repeat(60)}b`],
  ["^(a|a)*$", `${"a".repeat(60)}b`],
  [`${"a?".repeat(60)}${"a".repeat(60)}$`, `${"a".repeat(60)}b`],
  [`${"(a|a)".repeat(60)}$`, `${"a".repeat(70)}b`],
  ["a*a*a*a*b", "a".repeat(100_000)],
];
for (const [source, text] of RUNAWAYS) {
  test(`${source.slice(0, 30)} does not run away`, () => {
    const started = performance.now();
    assert.equal(linearPattern(source)(text), false);
    assert.ok(performance.now() - started < 5_000, "it held up the process");
  });
}
