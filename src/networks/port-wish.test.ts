import assert from "node:assert/strict";
import { test } from "node:test";
import { readPortRequest } from "./port-wish.ts";

const read = (HostIp: string, HostPort: string, key = "80/tcp") =>
  readPortRequest({ bindings: { [key]: [{ HostIp, HostPort }] }, exposed: [], publishAll: false }, "").wishes[0];

test("every form of a binding is read", () => {
  const rows: [string, string, string[], string[], readonly number[] | undefined][] = [
    ["", "", ["0.0.0.0"], ["::"], undefined],
    ["", "0", ["0.0.0.0"], ["::"], undefined],
    ["", "8080", ["0.0.0.0"], ["::"], [8080, 8080]],
    ["0.0.0.0", "8080", ["0.0.0.0"], [], [8080, 8080]],
    ["::", "8080", ["::"], [], [8080, 8080]],
    ["[::1]", "8000-8010", ["::1"], [], [8000, 8010]],
    ["127.0.0.1", "65535", ["127.0.0.1"], [], [65535, 65535]],
    // The packet filter and the books know an address by one writing.
    ["::0", "80", ["::"], [], [80, 80]],
    ["[0:0:0:0:0:0:0:1]", "80", ["::1"], [], [80, 80]],
    ["FD09::0:1", "80", ["fd09::1"], [], [80, 80]],
    ["::ffff:127.0.0.1", "80", ["127.0.0.1"], [], [80, 80]],
    ["::FFFF:0:0", "80", ["0.0.0.0"], [], [80, 80]],
  ];
  for (const [ip, port, hostIps, optionalIps, range] of rows) {
    const wish = read(ip, port);
    assert.deepEqual([wish?.hostIps, wish?.optionalIps, wish?.range], [hostIps, optionalIps, range], `${ip} ${port}`);
  }
  assert.deepEqual(
    [read("", "1", "53/udp")?.protocol, read("", "1", "9/SCTP")?.protocol, read("", "1", "9")?.key],
    ["udp", "sctp", "9/tcp"],
  );
});

test("what is no port or address is refused", () => {
  for (const port of ["65536", "-1", "80-", "-80", "90-80", "1-2-3", "x", "0-5", "1e3", " 80"]) {
    assert.throws(() => read("", port), { kind: "invalid" }, port);
  }
  for (const ip of ["localhost", "1.2.3", "fe80::1%eth0", "0.0.0.0 }; drop", "[1.2.3.4"]) {
    assert.throws(() => read(ip, "80"), { kind: "invalid" }, ip);
  }
  for (const key of ["0/tcp", "80/icmp", "80/", "x/tcp", "/tcp", "70000/udp"]) {
    assert.throws(() => read("", "80", key), { kind: "invalid" }, key);
  }
});
