import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createNetns, inNetns, removeNetns } from "./namespace.ts";
import { addressBytes, addressText } from "./netlink/address.ts";
import { createSharingRequest, createVlanRequest } from "./netlink/link.ts";
import { decodeAttributes, readText } from "./netlink/message.ts";
import { Netlink } from "./netlink.ts";
import { enterPrivateHost } from "./private-host.fixture.ts";

enterPrivateHost();

test("addresses go to bytes and back in their shortest form", () => {
  const forms = ["0.0.0.0", "192.0.2.255", "::", "::1", "2001:db8::1:0:0:1", "fe80::1", "2001:db8:1:2:3:4:5:6"];
  for (const form of forms) assert.equal(addressText(addressBytes(form)), form);
  assert.equal(addressBytes("::ffff:1.2.3.4").toString("hex"), "00000000000000000000ffff01020304");
  for (const bad of ["", "1.2.3", "1.2.3.4/8", "fe80::1%eth0", "x"]) {
    assert.throws(() => addressBytes(bad), { kind: "invalid" });
  }
});

test("a bridge is made with its hardware address, changed and deleted", () => {
  using netlink = new Netlink();
  netlink.createBridge("br-a", { mac: "02:42:01:02:03:04", mtu: 1400 });
  netlink.changeLink("br-a", { up: true, alias: "words of mine" });
  const made = netlink.links().find(({ name }) => name === "br-a");
  assert.deepEqual(
    { ...made, index: 0 },
    {
      index: 0,
      name: "br-a",
      kind: "bridge",
      up: true,
      mtu: 1400,
      mac: "02:42:01:02:03:04",
      master: 0,
      parent: 0,
      parentIsElsewhere: false,
      group: 0,
      alias: "words of mine",
    },
  );
  assert.deepEqual(netlink.link("br-a"), made);
  assert.equal(netlink.link("br-none"), undefined);
  assert.throws(() => netlink.createBridge("br-a"), { code: "EEXIST", syscall: "netlink" });
  netlink.deleteLink("br-a");
  assert.throws(() => netlink.deleteLink("br-a"), { code: "ENODEV" });
  assert.ok(!netlink.links().some(({ name }) => name === "br-a"));
});

test("a veth's peer is born in its namespace, and both carry IPv4 and IPv6 addresses, routes and neighbours", () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-netlink-"));
  const path = join(folder, "ns");
  createNetns(path);
  using netlink = new Netlink();
  netlink.createBridge("br-b");
  const bridge = netlink.links().find(({ name }) => name === "br-b");
  const netnsFd = openSync(path, "r");
  const peer = { name: "eth0", mac: "02:42:0a:00:00:02", netnsFd };
  netlink.createVeth({ name: "near", mtu: 1300, master: bridge?.index, peer });
  closeSync(netnsFd);
  netlink.setBridgePort("near", { hairpin: true, isolated: true });
  const near = netlink.links().find(({ name }) => name === "near");
  assert.deepEqual([near?.kind, near?.up, near?.mtu, near?.master], ["veth", true, 1300, bridge?.index]);

  {
    using inside = inNetns(path, () => new Netlink());
    const eth0 = inside.links().find(({ name }) => name === "eth0");
    assert.deepEqual([eth0?.mac, eth0?.mtu, eth0?.up], ["02:42:0a:00:00:02", 1300, false]);
    const index = eth0?.index ?? 0;
    inside.configureLink(
      index,
      [
        { address: "10.0.0.2", prefix: 24 },
        { address: "fd00::2", prefix: 64 },
      ],
      [{ destination: "default", gateway: "10.0.0.1" }],
    );
    inside.addRoute({ destination: "default", gateway: "fd00::1", index });
    inside.addRoute({ destination: "192.0.2.0/24", index });
    inside.addNeighbour({ index, address: "10.0.0.9", mac: "02:00:00:00:00:09" });
    const own = inside.addresses().filter((row) => row.index === index && !row.address.startsWith("fe80"));
    assert.deepEqual(
      own.map(({ address, prefix }) => `${address}/${prefix}`),
      ["10.0.0.2/24", "fd00::2/64"],
    );
    const main = inside.routes().filter(({ table }) => table === 254);
    const shown = main.map(({ family, destination, gateway }) => `${family} ${destination} ${gateway ?? "-"}`);
    for (const row of ["4 default 10.0.0.1", "6 default fd00::1", "4 192.0.2.0/24 -", "4 10.0.0.0/24 -"]) {
      assert.ok(shown.includes(row), `${row} in ${shown.join(", ")}`);
    }
    assert.ok(inside.neighbours().some(({ address, mac }) => address === "10.0.0.9" && mac === "02:00:00:00:00:09"));
    inside.deleteRoute({ destination: "192.0.2.0/24", index });
    inside.deleteAddress({ index, address: "fd00::2", prefix: 64 });
    assert.ok(!inside.routes().some(({ destination }) => destination === "192.0.2.0/24"));
    assert.ok(!inside.addresses().some(({ address }) => address === "fd00::2"));
  }
  netlink.deleteLink("near");
  netlink.deleteLink("br-b");
  removeNetns(path);
  rmSync(folder, { recursive: true });
});

test("a macvlan is born in its namespace, with its group and its parent elsewhere", () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-netlink-"));
  const path = join(folder, "inside");
  createNetns(path);
  using netlink = new Netlink();
  netlink.createVeth({ name: "wire", peer: { name: "far" } });
  const parent = netlink.link("wire")?.index ?? 0;
  const netnsFd = openSync(path, "r");
  const kind = { kind: "macvlan", mode: "bridge" } as const;
  netlink.createSharing({
    name: "eth0",
    parent,
    netnsFd,
    group: 0x7fffffff,
    mtu: 1400,
    mac: "02:00:00:00:00:07",
    kind,
  });
  closeSync(netnsFd);
  {
    using inside = inNetns(path, () => new Netlink());
    const { mac, mtu, parentIsElsewhere, group, up } = inside.link("eth0") ?? {};
    assert.deepEqual(
      { mac, mtu, parentIsElsewhere, group, up },
      { mac: "02:00:00:00:00:07", mtu: 1400, parentIsElsewhere: true, group: 0x7fffffff, up: false },
    );
  }
  netlink.deleteLink("wire");
  removeNetns(path);
  rmSync(folder, { recursive: true });
});

test("kinds of links that few kernels have are asked for in the kernel's own numbers", () => {
  // As iproute2 writes them: the modes are 16 bits, the kind's data comes after its name.
  const dataOf = ({ message }: { readonly message: Buffer }) => {
    const info = decodeAttributes(message, 32).get(18) ?? Buffer.alloc(0);
    const parts = decodeAttributes(info);
    return `${readText(parts.get(1))} ${parts.get(2)?.toString("hex")}`;
  };
  const kind = { kind: "ipvlan", mode: "l3s", flag: "vepa" } as const;
  const ipvlan = createSharingRequest({ name: "y", parent: 1, netnsFd: 9, group: 7, kind });
  assert.equal(dataOf(ipvlan), "ipvlan 06000100020000000600020002000000");
  assert.equal(dataOf(createVlanRequest("y", { parent: 1, id: 10, group: 7 })), "vlan 060001000a000000");
  const attributes = decodeAttributes(ipvlan.message, 32);
  assert.deepEqual(
    [5, 28, 27].map((type) => attributes.get(type)?.readUInt32LE(0)),
    [1, 9, 7],
  );
});

test("addresses are listed of all links or of one, and routes without those of the host's own addresses", () => {
  using netlink = new Netlink();
  for (const [name, address] of [
    ["br-c", "10.3.0.1"],
    ["br-d", "10.4.0.1"],
  ] as const) {
    netlink.createBridge(name);
    netlink.configureLink(netlink.link(name)?.index ?? 0, [{ address, prefix: 24 }]);
  }
  const index = netlink.link("br-d")?.index ?? 0;
  const ofOne = netlink.addresses(index).filter(({ address }) => !address.startsWith("fe80"));
  assert.deepEqual(ofOne, [{ index, address: "10.4.0.1", prefix: 24 }]);
  assert.ok(netlink.addresses().some(({ address }) => address === "10.3.0.1"));
  const away = netlink.routesAway().map(({ destination }) => destination);
  assert.ok(away.includes("10.3.0.0/24") && away.includes("10.4.0.0/24"), away.join(" "));
  assert.ok(!away.includes("10.3.0.1/32") && !away.includes("10.3.0.255/32"), away.join(" "));
  for (const name of ["br-c", "br-d"]) netlink.deleteLink(name);
});

test("of a batch that is refused in part the error says which, in the kernel's words", () => {
  using netlink = new Netlink();
  const lo = netlink.links().find(({ name }) => name === "lo")?.index ?? 0;
  const routes = [{ destination: "default", gateway: "203.0.113.1" }];
  assert.throws(
    () => netlink.configureLink(lo, [{ address: "10.1.1.1", prefix: 32 }], routes),
    (error: Error) => {
      assert.match(error.message, /^netlink: ENETUNREACH: replace route default: Nexthop has invalid gateway$/);
      return true;
    },
  );
  assert.ok(
    netlink.addresses().some(({ address }) => address === "10.1.1.1"),
    "what came before it is done",
  );
  netlink.deleteAddress({ index: lo, address: "10.1.1.1", prefix: 32 });
});

test("lists longer than one answer come whole", () => {
  using netlink = new Netlink();
  netlink.createBridge("br-c");
  netlink.setLinkUp("br-c");
  const index = netlink.links().find(({ name }) => name === "br-c")?.index ?? 0;
  const wanted = Array.from({ length: 1500 }, (_, number) => `10.${8 + (number >> 8)}.${number & 255}.1`);
  for (const address of wanted) netlink.addAddress({ index, address, prefix: 32 });
  const found = new Set(netlink.addresses().map(({ address }) => address));
  assert.deepEqual(
    wanted.filter((address) => !found.has(address)),
    [],
  );
  netlink.deleteLink("br-c");
});

test("a link that is deleted aside is found no more, nor is a port's leaving its bridge taken for its end", async () => {
  using netlink = new Netlink();
  netlink.createBridge("br-side");
  const bridge = netlink.link("br-side")?.index ?? 0;
  netlink.createVeth({ name: "side0", master: bridge, peer: { name: "side1" } });
  await Netlink.deleteLinkAside("side0");
  assert.equal(netlink.link("side0"), undefined);
  assert.equal(netlink.link("side1"), undefined);
  await Promise.all([
    Netlink.deleteLinkAside(bridge),
    assert.rejects(Netlink.deleteLinkAside("side0"), { code: "ENODEV" }),
  ]);
  netlink.createBridge("br-side");
  await Netlink.deleteLinkAside("br-side");
  await assert.rejects(Netlink.deleteLinkAside(bridge), { code: "ENODEV" });
});

test("many links are deleted aside at once", async () => {
  using netlink = new Netlink();
  const names = Array.from({ length: 20 }, (_, number) => `many-${number}`);
  for (const name of names) netlink.createVeth({ name, peer: { name: `${name}-b` } });
  await Promise.all(names.map((name) => Netlink.deleteLinkAside(name)));
  assert.deepEqual(
    netlink.links().filter(({ name }) => name.startsWith("many-")),
    [],
  );
});
