import assert from "node:assert/strict";
import { test } from "node:test";
import { type NetworkCreateRequest, networkCreateRequest } from "../api/network-request.ts";
import { type PlanContext, planNetwork } from "./plan.ts";
import { DEFAULT_POOLS, parseSubnet } from "./subnet.ts";

const CONTEXT: PlanContext = {
  records: [],
  pools: [...DEFAULT_POOLS, { base: "fd12:3456:789a::/48", size: 64 }],
  taken: () => [],
  isThere: () => false,
};

function plan(wish: Partial<NetworkCreateRequest>, context: Partial<PlanContext> = {}) {
  return planNetwork({ ...networkCreateRequest.zero(), Name: "net", ...wish }, { ...CONTEXT, ...context });
}

const ipam = (...Config: NonNullable<NetworkCreateRequest["IPAM"]>["Config"] & object) => ({
  IPAM: { Driver: "", Options: null, Config },
});

test("a network without a word gets the first free subnet, its bridge's name comes from its id", () => {
  const { record, isChosen } = plan({});
  assert.deepEqual(record.bridge, {
    interface: `br-${record.id.slice(0, 12)}`,
    ipv4: { subnet: "172.17.0.0/16", gateway: "172.17.0.1" },
    ipv6: undefined,
  });
  assert.equal(isChosen, true);
  const next = plan({ Name: "next" }, { records: [record], taken: () => [parseSubnet("172.18.5.0/24")] });
  assert.equal(next.record.bridge?.ipv4?.subnet, "172.19.0.0/16");
  assert.equal(plan(ipam({ Subnet: "10.1.0.0/24" })).isChosen, false);
});

test("IPv6 takes unique local addresses unless told, and IPv4 can be left out", () => {
  assert.deepEqual(plan({ EnableIPv6: true }).record.bridge?.ipv6, {
    subnet: "fd12:3456:789a::/64",
    gateway: "fd12:3456:789a::1",
  });
  const six = plan({ EnableIPv4: false, EnableIPv6: true, ...ipam({ Subnet: "fd00:0::/64" }) }).record;
  assert.equal(six.bridge?.ipv4, undefined);
  assert.deepEqual(six.bridge?.ipv6, { subnet: "fd00::/64", gateway: "fd00::1" });
  // As Docker: a subnet of a family that is off means nothing.
  assert.equal(plan(ipam({ Subnet: "fd00::/64" })).record.bridge?.ipv6, undefined);
  assert.throws(() => plan({ EnableIPv4: false }), { kind: "invalid" });
  const all = parseSubnet("fc00::/7");
  assert.throws(
    () => plan({ EnableIPv6: true }, { taken: () => [all] }),
    /available, non-overlapping IPv6 address pool/,
  );
});

test("the gateway is the one asked for, else the first address of the range that is nobody's", () => {
  const gateway = (row: object, subnet = "10.1.0.0/24") =>
    plan(ipam({ Subnet: subnet, ...row })).record.bridge?.ipv4?.gateway;
  assert.equal(gateway({}), "10.1.0.1");
  assert.equal(gateway({ Gateway: "10.1.0.200" }), "10.1.0.200");
  assert.equal(gateway({ IPRange: "10.1.0.128/25" }), "10.1.0.128");
  assert.equal(gateway({ IPRange: "10.1.0.128/25", AuxiliaryAddresses: { a: "10.1.0.128" } }), "10.1.0.129");
  assert.equal(gateway({}, "10.1.0.0/31"), "10.1.0.1");
  assert.throws(() => gateway({}, "10.1.0.0/32"), /No available addresses on this pool/);
  assert.throws(() => gateway({ Gateway: "10.1.0.255" }), { kind: "forbidden" });
});

test("every kind of nonsense in a row is named with its reason", () => {
  const rows: readonly (readonly [object, RegExp])[] = [
    [{ Subnet: "" }, /^invalid network config:\ninvalid subnet : invalid CIDR block notation$/],
    [{ Subnet: "10.1.0.0" }, /invalid subnet 10\.1\.0\.0: invalid CIDR block notation/],
    [{ Subnet: "10.1.0.7/24" }, /invalid subnet 10\.1\.0\.7\/24: it should be 10\.1\.0\.0\/24/],
    [{ Subnet: "10.1.0.0/24", IPRange: "x" }, /invalid ip-range x: invalid CIDR block notation/],
    [{ Subnet: "10.1.0.0/24", IPRange: "fd00::/64" }, /invalid ip-range fd00::\/64: parent subnet is an IPv4 block/],
    [{ Subnet: "10.1.0.0/24", IPRange: "10.1.0.0/16" }, /CIDR block is bigger than its parent subnet 10\.1\.0\.0\/24/],
    [{ Subnet: "10.1.0.0/24", IPRange: "10.2.0.0/25" }, /parent subnet 10\.1\.0\.0\/24 doesn't contain ip-range/],
    [{ Subnet: "10.1.0.0/24", Gateway: "x" }, /invalid gateway x: invalid address/],
    [{ Subnet: "10.1.0.0/24", Gateway: "fd00::1" }, /invalid gateway fd00::1: parent subnet is an IPv4 block/],
    [{ Subnet: "10.1.0.0/24", AuxiliaryAddresses: { a: "10.9.9.9" } }, /invalid auxiliary address 10\.9\.9\.9: parent/],
  ];
  for (const [row, words] of rows) {
    assert.throws(
      () => plan(ipam({ Subnet: "", ...row })),
      (error: Error & { kind: string }) => {
        assert.match(error.message, words);
        return error.kind === "invalid";
      },
    );
  }
});

test("options of a bridge are read as Docker's; names that could say more to the packet filter are refused", () => {
  const bridge = "com.docker.network.bridge.";
  const named = plan({ Options: { [`${bridge}name`]: "my-bridge" } }, { isThere: (name) => name === "my-bridge" });
  assert.deepEqual([named.record.bridge?.interface, named.record.bridge?.isForeign], ["my-bridge", true]);
  assert.throws(
    () => plan({ Name: "next", Options: { [`${bridge}name`]: "my-bridge" } }, { records: [named.record] }),
    {
      kind: "forbidden",
      message: /networks have same bridge name$/,
    },
  );
  for (const name of ["sixteen-letters-", 'a"b', "a*", "a b", "..", "a/b", "{}"]) {
    assert.throws(() => plan({ Options: { [`${bridge}name`]: name } }), { kind: "invalid" }, name);
  }
  for (const mtu of ["x", "-5", "67", "65536", "1e3"]) {
    assert.throws(() => plan({ Options: { "com.docker.network.driver.mtu": mtu } }), { kind: "invalid" }, mtu);
  }
  for (const [key, value] of [
    ["enable_icc", "maybe"],
    ["host_binding_ipv4", "::1"],
  ]) {
    assert.throws(() => plan({ Options: { [`${bridge}${key}`]: value! } }), /^GantryError: failed to parse/);
  }
  assert.throws(() => plan({ Options: { [`${bridge}gateway_mode_ipv4`]: "routed" } }), { kind: "unsupported" });
  assert.deepEqual(plan({ Options: { "com.example.else": "1" } }).record.options, {
    "com.example.else": "1",
  });
});
