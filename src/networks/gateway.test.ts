import assert from "node:assert/strict";
import { test } from "node:test";
import { gatewayOf, inGatewayOrder } from "./gateway.ts";
import { type NetworkRecord, newNetwork } from "./record.ts";

function on(name: string, network: Partial<NetworkRecord> = {}, GwPriority = 0) {
  return { network: { ...newNetwork(name, "bridge"), ...network }, settings: { GwPriority } };
}

const nameOf = (found: { network: NetworkRecord } | undefined) => found?.network.name;

test("the highest priority leads out, then both families, then the first name", () => {
  const [b, a, both, first] = [on("b"), on("a"), on("z", { enableIPv6: true }), on("y", {}, 3)];
  assert.equal(nameOf(gatewayOf([b, a], 4)), "a");
  assert.equal(nameOf(gatewayOf([b, a, both], 4)), "z");
  assert.equal(nameOf(gatewayOf([b, a, both, first], 4)), "y");
  assert.equal(nameOf(gatewayOf([b, a, on("c", {}, -1)], 4)), "a");
  assert.deepEqual(inGatewayOrder([b, a, both, first]).map(nameOf), ["y", "z", "a", "b"]);
});

test("what leads nowhere is no gateway, each family has its own", () => {
  const inner = on("a", { internal: true }, 9);
  const six = on("six", { enableIPv4: false, enableIPv6: true }, 5);
  assert.equal(gatewayOf([inner, on("none", { driver: "null" })], 4), undefined);
  assert.equal(nameOf(gatewayOf([inner, six, on("b")], 4)), "b");
  assert.equal(nameOf(gatewayOf([inner, six, on("b")], 6)), "six");
});
