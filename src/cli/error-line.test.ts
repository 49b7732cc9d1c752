import assert from "node:assert/strict";
import { test } from "node:test";
import { EngineError } from "../client/client.ts";
import { errorLine } from "./error-line.ts";

test("an error's text can't steer the terminal", () => {
  assert.equal(errorLine(new Error("no \u001b[2Jimage\u0007 \u009b31m\r")), "no \\x1b[2Jimage\\x07 \\x9b31m\\x0d");
  assert.equal(errorLine(new Error("two\nlines\tand ünïcode")), "two\nlines\tand ünïcode");
});

test("an engine that doesn't know a request is said to be another", () => {
  assert.equal(
    errorLine(new EngineError(404, "page not found")),
    "Error response from daemon: page not found: it is no engine of Gantry's, or an older one",
  );
  assert.equal(errorLine(new EngineError(404, "no such image")), "Error response from daemon: no such image");
});
