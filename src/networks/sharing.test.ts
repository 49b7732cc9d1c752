import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { EndpointSettings } from "../api/container.ts";
import { type NetworkCreateRequest, networkCreateRequest } from "../api/network-request.ts";
import { createNetns, inNetns, removeNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { openMemory } from "../state/memory.ts";
import { ask, makeEngine, serveTcp } from "./lab.fixture.ts";
import type { Networks } from "./networks.ts";
import { configureInside, withNetnsFd } from "./sandbox.ts";

enterPrivateHost();
process.setMaxListeners(50);

const has = (kind: "macvlan" | "ipvlan"): string | false => {
  using netlink = new Netlink();
  return netlink.hasKind(kind) ? false : `this kernel has no ${kind}`;
};
const NO_MACVLAN = has("macvlan");
const NO_IPVLAN = has("ipvlan");

const lab = makeEngine();
const lan = `${lab.root}/lan`;
let networks: Networks;

/** A wire `wire` of this host, at whose other end there is a machine 10.30.0.9. */
before(() => {
  createNetns(lan);
  using host = new Netlink();
  withNetnsFd(lan, (netnsFd) => host.createVeth({ name: "wire", peer: { name: "eth0", netnsFd } }));
  const addresses = [
    { address: "10.30.0.9", prefix: 24 },
    { address: "10.31.0.9", prefix: 24 },
    { address: "fd00:30::9", prefix: 64 },
  ];
  configureInside(lan, "eth0", { addresses, routes: [], ipv6: true });
  networks = lab.open();
});
after(async () => {
  await networks.shutdown();
  {
    using host = new Netlink();
    host.deleteLink("wire");
  }
  removeNetns(lan);
  lab.remove();
});

const SUBNETS = [
  { Subnet: "10.30.0.0/24", Gateway: "10.30.0.9" },
  { Subnet: "fd00:30::/64", Gateway: "fd00:30::9" },
];
const create = (Name: string, wish: Partial<NetworkCreateRequest> = {}, on = networks) =>
  on.create({ ...networkCreateRequest.zero(), Name, ...wish });
const macvlan = (Name: string, options: Record<string, string> = {}, Config = SUBNETS) =>
  create(Name, {
    Driver: "macvlan",
    EnableIPv6: true,
    Options: { parent: "wire", ...options },
    IPAM: { Driver: "", Options: null, Config },
  });

async function join(id: string, network: string, settings: Partial<EndpointSettings> = {}, on = networks) {
  const { path } = on.createSandbox(id);
  return { path, ...(await on.connect(id, network, { containerName: id, hostname: id, settings })) };
}

function insideOf(path: string) {
  return inNetns(path, () => {
    using netlink = new Netlink();
    return { links: netlink.links(), addresses: netlink.addresses(), routes: netlink.routes() };
  });
}

const hostLinks = () => {
  using host = new Netlink();
  return host.links().map(({ name }) => name);
};

test("containers of a macvlan network are on the parent's wire, with a way out by its router", {
  skip: NO_MACVLAN,
}, async () => {
  await macvlan("street");
  const one = await join("one", "street");
  const two = await join("two", "street", {
    IPAMConfig: { IPv4Address: "10.30.0.77" },
    MacAddress: "02:00:00:00:00:77",
  });
  assert.deepEqual([one.IPAddress, one.Gateway, one.GlobalIPv6Address], ["10.30.0.1", "10.30.0.9", "fd00:30::1"]);
  assert.deepEqual([two.IPAddress, two.MacAddress], ["10.30.0.77", "02:00:00:00:00:77"]);
  const { links, routes } = insideOf(two.path);
  assert.equal(links.find(({ name }) => name === "eth0")?.mac, "02:00:00:00:00:77");
  const ways = routes.filter(({ destination }) => destination === "default").map(({ gateway }) => gateway);
  assert.deepEqual(ways.sort(), ["10.30.0.9", "fd00:30::9"]);
  const servers = [serveTcp(lan, 80, "router"), serveTcp(two.path, 80, "two")];
  assert.equal(await ask("tcp", one.path, "10.30.0.9", 80), "router saw 10.30.0.1: hi");
  assert.equal(await ask("tcp", one.path, "10.30.0.77", 80), "two saw 10.30.0.1: hi");
  assert.equal(await ask("tcp", lan, "10.30.0.77", 80), "two saw 10.30.0.9: hi");
  for (const server of servers) server.close();
  assert.deepEqual(
    Object.values(networks.inspect("street").Containers).map(({ Name, IPv4Address }) => `${Name} ${IPv4Address}`),
    ["one 10.30.0.1/24", "two 10.30.0.77/24"],
  );
  await networks.disconnect("one", "street");
  assert.deepEqual(
    insideOf(one.path).links.map(({ name }) => name),
    ["lo"],
  );
  await assert.rejects(networks.remove("street"), /has active endpoints/);
  // At once with the same hardware address, while the kernel may still be at the old one.
  await networks.release("two");
  await join("three", "street", { MacAddress: "02:00:00:00:00:77" });
  for (const id of ["one", "three"]) await networks.release(id);
  await networks.remove("street");
  assert.ok(hostLinks().includes("wire"), "a parent that was there stays");
});

test("the modes of a macvlan hold, and a parent is passed through to one only", { skip: NO_MACVLAN }, async () => {
  await macvlan("apart", { macvlan_mode: "private" });
  const one = await join("one", "apart");
  const two = await join("two", "apart");
  const servers = [serveTcp(lan, 80, "router"), serveTcp(two.path, 80, "two")];
  assert.equal(await ask("tcp", one.path, "10.30.0.9", 80), "router saw 10.30.0.1: hi");
  assert.match(await ask("tcp", one.path, two.IPAddress, 80), /timeout|EHOSTUNREACH/);
  for (const server of servers) server.close();
  for (const id of ["one", "two"]) await networks.release(id);
  await networks.remove("apart");
  using host = new Netlink();
  host.createVeth({ name: "cable", peer: { name: "end" } });
  await macvlan("through", { macvlan_mode: "passthru", parent: "cable" });
  const first = await join("one", "through");
  assert.equal(first.MacAddress, host.link("cable")?.mac);
  await assert.rejects(join("two", "through"), /^GantryError: cannot make a macvlan on cable: it is .* passed through/);
  await networks.release("two");
  await networks.release("one");
  assert.notEqual((await join("two", "through")).IPAddress, first.IPAddress);
  await networks.release("two");
  await assert.rejects(join("two", "through", { MacAddress: "02:00:00:00:00:01" }), /takes no other hardware address/);
  await networks.release("two");
  await networks.remove("through");
  host.deleteLink("cable");
});

test("of several subnets the first gives addresses until it has none, and any may be asked for", {
  skip: NO_MACVLAN,
}, async () => {
  await macvlan("wide", {}, [
    { Subnet: "10.30.0.8/30", Gateway: "10.30.0.9" },
    { Subnet: "10.31.0.0/24", Gateway: "10.31.0.9" },
  ]);
  const given = [await join("a", "wide"), await join("b", "wide")];
  assert.deepEqual(
    given.map(({ IPAddress, IPPrefixLen, Gateway }) => `${IPAddress}/${IPPrefixLen} ${Gateway}`),
    ["10.30.0.10/30 10.30.0.9", "10.31.0.1/24 10.31.0.9"],
  );
  const asked = await join("c", "wide", { IPAMConfig: { IPv4Address: "10.31.0.50" } });
  assert.equal(asked.Gateway, "10.31.0.9");
  for (const id of ["a", "b", "c"]) await networks.release(id);
  await networks.remove("wide");
});

test("a container on a bridge and a macvlan goes out where its priority says, and back", {
  skip: NO_MACVLAN,
}, async () => {
  await macvlan("street");
  await create("alley");
  const bindings = { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "18080" }] };
  const alley = await join("both", "alley");
  await networks.publish("both", { bindings, exposed: [], publishAll: false });
  const server = serveTcp(alley.path, 80);
  assert.match(await ask("tcp", undefined, "127.0.0.1", 18080), /^c saw /);
  await join("both", "street", { GwPriority: 5 });
  const ways = () =>
    insideOf(alley.path)
      .routes.filter(({ destination, family }) => destination === "default" && family === 4)
      .map(({ gateway }) => gateway);
  assert.deepEqual(ways(), ["10.30.0.9"]);
  await networks.disconnect("both", "street");
  assert.deepEqual(ways(), [alley.Gateway]);
  assert.match(await ask("tcp", undefined, "127.0.0.1", 18080), /^c saw /);
  server.close();
  await networks.release("both");
  for (const name of ["street", "alley"]) await networks.remove(name);
});

test("a network without addresses leaves them to the container", { skip: NO_MACVLAN }, async () => {
  await create("bare", {
    Driver: "macvlan",
    Options: { parent: "wire" },
    IPAM: { Driver: "null", Options: null, Config: [] },
  });
  const { path, IPAddress, MacAddress } = await join("dhcp", "bare");
  assert.equal(IPAddress, "");
  assert.match(MacAddress, /^02:42:/);
  const eth0 = insideOf(path).links.find(({ name }) => name === "eth0");
  assert.deepEqual([eth0?.up, eth0?.mac], [true, MacAddress]);
  await networks.release("dhcp");
  await networks.remove("bare");
});

test("after a crash a link inside that nobody knows is removed, others stay", { skip: NO_MACVLAN }, async () => {
  const store = openMemory();
  const other = makeEngine("second", { bridgeName: "gantry1" }, store);
  const first = other.open();
  await create("street", { Driver: "macvlan", Options: { parent: "wire" } }, first);
  await create("lane", { Driver: "macvlan", Options: { parent: "wire" } }, first);
  const known = await join("c", "street", {}, first);
  const recorded = first.state("c").networks;
  const stray = await join("c", "lane", {}, first);
  // What pipework and its like put inside.
  using host = new Netlink();
  withNetnsFd(known.path, (netnsFd) => {
    const kind = { kind: "macvlan", mode: "bridge" } as const;
    host.createSharing({ name: "theirs", parent: host.link("wire")?.index ?? 0, netnsFd, group: 0, kind });
  });
  first.detach();
  const second = other.open();
  await second.reconcile(new Map([["c", { containerName: "c", networks: recorded, ports: {} }]]));
  assert.deepEqual(
    insideOf(known.path)
      .links.map(({ name }) => name)
      .sort(),
    ["eth0", "lo", "theirs"],
  );
  const again = await join("c", "lane", {}, second);
  assert.equal(again.IPAddress, stray.IPAddress, "the address that the crash left is nobody's");
  await second.disconnect("c", "street");
  await second.disconnect("c", "lane");
  assert.deepEqual(
    insideOf(known.path)
      .links.map(({ name }) => name)
      .sort(),
    ["lo", "theirs"],
  );
  await second.release("c");
  await second.shutdown();
  other.remove();
});

test("a container that changes its link's group is taken off the wire all the same", { skip: NO_MACVLAN }, async () => {
  await macvlan("street");
  const { path } = await join("sly", "street");
  inNetns(path, () => {
    using netlink = new Netlink();
    netlink.changeLink(netlink.link("eth0")?.index ?? 0, { group: 4711 });
  });
  await networks.disconnect("sly", "street");
  assert.deepEqual(
    insideOf(path).links.map(({ name }) => name),
    ["lo"],
  );
  await networks.release("sly");
  await networks.remove("street");
});

test("a parent that can't be had is refused when the network is made, and nothing of it is kept", async () => {
  const rows: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ parent: "nope" }, /invalid subinterface vlan name nope, example formatting is eth0.10: there is no link/],
    [{ parent: "nope.7" }, /-o parent interface was not found on the host: nope/],
    [{ parent: "wire.0" }, /vlan id must be between 1-4094, received: 0/],
    [{ parent: "wire.4095" }, /vlan id must be between 1-4094, received: 4095/],
    [{ parent: "wire.x" }, /unable to parse a valid vlan id from: x/],
    [{ parent: ".7" }, /invalid subinterface vlan name .7/],
  ];
  const before = hostLinks();
  for (const [Options, words] of rows) {
    await assert.rejects(create("x", { Driver: "macvlan", Options }), NO_MACVLAN ? /needs the kernel's/ : words);
  }
  assert.throws(() => networks.find("x"), { kind: "not-found" });
  assert.deepEqual(hostLinks(), before);
});

test("sub-interfaces and links to nowhere are made and removed, or refused with what the kernel lacks", {
  skip: NO_MACVLAN,
}, async () => {
  const before = hostLinks();
  for (const [Options, made, module] of [
    [{ parent: "wire.10" }, /^wire\.10$/, "8021q"],
    [{}, /^dm-[0-9a-f]{12}$/, "dummy"],
  ] as const) {
    try {
      await create("own", { Driver: "macvlan", Options });
      await create("same", { Driver: "macvlan", Options });
    } catch (error) {
      assert.match(String(error), new RegExp(`needs the kernel's ${module}, which this kernel has not`));
      assert.deepEqual(hostLinks(), before);
      continue;
    }
    const own = hostLinks().filter((name) => made.test(name));
    assert.equal(own.length, module === "dummy" ? 2 : 1);
    await join("c", "own");
    await networks.release("c");
    await networks.remove("own");
    assert.equal(hostLinks().filter((name) => made.test(name)).length, 1, "the other network still has its parent");
    await networks.remove("same");
    assert.deepEqual(hostLinks(), before);
  }
});

test("an ipvlan network works in each of its modes, or is refused with what the kernel lacks", async () => {
  for (const mode of ["l2", "l3", "l3s"]) {
    const made = create("shared", {
      Driver: "ipvlan",
      Options: { parent: "wire", ipvlan_mode: mode },
      IPAM: { Driver: "", Options: null, Config: [{ Subnet: "10.30.0.0/24", Gateway: "10.30.0.9" }] },
    });
    if (NO_IPVLAN) {
      await assert.rejects(made, {
        kind: "unsupported",
        message:
          "the ipvlan driver needs the kernel's ipvlan, which this kernel has not: use the bridge driver, or load the module",
      });
      continue;
    }
    await made;
    await assert.rejects(join("x", "shared", { MacAddress: "02:00:00:00:00:01" }), /do not support custom mac address/);
    const one = await join("one", "shared");
    const two = await join("two", "shared");
    const server = serveTcp(two.path, 80, "two");
    assert.equal(await ask("tcp", one.path, two.IPAddress, 80), `two saw ${one.IPAddress}: hi`);
    server.close();
    const ways = insideOf(one.path).routes.filter(({ destination }) => destination === "default");
    assert.deepEqual(
      ways.map(({ gateway }) => gateway),
      [mode === "l2" ? "10.30.0.9" : undefined],
    );
    for (const id of ["x", "one", "two"]) await networks.release(id);
    await networks.remove("shared");
  }
});
