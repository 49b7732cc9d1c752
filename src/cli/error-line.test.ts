import assert from "node:assert/strict";
import { test } from "node:test";
import { errorLine } from "./error-line.ts";

test("an error's text can't steer the terminal", () => {
  assert.equal(errorLine(new Error("no \u001b[2Jimage\u0007 \u009b31m\r")), "no \\x1b[2Jimage\\x07 \\x9b31m\\x0d");
  assert.equal(errorLine(new Error("two\nlines\tand ünïcode")), "two\nlines\tand ünïcode");
});
