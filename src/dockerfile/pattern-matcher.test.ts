import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { messageOf } from "../base/errors.ts";
import { cleanPath } from "./go-text.ts";
import { readIgnoreFile } from "./ignore-file.ts";
import { patternOf } from "./pattern.ts";
import { expressionMatches } from "./pattern-expression.ts";
import { type FolderMatch, PatternMatcher } from "./pattern-matcher.ts";

interface Row {
  readonly universe?: readonly string[];
  readonly patterns: readonly string[];
  readonly matches?: readonly string[];
  readonly err?: string;
  readonly matchErr?: string;
  readonly notMatchedCount?: number;
}

const rows = readFileSync(new URL("./testdata/patternmatcher.jsonl", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Row);
const universe = rows.find((row) => row.universe !== undefined)?.universe ?? [];

describe("patterns of ignore files", () => {
  test("match what the original matches, in every row of its truth table", () => {
    for (const row of rows) {
      if (row.universe !== undefined) continue;
      const texts = universe.filter((text) => row.patterns.length === 2 || wasTriedAlone(text));
      // In rows of two patterns those that failed to match by an error are counted as not matched.
      const err = row.err ?? row.matchErr ?? (row.notMatchedCount === universe.length ? undefined : "");
      const answer = answerOf(row.patterns, texts);
      assert.deepEqual(answer.matches, row.matches?.toSorted() ?? [], JSON.stringify(row.patterns));
      if (err !== undefined) assert.equal(answer.err, err, JSON.stringify(row.patterns));
    }
    assert.equal(rows.length > 300, true);
  });

  test("are read with comments, marks and crooked paths put right", () => {
    const text = "\ufeff# first\n #not a comment\r\n\n  /abs/path/ \n!  ../x/./y\n!\n/\na//b/../c\t";
    assert.deepEqual(readIgnoreFile(text), ["#not a comment", "abs/path", "!../x/y", "!", "/", "a/c"]);
  });

  test("bring back what an exception names, the last word being the last line's", () => {
    const matcher = new PatternMatcher(["docs", "!docs/README.md", "docs/README.md", "!docs/a*"]);
    const all = ["docs", "docs/x", "docs/README.md", "docs/api", "docs/api/x", "other"];
    assert.deepEqual(
      all.map((path) => matcher.matches(path)),
      [true, true, true, false, false, false],
    );
  });

  test("give on a walk what they give for each path by itself, where there are no exceptions", () => {
    fc.assert(
      fc.property(fc.array(glob, { maxLength: 6 }), path, (lines, one) => {
        const matcher = new PatternMatcher(lines);
        assert.equal(walk(matcher, one).matched, matcher.matches(one), one);
      }),
      { numRuns: 2000 },
    );
  });

  test("let a walk leave out folders only where all below is matched", () => {
    const line = fc.tuple(fc.boolean(), glob).map(([exception, text]) => (exception ? `!${text}` : text));
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), path, (lines, one) => {
        const { matched, skippable } = walk(new PatternMatcher(lines), one);
        assert.equal(matched || !skippable, true, one);
      }),
      { numRuns: 5000 },
    );
    const matcher = new PatternMatcher(["node_modules", "docs", "!docs/README.md"]);
    assert.equal(walk(matcher, "node_modules/a/b").skippable, true);
    assert.equal(walk(matcher, "docs/a").skippable, false);
    assert.equal(walk(matcher, "docs/a/b").skippable, true);
  });

  test("are quick and exact: the test without an expression answers as the expression does", () => {
    fc.assert(
      fc.property(glob, path, (text, one) => {
        const clean = cleanPath(text);
        // The original has no expression either for `**` alone at a pattern's end or beginning.
        const simple = /^(?:\*\*)?[^*?[\]\\]*(?:\*\*)?$/.test(clean);
        const same = simple || patternOf(clean).matches(one) === expressionMatches(clean)(one);
        assert.equal(same, true, text);
      }),
      { numRuns: 5000 },
    );
  });

  test("take no more than a fraction of a second for 100,000 files and twenty lines", () => {
    const matcher = new PatternMatcher(readIgnoreFile(TWENTY_LINES));
    assert.equal(Math.min(...[1, 2, 3].map(() => walkMany(matcher))) < 1000, true);
  });

  test("no pattern takes long, however it is written", () => {
    const name = "a".repeat(4000);
    for (const text of ["*a".repeat(1000), "**/*a*a*a*a*a*a*b", `${"?".repeat(500)}*b`, `${"**/".repeat(300)}b`]) {
      const started = performance.now();
      assert.equal(new PatternMatcher([`${text}c`]).matches(`${name}/${name}`), false);
      assert.equal(performance.now() - started < 5000, true, text.slice(0, 20));
    }
  });
});

const glob = fc
  .array(fc.constantFrom("a", "b", "/", "*", "**", "?", "**/", "/**", ".", "é", "[ab]", "\\*", "(", "ab/"), {
    minLength: 1,
    maxLength: 7,
  })
  .map((parts) => parts.join(""))
  .filter((text) => !cleanPath(text).startsWith("!") && cleanPath(`!${text}`) !== "!");
const path = fc
  .array(fc.constantFrom("a", "b", "ab", "ba", "é", "a*b", "b\n", "aab"), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join("/"));

const TWENTY_LINES = `.git
node_modules
**/node_modules
dist
**/*.log
*.md
!README.md
coverage/**
**/*.test.js
.env*
build
tmp/*
**/.cache
**/*.tmp
docs/**/*.png
**/__pycache__
*.swp
Dockerfile*
.dockerignore
!src/keep/*.log
`;

/** Walks down to a path, through folders that it might have left out. */
function walk(matcher: PatternMatcher, path: string): { matched: boolean; skippable: boolean } {
  const parts = path.split("/");
  let above: FolderMatch | undefined;
  let skippable = false;
  for (let depth = 1; depth < parts.length; depth++) {
    const folder = parts.slice(0, depth).join("/");
    const own = matcher.folderMatch();
    matcher.matchesBelow(folder, above, own);
    skippable ||= matcher.canSkip(folder, own);
    above = own;
  }
  return { matched: matcher.matchesBelow(path, above), skippable };
}

/** Milliseconds for a thousand folders of a hundred files. */
function walkMany(matcher: PatternMatcher): number {
  const started = performance.now();
  let kept = 0;
  const own = matcher.folderMatch();
  for (let folder = 0; folder < 1000; folder++) {
    const name = `src/module${folder}`;
    matcher.matchesBelow(name, undefined, own);
    for (let file = 0; file < 100; file++) if (!matcher.matchesBelow(`${name}/file${file}.ts`, own)) kept++;
  }
  assert.equal(kept, 100_000);
  return performance.now() - started;
}

/** Texts that have white space or a percent sign, and the empty one, were tried with an exception only. */
function wasTriedAlone(text: string): boolean {
  return text !== "" && !/[ %\n]/.test(text);
}

function answerOf(patterns: readonly string[], texts: readonly string[]): { err: string; matches: string[] } {
  try {
    const matcher = new PatternMatcher(patterns);
    return { err: "", matches: texts.filter((text) => matcher.matches(text)).sort() };
  } catch (error) {
    return { err: messageOf(error), matches: [] };
  }
}
