import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSignal } from "./signal.ts";

for (const [text, number] of [
  ["9", 9],
  ["KILL", 9],
  ["SIGKILL", 9],
  ["sigterm", 15],
  ["Hup", 1],
  ["CLD", 17],
  ["RTMIN", 34],
  ["SIGRTMIN+3", 37],
  ["rtmax-1", 63],
  ["RTMAX", 64],
  ["64", 64],
] as const) {
  test(`${text} is signal ${number}`, () => assert.equal(parseSignal(text), number));
}

for (const text of ["", "0", "-9", "65", "9.5", "SIG", "SIGFOO", "RTMIN-1", "RTMIN+31", "RTMAX+1", "constructor"]) {
  test(`${JSON.stringify(text)} is no signal`, () => {
    assert.throws(() => parseSignal(text), { kind: "invalid", message: `invalid signal: ${text}` });
  });
}
