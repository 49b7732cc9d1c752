import assert from "node:assert/strict";
import { test } from "node:test";
import { whyNotPulled } from "./pull-answer.ts";

test("a refused pull is told whole, with the quotation marks in it", () => {
  const text =
    '{"message":"Get \\"https://registry.example/v2/\\": dial tcp: lookup registry.example: no such host"}\n';
  assert.equal(
    whyNotPulled({ status: 500, text }),
    'Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host',
  );
  assert.equal(whyNotPulled({ status: 502, text: "" }), "the engine answered with 502");
});

test("a pull that fails half-way is told apart from one that is done", () => {
  const begun = '{"status":"Pulling from library/debian","id":"12"}\r\n';
  const failed = '{"errorDetail":{"message":"layer \\"a\\" is wrong"},"error":"layer \\"a\\" is wrong"}\r\n';
  assert.equal(whyNotPulled({ status: 200, text: begun + failed }), 'layer "a" is wrong');
  assert.equal(
    whyNotPulled({ status: 200, text: `${begun}{"status":"Status: Downloaded newer image"}\r\n` }),
    undefined,
  );
});
