import assert from "node:assert/strict";
import { test } from "node:test";
import { csvFields } from "./csv.ts";

test("fields are cut at commas that no quotes are around", () => {
  const rows: readonly [string, readonly string[]][] = [
    ["", [""]],
    ["type=bind,src=/a", ["type=bind", "src=/a"]],
    ['"a,b",c', ["a,b", "c"]],
    ['"say ""so""",', ['say "so"', ""]],
    [",", ["", ""]],
    ['a,""', ["a", ""]],
  ];
  for (const [line, fields] of rows) assert.deepEqual(csvFields(line), fields, line);
});

test("stray quotes are refused with Go's words, at the byte where they are", () => {
  const rows: readonly [string, string][] = [
    ['a"b', 'parse error on line 1, column 2: bare " in non-quoted-field'],
    ['é,b"', 'parse error on line 1, column 5: bare " in non-quoted-field'],
    ['"a', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'],
    ['"a"b', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'],
    ['x,"', 'parse error on line 1, column 4: extraneous or missing " in quoted-field'],
  ];
  for (const [line, message] of rows) assert.throws(() => csvFields(line), { kind: "invalid", message });
});
