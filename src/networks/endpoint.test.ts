import assert from "node:assert/strict";
import { test } from "node:test";
import type { EndpointSettings } from "../api/container.ts";
import { networkCreateRequest } from "../api/network-request.ts";
import { checkSettings } from "./endpoint.ts";
import { planNetwork } from "./plan.ts";

const recordOf = (EnableIPv6: boolean) =>
  planNetwork(
    { ...networkCreateRequest.zero(), Name: "net", EnableIPv6 },
    { records: [], pools: POOLS, taken: () => [], isThere: () => false },
  ).record;
const POOLS = [
  { base: "10.0.0.0/8", size: 24 },
  { base: "fd00:1::/48", size: 64 },
];

const check =
  (settings: Partial<EndpointSettings>, hasIPv6 = true) =>
  () =>
    checkSettings(recordOf(hasIPv6), settings);
const linkLocal = (...LinkLocalIPs: string[]) => ({ IPAMConfig: { LinkLocalIPs } });
const sysctls = (text: string) => ({ DriverOpts: { "com.docker.network.endpoint.sysctls": text } });

test("an address beside its own that no interface can have is refused, and one that comes twice", () => {
  check(linkLocal("169.254.5.5", "fe80::77", "57.123.22.11"))();
  for (const text of ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "::", "::1", "ff02::1", "fe80::1%eth0"]) {
    assert.throws(check(linkLocal(text)), { kind: "invalid", message: `invalid link-local IP address: ${text}` });
  }
  assert.throws(check(linkLocal("fe80::7", "fe80:0::7")), { kind: "invalid" });
  const many = Array.from({ length: 65 }, (_, n) => `169.254.1.${n}`);
  assert.throws(check(linkLocal(...many)), { kind: "invalid", message: /64 at most/ });
});

test("a hardware address that no interface can have is refused", () => {
  check({ MacAddress: "02:42:0A:46:00:09" })();
  for (const MacAddress of ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:42:0a:46:00"]) {
    assert.throws(check({ MacAddress }), { kind: "invalid" }, MacAddress);
  }
});

test("IPv6 is turned off where the network has none, and settings come to an end", () => {
  const off = sysctls("net.ipv6.conf.IFNAME.disable_ipv6=1");
  check(off, false)();
  check(sysctls("net.ipv6.conf.IFNAME.disable_ipv6=0"))();
  assert.throws(check(off), { kind: "invalid", message: /the network net gives it IPv6$/ });
  const many = Array.from({ length: 129 }, () => "net.ipv4.conf.IFNAME.log_martians=1").join(",");
  assert.throws(check(sysctls(many)), { kind: "invalid", message: /128 at most/ });
});
