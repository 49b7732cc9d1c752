import assert from "node:assert/strict";
import { test } from "node:test";
import { findClashes } from "./clash.ts";

test("a clash is a foreign link's route or address in a network's subnet, or around it, told once", () => {
  const own = [
    { networkId: "a", subnet: "10.5.0.0/16", index: 7 },
    { networkId: "a", subnet: "fd05::/64", index: 7 },
    { networkId: "b", subnet: "10.6.0.0/16", index: 8 },
  ];
  const rows: readonly (readonly [string, number, readonly string[]])[] = [
    ["10.5.3.0/24", 9, ["a 10.5.0.0/16 10.5.3.0/24"]],
    ["10.5.3.7/24", 9, ["a 10.5.0.0/16 10.5.3.0/24"]],
    ["10.5.3.7/32", 9, ["a 10.5.0.0/16 10.5.3.7/32"]],
    ["10.0.0.0/8", 9, ["a 10.5.0.0/16 10.0.0.0/8", "b 10.6.0.0/16 10.0.0.0/8"]],
    ["fd00::/8", 9, ["a fd05::/64 fd00::/8"]],
    ["10.7.0.0/16", 9, []],
    ["10.5.0.0/16", 7, []],
    ["10.5.0.0/16", 8, []],
    ["10.0.0.0/8", 0, []],
    ["default", 9, []],
    ["0.0.0.0/1", 9, []],
    ["2000::/3", 9, []],
    ["fe80::/64", 9, []],
  ];
  for (const [destination, index, wanted] of rows) {
    const found = findClashes(own, [
      { destination, index },
      { destination, index },
    ]);
    const shown = found.map(({ networkId, subnet, other }) => `${networkId} ${subnet} ${other}`);
    assert.deepEqual(shown, wanted, `${destination} by ${index}`);
  }
});
