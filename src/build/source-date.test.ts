import assert from "node:assert/strict";
import { test } from "node:test";
import { readSourceDate } from "./source-date.ts";

test("a source's date is a number of seconds as BuildKit reads it", () => {
  const table = [
    ["", undefined],
    ["0", 0],
    ["1000", 1000],
    ["+7", 7],
    ["007", 7],
    ["253402300799", 253_402_300_799],
  ] as const;
  for (const [text, seconds] of table) assert.equal(readSourceDate(text), seconds, text);
});

test("what is no date, or none that can be written, is refused", () => {
  for (const text of ["abc", "1.5", " 5", "1e3", "-5", "99999999999999", "0x10", "+"]) {
    assert.throws(() => readSourceDate(text), { kind: "invalid", message: `invalid SOURCE_DATE_EPOCH: ${text}` });
  }
});
