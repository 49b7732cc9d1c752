import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isKind } from "../base/errors.ts";
import { expandText, expandTextInSteps, expandWords } from "./words.ts";

const variables = new Map([
  ["HOME", "/home/me"],
  ["EMPTY", ""],
  ["FILE", "a/b/c.tar.gz"],
  ["SPACED", " x  y "],
  ["STARS", "a*b*c"],
  ["한", "글"],
]);

describe("words", () => {
  const table: readonly (readonly [text: string, expanded: string])[] = [
    ["plain", "plain"],
    ["$HOME/x", "/home/me/x"],
    ["${HOME}x", "/home/mex"],
    ["$HOMEx", ""],
    ["$한.", "글."],
    ["a$", "a$"],
    ["$.", "$."],
    ["$1x$23y", "xy"],
    ["$@$*$#$?$-$$$!", ""],
    ["\\$HOME", "$HOME"],
    ["'$HOME'", "$HOME"],
    ['"$HOME"', "/home/me"],
    ['"\\$HOME \\" \\\\ \\n"', '$HOME " \\ \\n'],
    ["'it'\\''s'", "it's"],
    ["a\\ b\\", "a b"],
    ["<<EOF", "<<EOF"],
    ["${NONE:-d}", "d"],
    ["${EMPTY:-d}", "d"],
    ["${EMPTY-d}", ""],
    ["${NONE-d}", "d"],
    ["${HOME:+y}${EMPTY:+n}${NONE:+n}", "y"],
    ["${EMPTY+y}${NONE+n}", "y"],
    ["${HOME:?x}${EMPTY?x}", "/home/me"],
    ["${NONE:-${EMPTY:-$HOME}}", "/home/me"],
    ["${NONE:-'$HOME' \"$HOME\"}", "$HOME /home/me"],
    ["${NONE:-a\\}b}", "a}b"],
    ["${FILE#*/}", "b/c.tar.gz"],
    ["${FILE##*/}", "c.tar.gz"],
    ["${FILE%.*}", "a/b/c.tar"],
    ["${FILE%%.*}", "a/b/c"],
    ["${FILE#x}${FILE%x}", "a/b/c.tar.gza/b/c.tar.gz"],
    ["${FILE#a?b}", "/c.tar.gz"],
    ["${FILE%?z}", "a/b/c.tar."],
    ["${STARS#a\\*}", "b*c"],
    ["${FILE/a/X}", "X/b/c.tar.gz"],
    ["${FILE//a/X}", "X/b/c.tXr.gz"],
    ["${FILE//\\//-}", "a-b-c.tar.gz"],
    ["${FILE/b*r/}", "a/.gz"],
    ["${FILE//?/x}", "xxxxxxxxxxxx"],
    ["${STARS//\\*/$HOME}", "a/home/meb/home/mec"],
    ["${NONE#x}${NONE/a/b}", ""],
    ["${FILE//*/all}", "all"],
  ];
  test("are expanded as a shell would", () => {
    for (const [text, expanded] of table) assert.equal(expandText(text, variables).text, expanded, text);
  });

  test("of long texts are expanded in steps, to the same", () => {
    const inSteps = (text: string, values = variables) => {
      const steps = expandTextInSteps(text, values);
      let count = 0;
      for (;;) {
        const { done, value } = steps.next();
        if (done) return { ...value, count };
        count++;
      }
    };
    for (const [text] of table) {
      const { count, ...expansion } = inSteps(text);
      assert.deepEqual({ ...expansion }, { ...expandText(text, variables), words: [] }, text);
      assert.equal(count <= 1, true, text);
    }
    const long = `${"a line, then $HOME\n".repeat(20_000)}\\`;
    const { count, text } = inSteps(long);
    assert.equal(text, expandText(long, variables).text);
    assert.equal(count > 10, true, String(count));
    assert.equal(inSteps("$A".repeat(100), new Map([["A", "a".repeat(20_000)]])).count > 30, true);
    assert.throws(() => inSteps("$A".repeat(300), new Map([["A", "a".repeat(20_000)]])), /too long when its variables/);
    assert.throws(() => inSteps(`${long} \${`), /^ExpansionError: failed to process .*missing '}'$/s);
  });

  test("of megabytes are expanded without a long step, the last one included", () => {
    const values = new Map([["V", "value"]]);
    for (const line of ["word ".repeat(10), `${"word ".repeat(8)}\${V:-default}`]) {
      const text = `${line} $V\n`.repeat(60_000);
      const least = { whole: Number.POSITIVE_INFINITY, longest: Number.POSITIVE_INFINITY };
      // The machine may take its time from any one of them.
      for (let round = 0; round < 8; round++) {
        const steps = expandTextInSteps(text, values, { ignoreQuotes: true });
        let whole = 0;
        let longest = 0;
        for (let isDone = false; !isDone; ) {
          const began = performance.now();
          isDone = steps.next().done === true;
          const took = performance.now() - began;
          whole += took;
          longest = Math.max(longest, took);
        }
        least.whole = Math.min(least.whole, whole);
        least.longest = Math.min(least.longest, longest);
      }
      assert.ok(least.longest < least.whole / 3, JSON.stringify(least));
    }
  });

  test("escape by the character that the directive says", () => {
    assert.equal(expandText("C:\\x`$HOME", variables, { escape: "`" }).text, "C:\\x$HOME");
  });

  test("are split at white space that stands outside of quotes, also that of variables", () => {
    const split: readonly (readonly [text: string, words: readonly string[]])[] = [
      ["a  b\tc", ["a", "b", "c"]],
      ["a$SPACED-", ["a", "x", "y", "-"]],
      ['a"$SPACED"b c', ["a x  y b", "c"]],
      ["a\\ b 'c d'", ["a b", "c d"]],
      ["'' \"\"", []],
      ["x${NONE:-y z}", ["xy", "z"]],
      ["cat << EOF", ["cat", "<< EOF"]],
    ];
    for (const [text, words] of split) assert.deepEqual(expandWords(text, variables).words, words, text);
  });

  test("tell which variables they asked for", () => {
    const { matched, unmatched } = expandText("$HOME ${NONE:-$OTHER} '$QUOTED'", variables);
    assert.deepEqual([...matched], ["HOME"]);
    assert.deepEqual([...unmatched].sort(), ["NONE", "OTHER"]);
  });

  test("may keep quotes, escapes and what isn't set", () => {
    const keep = { keepQuotes: true, keepEscapes: true, keepUnset: true };
    const text = `"a b" 'c' \\d $NONE \${NONE:-x} \${NONE#y} \${NONE/a/b}`;
    assert.equal(expandText(text, variables, keep).text, text);
    assert.equal(expandText(`"$HOME'`, variables, { ignoreQuotes: true }).text, `"/home/me'`);
  });

  test("that make no sense are refused", () => {
    const refused: readonly (readonly [text: string, reason: string])[] = [
      ["'x", "unexpected end of statement while looking for matching single-quote"],
      ['"x', "unexpected end of statement while looking for matching double-quote"],
      ["${", "syntax error: missing '}'"],
      ["${HOME", "syntax error: missing '}'"],
      ["${}", "syntax error: bad substitution"],
      ["${{HOME}}", "syntax error: bad substitution"],
      ["${:-x}", "syntax error: bad substitution"],
      ["${HOME:-x", "syntax error: missing '}'"],
      ["${HOME/x", "syntax error: missing '/' in ${}"],
      ["${HOME/x/y", "syntax error: missing '}'"],
      ["${HOME:=x}", "unsupported modifier (:=) in substitution"],
      ["${HOME^}", "unsupported modifier (^) in substitution"],
      ["${HOME:#x}", "unsupported modifier (:#) in substitution"],
      ["${HOME#\\x}", "invalid pattern (\\x) in substitution: invalid escape '\\x'"],
      ["${NONE?}", "NONE: is not allowed to be unset"],
      ["${EMPTY:?}", "EMPTY: is not allowed to be empty"],
      ["${NONE:?be so kind}", "NONE: be so kind"],
    ];
    for (const [text, reason] of refused) {
      const message = `failed to process ${JSON.stringify(text)}: ${reason}`;
      assert.throws(() => expandText(text, variables), { kind: "invalid", message }, text);
    }
  });

  test("take no longer than their length warrants, whatever they are", () => {
    const piece = fc.constantFrom(
      "$",
      "{",
      "}",
      "${HOME",
      ":-",
      "#",
      "%%",
      "/",
      "*",
      "?",
      "'",
      '"',
      "\\",
      "a",
      " ",
      "<<",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        try {
          assert.equal(typeof expandText(pieces.join(""), variables).text, "string");
        } catch (error) {
          assert.equal(isKind(error, "invalid"), true, String(error));
        }
      }),
      { numRuns: 3000 },
    );
    const long = new Map([["A", "ab".repeat(5000)]]);
    for (const text of [
      "${A##*a*b*a*b*a*c}",
      "${A//*a*a*a*a*c/x}",
      "${A%%c*a*b}",
      "${A:-".repeat(5000),
      "'".repeat(99_999),
    ]) {
      const started = performance.now();
      try {
        expandText(text, long);
      } catch (error) {
        assert.equal(isKind(error, "invalid"), true, String(error));
      }
      assert.equal(performance.now() - started < 10_000, true, text.slice(0, 30));
    }
  });
});
