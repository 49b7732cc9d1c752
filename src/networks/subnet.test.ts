import assert from "node:assert/strict";
import { test } from "node:test";
import { AddressPool, macOf } from "./ipam.ts";
import {
  containsSubnet,
  DEFAULT_POOLS,
  formatSubnet,
  freeSubnets,
  overlaps,
  parseSubnet,
  type Subnet,
} from "./subnet.ts";

const free = (taken: string[], pools = DEFAULT_POOLS) =>
  Array.from(freeSubnets(4, pools, taken.map(parseSubnet)), formatSubnet);

test("the default pools give 11 subnets of /16, then 1,024 of /24, then 16 of /20", () => {
  const all = free([]);
  assert.equal(all.length, 1051);
  assert.deepEqual(
    [all[0], all[10], all[11], all[1034], all[1035], all[1050]],
    ["172.17.0.0/16", "172.27.0.0/16", "172.28.0.0/24", "172.31.255.0/24", "192.168.0.0/20", "192.168.240.0/20"],
  );
});

test("a subnet that holds, lies in or equals a taken one is left out", () => {
  assert.equal(free(["172.17.5.1/32"])[0], "172.18.0.0/16");
  assert.equal(free(["172.16.0.0/12"])[0], "192.168.0.0/20");
  assert.deepEqual(free(["0.0.0.0/0"]), []);
  assert.equal(overlaps(parseSubnet("255.255.255.0/24"), parseSubnet("255.255.255.255/32")), true);
  assert.equal(overlaps(parseSubnet("10.0.0.0/24"), parseSubnet("10.0.1.0/24")), false);
});

test("nonsense in CIDRs and pools is refused", () => {
  for (const bad of [
    "10.0.0.0",
    "10.0.0.0/33",
    "10.0.0/8",
    "10.0.0.0/-1",
    "10.0.0.0/8/8x",
    "::/129",
    "fe80::1%eth0/64",
    "",
  ]) {
    assert.throws(() => parseSubnet(bad), { kind: "invalid" }, bad);
  }
  for (const size of [7, 31, 9.5]) {
    assert.throws(() => free([], [{ base: "10.0.0.0/8", size }]), { kind: "invalid" });
  }
});

const pool = (cidr: string, more: object = {}) =>
  new AddressPool(parseSubnet(cidr), { network: "net (abc)", reserved: ["10.0.0.1"], ...more });

test("a pool goes round: what was given back comes last, never network, gateway and broadcast", () => {
  const small = pool("10.0.0.0/29");
  small.hold("192.0.2.1");
  assert.deepEqual([small.take("a"), small.take("b"), small.take("c")], ["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
  small.give("10.0.0.2", "a");
  small.give("10.0.0.2", "a");
  assert.deepEqual([small.take("d"), small.take("e"), small.take("f")], ["10.0.0.5", "10.0.0.6", "10.0.0.2"]);
  assert.throws(() => small.take("g"), /^GantryError: no available IPv4 addresses .* pools: net \(abc\)$/);
  small.give("10.0.0.3", "b");
  assert.equal(small.take("g"), "10.0.0.3");
  assert.equal(macOf("172.17.0.10"), "02:42:ac:11:00:0a");
});

test("who comes back gets the address it had, unless another has it by now", () => {
  const roomy = pool("10.0.0.0/24");
  assert.equal(roomy.take("a"), "10.0.0.2");
  roomy.give("10.0.0.2", "a");
  assert.equal(roomy.take("b"), "10.0.0.3");
  assert.equal(roomy.take("a"), "10.0.0.2");
  roomy.give("10.0.0.2", "a");
  assert.equal(roomy.claim("10.0.0.2"), "10.0.0.2");
  assert.equal(roomy.take("a"), "10.0.0.4");
});

test("a pool that takes over from another goes on after the highest that is held, inside its range", () => {
  const ranged = pool("10.0.0.0/24", { range: parseSubnet("10.0.0.128/29") });
  ranged.hold("10.0.0.131");
  ranged.hold("10.0.0.200");
  assert.equal(ranged.take("a"), "10.0.0.132");
  for (const owner of ["b", "c", "d"]) ranged.take(owner);
  assert.equal(ranged.take("e"), "10.0.0.128");
  assert.throws(() => ranged.claim("10.0.0.200"), { message: "Address already in use" });
});

test("the default pools have room for a thousand networks in Docker's own ranges", () => {
  const taken: Subnet[] = [];
  for (let count = 0; count < 1_000; count++) {
    const [first] = freeSubnets(4, DEFAULT_POOLS, taken);
    assert.ok(first !== undefined && !taken.some((other) => overlaps(other, first)), `network ${count}`);
    taken.push(first);
  }
  const ranges = ["172.16.0.0/12", "192.168.0.0/16"].map(parseSubnet);
  assert.ok(taken.every((subnet) => ranges.some((range) => containsSubnet(range, subnet))));
  assert.deepEqual(taken.slice(0, 12).map(formatSubnet).slice(-2), ["172.27.0.0/16", "172.28.0.0/24"]);
});

test("free subnets go past what is taken, be it larger, smaller or in pieces that overlap each other", () => {
  const pools = [{ base: "10.0.0.0/20", size: 24 }];
  const taken = ["10.0.1.0/24", "10.0.1.128/25", "10.0.2.9/32", "10.0.4.0/22", "10.0.5.0/24", "fd00::/8", "9.0.0.0/8"];
  const found = [...freeSubnets(4, pools, taken.map(parseSubnet))].map(formatSubnet);
  const wanted = [0, 3, 8, 9, 10, 11, 12, 13, 14, 15].map((part) => `10.0.${part}.0/24`);
  assert.deepEqual(found, wanted);
  assert.deepEqual([...freeSubnets(4, pools, [parseSubnet("0.0.0.0/1")])], []);
});
