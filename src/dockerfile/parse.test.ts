import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isKind, messageOf } from "../base/errors.ts";
import { detectSyntax } from "./directive.ts";
import { parseDockerfile } from "./dockerfile.ts";
import { dump } from "./node-dump.fixture.ts";
import { parseNodes } from "./parse.ts";

interface Row {
  readonly name: string;
  readonly text: string;
  readonly ast?: string;
  readonly parseErr: string;
}

const rows = readFileSync(new URL("./testdata/dockerfiles.jsonl", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Row);

test("every published Dockerfile is read as BuildKit reads it", () => {
  for (const row of rows) assert.deepEqual(read(row), { ast: row.ast, parseErr: row.parseErr }, row.name);
  assert.equal(rows.length > 200, true);
});

const nodesOf = (text: string) => parseNodes({ name: "Dockerfile", text });
const args = (text: string) => nodesOf(text).nodes.map((node) => [...node.flags, ...node.args]);

describe("lines", () => {
  test("are continued by the escape character at their end, comments and empty lines between them left out", () => {
    const text = "FROM a\nRUN x \\  \n# no part of it\n\n  y \\\n\t# nor this\n z\nRUN end \\\\\nRUN w \\";
    const { nodes, emptyContinuations } = nodesOf(text);
    assert.deepEqual(
      nodes.map((node) => node.args[0]),
      ["a", "x   y  z", "end \\\\", "w"],
    );
    assert.deepEqual(
      nodes.map((node) => node.range),
      [
        { start: 1, end: 1 },
        { start: 2, end: 7 },
        { start: 8, end: 8 },
        { start: 9, end: 9 },
      ],
    );
    assert.deepEqual(emptyContinuations, [{ start: 7, end: 7 }]);
  });

  test("may end as on Windows, begin with a byte order mark and escape by a backtick", () => {
    const { nodes, escape: escaper } = nodesOf("\ufeff# escape=`\r\nFROM a\r\nRUN x `\r\n  y\r\nCOPY c:\\x d\r\n");
    assert.equal(escaper, "`");
    assert.deepEqual(
      nodes.map((node) => node.args),
      [["a"], ["x   y"], ["c:\\x", "d"]],
    );
  });

  test("carry directives only before anything else, each once", () => {
    assert.equal(nodesOf("# escape = `\nFROM a").escape, "`");
    assert.equal(nodesOf("# comment\n# escape=`\nFROM a").escape, "\\");
    assert.equal(nodesOf("\n# escape=`\nFROM a").escape, "\\");
    assert.equal(nodesOf("# unknown=x\n# escape=`\nFROM a").escape, "\\");
    assert.throws(() => nodesOf("# escape=x\nFROM a"), { message: "invalid escape token 'x' does not match ` or \\" });
    assert.throws(() => nodesOf("# escape=`\n# escape=`\nFROM a"), {
      message: "only one escape parser directive can be used",
    });
  });

  test("say which frontend a file asks for, in three forms", () => {
    const table: readonly (readonly [string, string | undefined, number?])[] = [
      ["# syntax=a/b:1\nFROM x", "a/b:1", 1],
      ["#syntax = a/b:1 and more", "a/b:1", 1],
      ["// syntax=a/b", "a/b", 1],
      ["#!/bin/x\n# check=skip=all\n# SYNTAX=a/b", "a/b", 3],
      ['{"syntax": "a/b"}', "a/b", 1],
      ["FROM x\n# syntax=a/b", undefined],
      ['{"syntax": 1}', undefined],
      ["", undefined],
    ];
    for (const [text, reference, line] of table) {
      const wanted = reference === undefined ? undefined : { reference, line };
      assert.deepEqual(detectSyntax(text), wanted, text);
    }
  });

  test("have comments that belong to the next instruction", () => {
    const { nodes } = nodesOf("# a\n# b c\nFROM x\n# lost\n#\n# d\n\nRUN y\nRUN z");
    assert.deepEqual(
      nodes.map(({ comments }) => comments),
      [["a", "b c"], ["d"], []],
    );
  });

  test("hold flags before the arguments, quoted or escaped", () => {
    assert.deepEqual(args(`RUN --a --b="c d" --e=\\" f --g`), [["--a", "--b=c d", '--e="', "f --g"]]);
    assert.deepEqual(args("RUN -- --a"), [["--a"]]);
    assert.deepEqual(args("RUN --a"), [["--a"]]);
  });

  test("hold arrays of JSON where they are such, else what is there", () => {
    assert.deepEqual(args('RUN ["a", "b\\u0020c"]\nRUN [a]\nRUN []\nCOPY ["a b", "c"]\nCOPY [a b] c'), [
      ["a", "b c"],
      ["[a]"],
      [],
      ["a b", "c"],
      ["[a", "b]", "c"],
    ]);
    assert.throws(() => nodesOf('RUN ["a", 1]'), /arrays must be comprised of strings only/);
  });

  test("open heredocs, of which the names may be quoted and several stand in a line", () => {
    const text =
      'COPY <<a 5<<-\'b\' <<"c d" /x\n1\na\n\t2\n\tb\n3\nc d\nRUN ["<<no"]\nONBUILD RUN <<e\n4\ne\nENV X=<<no\n';
    const { nodes } = nodesOf(text);
    assert.deepEqual(
      nodes.map(({ heredocs }) => heredocs),
      [
        [
          { name: "a", descriptor: 0, expand: true, chomp: false, content: "1\n" },
          { name: "b", descriptor: 5, expand: false, chomp: true, content: "\t2\n" },
          { name: "c d", descriptor: 0, expand: false, chomp: false, content: "3\n" },
        ],
        [],
        [{ name: "e", descriptor: 0, expand: true, chomp: false, content: "4\n" }],
        [],
      ],
    );
    assert.throws(() => nodesOf("FROM a\nRUN <<x\ny\n"), {
      message: "unterminated heredoc",
      place: { source: { name: "Dockerfile", text: "FROM a\nRUN <<x\ny\n" }, range: { start: 2, end: 3 } },
    });
    assert.deepEqual(nodesOf("RUN a <<<b\nRUN c << d\n1\nd\nRUN (1<<2) x <").nodes.length, 3);
  });

  test("can have 65,535 bytes", () => {
    assert.equal(nodesOf(`RUN ${"a".repeat(65_531)}\n`).nodes.length, 1);
    assert.equal(nodesOf(`RUN ${"é".repeat(32_765)}a`).nodes.length, 1);
    for (const text of [`RUN ${"a".repeat(65_532)}`, `RUN ${"é".repeat(32_766)}`, `RUN ${"a".repeat(65_532)}\n`]) {
      assert.throws(() => nodesOf(text), { message: "dockerfile line greater than max allowed size of 65535" });
    }
  });
});

describe("hostile files", () => {
  test("are read or refused with a place, whatever they are", () => {
    const piece = fc.constantFrom(
      ..."FROM a|RUN |COPY |ADD |ENV |ARG |ONBUILD |INCLUDE |HEALTHCHECK |LABEL |SHELL |<<E|<<-'E'|E|\\|`|\n|\r\n|\t| |\"|'|[|]|{|}|--|--from=|--mount=type=|=|,|$|#|# escape=`\n|AS|as b|\0|\ufeff|é|\ud800|[\"a\"]".split(
        "|",
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const text = pieces.join("");
        try {
          parseDockerfile({ name: "Dockerfile", text });
        } catch (error) {
          assert.equal(isKind(error, "invalid"), true, String(error));
          assert.equal((error as { place?: unknown }).place !== undefined, true, messageOf(error));
        }
      }),
      { numRuns: 5000 },
    );
  });

  test("of ten megabytes are read in time that their length warrants", () => {
    const line = "a".repeat(95);
    const texts = [
      `FROM a\n${`RUN ${line}\n`.repeat(100_000)}`,
      `FROM a\nRUN ${`${line} \\\n`.repeat(100_000)}b`,
      `FROM a\nENV ${`a=${line} \\\n`.repeat(100_000)}b=`,
      `FROM a\nRUN <<E\n${`${line}\n`.repeat(100_000)}E`,
      `FROM a\nRUN ${"<< \\\n".repeat(100_000)}`,
      `FROM a\nRUN a${`${" ".repeat(60_000)}\\\n`.repeat(100)}b`,
      "\0\n".repeat(1_000_000),
      "# a=b\n".repeat(1_000_000),
    ];
    for (const text of texts) {
      const started = performance.now();
      try {
        parseDockerfile({ name: "Dockerfile", text });
      } catch (error) {
        assert.equal(isKind(error, "invalid"), true, String(error));
      }
      assert.equal(performance.now() - started < 20_000, true, text.slice(0, 40));
    }
  });
});

function read(row: Row): { ast: string | undefined; parseErr: string } {
  try {
    return { ast: dump(parseNodes({ name: row.name, text: row.text })), parseErr: "" };
  } catch (error) {
    return { ast: undefined, parseErr: messageOf(error) };
  }
}
