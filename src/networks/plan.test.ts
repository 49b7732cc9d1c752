import assert from "node:assert/strict";
import { test } from "node:test";
import { type NetworkCreateRequest, networkCreateRequest } from "../api/network-request.ts";
import { readBridgeOptions } from "./bridge-options.ts";
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

test("an auxiliary address that nobody can have, or that two have, is refused", () => {
  const taken = (AuxiliaryAddresses: Record<string, string>, Gateway = "10.1.0.9") =>
    assert.throws(() => plan(ipam({ Subnet: "10.1.0.0/24", Gateway, AuxiliaryAddresses })), {
      kind: "forbidden",
      message: /^failed to allocate secondary ip address \(b:[0-9.]+\): Address already in use$/,
    });
  taken({ a: "10.1.0.5", b: "10.1.0.5" });
  taken({ b: "10.1.0.0" });
  taken({ b: "10.1.0.255" });
  taken({ b: "10.1.0.9" });
});

test("every kind of nonsense in a row is named with its reason", () => {
  const rows: readonly (readonly [object, RegExp])[] = [
    [{ Subnet: "" }, /^invalid network config:\ninvalid subnet : invalid CIDR block notation$/],
    [
      { Subnet: "127.5.0.0/16" },
      /invalid subnet 127\.5\.0\.0\/16: containers can have no addresses of 127\.0\.0\.0\/8/,
    ],
    [{ Subnet: "239.0.0.0/24" }, /no addresses of 224\.0\.0\.0\/4/],
    [{ Subnet: "0.0.0.0/0" }, /no addresses of 127\.0\.0\.0\/8/],
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
  for (const name of ["sixteen-letters-", 'a"b', "a*", "a b", "..", "a/b", "{}", "all", "default"]) {
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
  assert.throws(() => plan({ Options: { [`${bridge}gateway_mode_ipv4`]: "sideways" } }), { kind: "invalid" });
  assert.throws(
    () => plan({ Options: { [`${bridge}gateway_mode_ipv6`]: "isolated" } }),
    /only be used for an internal/,
  );
  const trusted = (names: string) => ({ [`${bridge}trusted_host_interfaces`]: names });
  assert.throws(() => plan({ Options: trusted("eth0:a b") }), { kind: "invalid" });
  assert.throws(() => plan({ Options: trusted(Array.from({ length: 257 }, (_, n) => `eth${n}`).join(":")) }), {
    kind: "invalid",
  });
  // An element of the packet filter can't be deleted twice.
  assert.deepEqual(readBridgeOptions(trusted("eth0:eth1:eth0"), false).trustedInterfaces, ["eth0", "eth1"]);
});

test("what IPv6 can't have is refused: its links' own addresses, IPv4's, and packets below its least", () => {
  const six = (Subnet: string, Options = {}) => plan({ ...ipam({ Subnet }), EnableIPv6: true, Options });
  for (const subnet of ["fe80::/64", "fe80:1::/64", "::ffff:10.1.0.0/120", "::ffff:0:0/96"]) {
    assert.throws(() => six(subnet), /containers can have no addresses of (fe80::\/10|::ffff:0:0\/96)/, subnet);
  }
  const mtu = (text: string) => ({ "com.docker.network.driver.mtu": text });
  assert.throws(() => six("fd00:1::/64", mtu("1279")), { kind: "invalid", message: /IPv6 needs 1280/ });
  assert.equal(six("fd00:1::/64", mtu("1280")).record.bridge?.ipv6?.subnet, "fd00:1::/64");
});

test("more subnets than anybody has are not even looked at", () => {
  const Config = Array.from({ length: 257 }, (_, n) => ({ Subnet: `10.${n % 256}.0.0/24` }));
  const IPAM = { Driver: "default", Options: null, Config };
  assert.throws(() => plan({ Driver: "macvlan", IPAM }), { kind: "invalid", message: /256 subnets at most/ });
});

test("an option that nobody knows is refused with the names of those there are", () => {
  const wrong = (wish: Partial<NetworkCreateRequest>, words: RegExp) =>
    assert.throws(
      () => plan(wish),
      (error: Error & { kind: string }) => {
        assert.match(error.message, words);
        return error.kind === "invalid";
      },
    );
  wrong(
    { Options: { "com.docker.network.bridge.enable_iccc": "1" } },
    /^unknown option .* of the bridge driver: it has /,
  );
  wrong({ Options: { parent: "eth0" } }, /unknown option "parent" of the bridge driver/);
  wrong({ Driver: "macvlan", Options: { ipvlan_mode: "l2" } }, /of the macvlan driver: it has parent, macvlan_mode/);
  wrong({ Driver: "ipvlan", Options: { macvlan_mode: "vepa" } }, /of the ipvlan driver: .*ipvlan_flag/);
  wrong({ IPAM: { Driver: "", Options: { serial: "1" }, Config: [] } }, /of the IPAM driver default: it has none/);
  // What minikube and Compose say without meaning it.
  const options = { "--icc": "", "--ip-masq": "", "com.docker.compose.project": "p" };
  assert.deepEqual(plan({ Options: options }).record.options, options);
});

const shared = (driver: string, options: Record<string, string>, wish: Partial<NetworkCreateRequest> = {}) =>
  plan({ Driver: driver, Options: options, ...wish });

test("a macvlan takes several subnets of each family, and the engine's choice where there are none", () => {
  const rows = ipam(
    { Subnet: "10.1.0.0/24", Gateway: "10.1.0.254" },
    { Subnet: "10.2.0.0/24", AuxiliaryAddresses: { router: "10.2.0.1" } },
    { Subnet: "fd00:1::/64" },
  );
  const { record, isChosen } = shared("macvlan", { parent: "eth0.10" }, { EnableIPv6: true, ...rows });
  assert.equal(isChosen, false);
  assert.equal(record.bridge, undefined);
  assert.deepEqual(record.shared, {
    parent: "eth0.10",
    isAlone: false,
    ipv4: [
      { subnet: "10.1.0.0/24", gateway: "10.1.0.254" },
      { subnet: "10.2.0.0/24", gateway: "10.2.0.2", reserved: ["10.2.0.1"] },
    ],
    ipv6: [{ subnet: "fd00:1::/64", gateway: "fd00:1::1" }],
  });
  const alone = shared("macvlan", {}).record;
  assert.equal(alone.shared?.parent, `dm-${alone.id.slice(0, 12)}`);
  assert.deepEqual(alone.shared?.ipv4, [{ subnet: "172.17.0.0/16", gateway: "172.17.0.1" }]);
  const without = shared("macvlan", { parent: "eth0" }, { IPAM: { Driver: "null", Options: null, Config: [] } }).record;
  assert.deepEqual([without.shared?.ipv4, without.ipam.driver], [[], "null"]);
});

test("what a macvlan or ipvlan can't be is refused, mostly in Docker's words", () => {
  const first = shared("macvlan", { parent: "eth0" }, { Name: "first" }).record;
  const layer2 = shared("ipvlan", { parent: "eth1" }, { Name: "layer2" }).record;
  const through = shared("macvlan", { parent: "eth2", macvlan_mode: "passthru" }, { Name: "through" }).record;
  const rows: readonly (readonly [RegExp, string, Record<string, string>, Partial<NetworkCreateRequest>?])[] = [
    [/macvlan mode 'x' is not valid, 'bridge' mode is the/, "macvlan", { macvlan_mode: "x" }],
    [/ipvlan mode 'l4' is not valid, 'l2' mode is the/, "ipvlan", { ipvlan_mode: "l4" }],
    [/ipvlan flag 'x' is not valid/, "ipvlan", { ipvlan_flag: "x" }],
    [/loopback interface is not a valid macvlan parent link/, "macvlan", { parent: "lo" }],
    [/invalid parent interface "a b"/, "macvlan", { parent: "a b" }],
    [
      /cannot use mode passthru, macvlan network first is already/,
      "macvlan",
      { parent: "eth0", macvlan_mode: "passthru" },
    ],
    [/network through is already using parent interface eth2 in mode passthru/, "macvlan", { parent: "eth2" }],
    [/macvlan network first is already using parent interface eth0/, "ipvlan", { parent: "eth0" }],
    [/ipvlan network layer2 is already using .* in mode l2/, "ipvlan", { parent: "eth1", ipvlan_mode: "l3" }],
    [
      /Pool overlaps with other one on this address space: 172\.17\.5\.0\/24 and 172\.17\.0\.0\/16 of the network first$/,
      "macvlan",
      { parent: "eth9" },
      ipam({ Subnet: "172.17.5.0/24" }),
    ],
    [
      /Pool overlaps with other one on this address space: 10\.9\.1\.0\/24 and 10\.9\.0\.0\/16$/,
      "macvlan",
      { parent: "eth9" },
      ipam({ Subnet: "10.9.0.0/16" }, { Subnet: "10.9.1.0/24" }),
    ],
    [/invalid MTU number: 3/, "macvlan", { "com.docker.network.driver.mtu": "3" }],
    [/needs addresses/, "ipvlan", { ipvlan_mode: "l3" }, { IPAM: { Driver: "null", Options: null, Config: [] } }],
    [
      /null ipam driver does not handle/,
      "macvlan",
      {},
      { IPAM: { Driver: "null", Options: null, Config: [{ Subnet: "10.1.0.0/24" }] } },
    ],
  ];
  for (const [words, driver, options, wish] of rows) {
    const wanted = { Driver: driver, Options: options, ...wish };
    assert.throws(() => plan(wanted, { records: [first, layer2, through] }), { message: words }, String(words));
  }
  const second = plan({ Driver: "macvlan", Options: { parent: "eth0" } }, { records: [first] }).record;
  assert.equal(second.shared?.parent, "eth0", "networks may share a parent");
  assert.throws(() => plan({ IPAM: { Driver: "null", Options: null, Config: [] } }), { message: "ipv4 pool is empty" });
});

test("a subnet that hides what the host reaches is made with a warning; without one it is avoided", () => {
  const taken = () => [parseSubnet("10.8.0.0/16")];
  assert.match(plan(ipam({ Subnet: "10.8.3.0/24" }), { taken }).warning, /10\.8\.3\.0\/24 overlaps 10\.8\.0\.0\/16/);
  assert.equal(plan(ipam({ Subnet: "10.9.3.0/24" }), { taken }).warning, "");
  assert.equal(plan({}, { taken }).warning, "");
  const all = () => [parseSubnet("172.16.0.0/12"), parseSubnet("192.168.0.0/16")];
  assert.throws(
    () => plan({}, { taken: all }),
    /^GantryError: all predefined address pools have been fully subnetted: name/,
  );
});
