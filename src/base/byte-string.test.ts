import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { bytesToName, nameToBytes } from "./byte-string.ts";

it("gives any bytes back as they were", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      assert.deepEqual(nameToBytes(bytesToName(Buffer.from(bytes))), Buffer.from(bytes));
    }),
  );
});

it("leaves text as text, also text that holds the replacement character", () => {
  for (const text of ["a", "é😀", "x\ufffdy"]) assert.equal(bytesToName(Buffer.from(text)), text);
  assert.equal(bytesToName(Buffer.from([0x61, 0xff, 0x62])), "a\udcffb");
});
