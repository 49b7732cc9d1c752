import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type DefaultAddressSettings, readAddressWishes } from "./default-addresses.ts";
import { formatSubnet } from "./subnet.ts";

/** Own address, range and router of both families, as text. */
function wishOf(settings: DefaultAddressSettings): string[] {
  const { ipv4, ipv6 } = readAddressWishes(settings);
  return [ipv4, ipv6].map((wish) => {
    if (wish === undefined) return "none";
    const own = wish.own && `${wish.own.gateway} of ${formatSubnet(wish.own.subnet)}`;
    return `${own ?? "any"}, range ${wish.range ? formatSubnet(wish.range) : "all"}, router ${wish.router ?? "own"}`;
  });
}

describe("what the configuration says of the default bridge's addresses", () => {
  test("is read for each family, host bits and spelling aside", () => {
    assert.deepEqual(wishOf({}), ["any, range all, router own", "none"]);
    assert.deepEqual(wishOf({ ipv6: true, bip: "", fixedCidr6: "" })[1], "any, range all, router own");
    assert.deepEqual(
      wishOf({
        bip: "10.1.0.5/16",
        fixedCidr: "10.1.4.7/24",
        defaultGateway: "10.1.0.9",
        ipv6: true,
        bip6: "FD00:0::0001/64",
        fixedCidr6: "fd00::1:0/112",
        defaultGateway6: "fd00::00ff",
      }),
      [
        "10.1.0.5 of 10.1.0.0/16, range 10.1.4.0/24, router 10.1.0.9",
        "fd00::1 of fd00::/64, range fd00::1:0/112, router fd00::ff",
      ],
    );
    assert.deepEqual(
      wishOf({ bip: "10.1.0.5/16", defaultGateway: "10.1.0.5" })[0],
      "10.1.0.5 of 10.1.0.0/16, range all, router own",
    );
    assert.deepEqual(
      wishOf({ fixedCidr: "10.1.4.0/24", defaultGateway: "10.9.9.9" })[0],
      "any, range 10.1.4.0/24, router 10.9.9.9",
    );
  });

  const REFUSED: readonly (readonly [DefaultAddressSettings, string])[] = [
    [{ bip: "10.1.0.0/24" }, "invalid --bip 10.1.0.0/24: not an address of a host in 10.1.0.0/24"],
    [{ bip: "10.1.0.255/24" }, "invalid --bip 10.1.0.255/24: not an address of a host in 10.1.0.0/24"],
    [{ bip: "10.1.0.1/31" }, "invalid --bip 10.1.0.1/31: not an address of a host in 10.1.0.0/31"],
    [{ bip: "fd00::1/64" }, "invalid --bip fd00::1/64: it is not of IPv4"],
    [{ bip: "x" }, "invalid --bip x: invalid CIDR address: x"],
    [{ fixedCidr: "10.1.0.0" }, "invalid --fixed-cidr 10.1.0.0: invalid CIDR address: 10.1.0.0"],
    [
      { fixedCidr: "10.1.0.0/31" },
      "invalid --fixed-cidr 10.1.0.0/31: too small for a network of its own: give a larger one by --bip",
    ],
    [
      { bip: "10.1.0.1/24", fixedCidr: "10.1.0.0/16" },
      "invalid --fixed-cidr 10.1.0.0/16: it does not lie in 10.1.0.0/24, the subnet of --bip",
    ],
    [
      { bip: "10.1.0.1/24", defaultGateway: "10.2.0.1" },
      "invalid --default-gateway 10.2.0.1: it does not lie in 10.1.0.0/24, the default network's subnet: give another by --bip or --fixed-cidr",
    ],
    [
      { bip: "10.1.0.1/24", defaultGateway: "10.1.0.255" },
      "invalid --default-gateway 10.1.0.255: not an address of a host in 10.1.0.0/24",
    ],
    [{ defaultGateway: "gate" }, "invalid --default-gateway gate: invalid IP address: gate"],
    [{ bip6: "fd00::1/64" }, "invalid --bip6 fd00::1/64: the default network has no IPv6 without --ipv6"],
    [{ fixedCidr6: "fd00::/64" }, "invalid --fixed-cidr-v6 fd00::/64: the default network has no IPv6 without --ipv6"],
    [{ ipv6: true, bip6: "fd00::/64" }, "invalid --bip6 fd00::/64: not an address of a host in fd00::/64"],
    [{ ipv6: true, bip6: "10.0.0.1/8" }, "invalid --bip6 10.0.0.1/8: it is not of IPv6"],
    [{ ipv6: true, defaultGateway6: "10.0.0.1" }, "invalid --default-gateway-v6 10.0.0.1: it is not of IPv6"],
  ];
  for (const [settings, message] of REFUSED) {
    test(`is refused in a sentence: ${message}`, () => {
      assert.throws(() => readAddressWishes(settings), { kind: "invalid", message });
    });
  }
});
