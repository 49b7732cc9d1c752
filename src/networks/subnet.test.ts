import assert from "node:assert/strict";
import { test } from "node:test";
import { AddressPool, macOf } from "./ipam.ts";
import { DEFAULT_POOLS, formatSubnet, freeSubnets, overlaps, parseSubnet } from "./subnet.ts";

const free = (taken: string[], pools = DEFAULT_POOLS) =>
  Array.from(freeSubnets(4, pools, taken.map(parseSubnet)), formatSubnet);

test("Docker's pools give 15 subnets of /16, then 16 of /20", () => {
  const all = free([]);
  assert.equal(all.length, 31);
  assert.deepEqual(
    [all[0], all[14], all[15], all[30]],
    ["172.17.0.0/16", "172.31.0.0/16", "192.168.0.0/20", "192.168.240.0/20"],
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

test("a pool gives its lowest free address, never those of network, gateway and broadcast", () => {
  const pool = new AddressPool(parseSubnet("10.0.0.0/29"), { reserved: ["10.0.0.1"] });
  pool.hold("10.0.0.3");
  pool.hold("192.0.2.1");
  assert.deepEqual(
    [pool.take(), pool.take(), pool.take(), pool.take()],
    ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"],
  );
  assert.throws(() => pool.take(), /no available IPv4 addresses/);
  pool.give("10.0.0.4");
  pool.give("10.0.0.4");
  assert.equal(pool.take(), "10.0.0.4");
  assert.equal(macOf("172.17.0.10"), "02:42:ac:11:00:0a");
});
