import assert from "node:assert/strict";
import { test } from "node:test";
import { goJsonError } from "./go-json-error.ts";

const VECTORS: readonly (readonly [string, string | undefined])[] = [
  ['{"a":[1,-2.5e3,true,null,"\\u00e9"]}', undefined],
  ["{} x", undefined],
  ["{", "unexpected EOF"],
  ['{"a":}', "invalid character '}' looking for beginning of value"],
  ["{x", "invalid character 'x' looking for beginning of object key string"],
  ['{"a" 1}', "invalid character '1' after object key"],
  ['{"a":1 "b"}', "invalid character '\"' after object key:value pair"],
  ["[1 2]", "invalid character '2' after array element"],
  ["[1,]", "invalid character ']' looking for beginning of value"],
  ['"a\nb"', "invalid character '\\n' in string literal"],
  ['"\\q"', "invalid character 'q' in string escape code"],
  ['"\\u12g"', "invalid character 'g' in \\u hexadecimal character escape"],
  ["trux", "invalid character 'x' in literal true (expecting 'e')"],
  ["-x", "invalid character 'x' in numeric literal"],
  ["[1.]", "invalid character ']' after decimal point in numeric literal"],
  ["[1e]", "invalid character ']' in exponent of numeric literal"],
  ["[".repeat(20_000), "exceeded max depth"],
];

for (const [text, expected] of VECTORS) {
  test(`${text.slice(0, 30)} is told of as by Go: ${expected ?? "nothing is wrong"}`, () => {
    assert.equal(goJsonError(text), expected);
  });
}
