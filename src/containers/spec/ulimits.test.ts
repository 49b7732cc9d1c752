import assert from "node:assert/strict";
import { test } from "node:test";
import { buildUlimits, rereadUlimits } from "./ulimits.ts";

test("no limit survives being read back and written again as a 64-bit number", () => {
  const { rlimits } = buildUlimits([{ Name: "core", Soft: 7, Hard: -1 }], [], { maxOpenFiles: 1024 });
  const again = JSON.stringify(rereadUlimits(JSON.parse(JSON.stringify(rlimits))));
  const [, soft, hard] = /"soft":(\d+),"hard":(\d+)/.exec(JSON.stringify(JSON.parse(again))) ?? [];
  assert.equal(soft, "7");
  assert.ok(BigInt(hard ?? "") < 2n ** 64n && BigInt(hard ?? "") > 2n ** 63n, hard);
});
