import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { hostResolvConf, upstreamsOf } from "./host-dns.ts";

test("a resolv.conf is read as the resolver reads it, without what is no address", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-resolv-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "resolv.conf");
  writeFileSync(
    path,
    [
      "# nameserver 192.0.2.1",
      "; nameserver 192.0.2.2",
      "nameserver",
      "nameserver dns.example",
      "nameserver 192.0.2.3 # after",
      "  nameserver\t2001:db8::3",
      "nameserver fe80::1%eth0",
      "domain old.example",
      "search a.example b.example",
      "options ndots:2 rotate",
      "options edns0",
    ].join("\n"),
  );
  assert.deepEqual(hostResolvConf(path), {
    servers: ["192.0.2.3", "2001:db8::3", "fe80::1%eth0"],
    search: ["a.example", "b.example"],
    options: ["ndots:2", "rotate", "edns0"],
  });
  assert.deepEqual(hostResolvConf(join(folder, "nowhere")).servers, []);
});

test("servers are asked from where they are to be had, in their order", () => {
  const rows: readonly (readonly [readonly string[], readonly string[], boolean, readonly string[]])[] = [
    [[], ["192.0.2.1", "192.0.2.2"], false, ["192.0.2.1 inside", "192.0.2.2 inside"]],
    // systemd-resolved, dnsmasq: the host's own.
    [[], ["127.0.0.53"], false, ["127.0.0.53 host"]],
    [[], ["::1", "192.0.2.1"], true, ["::1 host", "192.0.2.1 inside"]],
    [[], ["fe80::1%eth0"], true, ["fe80::1%eth0 host"]],
    [[], ["2001:db8::1"], true, ["2001:db8::1 inside"]],
    [[], ["2001:db8::1"], false, ["2001:db8::1 host"]],
    // The user's choice is the container's.
    [["127.0.0.1"], ["192.0.2.1"], false, ["127.0.0.1 inside"]],
    [["10.0.0.5", "2001:db8::1"], [], false, ["10.0.0.5 inside", "2001:db8::1 host"]],
    [[], [], false, ["8.8.8.8 inside", "8.8.4.4 inside"]],
  ];
  for (const [chosen, host, hasIPv6, wanted] of rows) {
    const found = upstreamsOf(chosen, host, hasIPv6).map(
      ({ address, isInside }) => `${address} ${isInside ? "inside" : "host"}`,
    );
    assert.deepEqual(found, wanted);
  }
});
