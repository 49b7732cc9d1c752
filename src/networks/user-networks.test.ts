import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { createServer } from "node:net";
import { after, before, test } from "node:test";
import { networkCreateRequest } from "../api/network-request.ts";
import { bindSocket } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { openMemory } from "../state/memory.ts";
import { ask, makeEngine, makeNeighbour, serveTcp } from "./lab.fixture.ts";
import type { EndpointRequest } from "./network.ts";
import type { Networks } from "./networks.ts";
import { formatSubnet, overlaps, parseSubnet } from "./subnet.ts";

enterPrivateHost();
const lab = makeEngine();
let networks: Networks;
let neighbour: ReturnType<typeof makeNeighbour>;
before(() => {
  neighbour = makeNeighbour(lab.root);
  networks = lab.open();
});
after(async () => {
  await networks.shutdown();
  neighbour.remove();
  lab.remove();
});

type Wish = Partial<ReturnType<typeof networkCreateRequest.zero>>;
const create = (Name: string, wish: Wish = {}) => networks.create({ ...networkCreateRequest.zero(), Name, ...wish });

async function join(id: string, network: string, settings: EndpointRequest["settings"] = {}) {
  const { path } = networks.createSandbox(id);
  return { path, ...(await networks.connect(id, network, { containerName: id, hostname: id, settings })) };
}

function insideOf(path: string) {
  return inNetns(path, () => {
    using netlink = new Netlink();
    return { links: netlink.links(), addresses: netlink.addresses(), routes: netlink.routes() };
  });
}

function serve6(path: string | undefined, port: number) {
  const open = () => bindSocket("tcp", "::", port);
  const fd = path === undefined ? open() : inNetns(path, open);
  const server = createServer((socket) => socket.end(`saw ${socket.remoteAddress}`));
  server.listen({ fd }).unref();
  return server;
}

test("a network of both families gives addresses and ways out of both, IPv6 behind the host's address", async () => {
  using host = new Netlink();
  const outside = host.links().find(({ name }) => name === "outside")!.index;
  const { writeSysctl, configureInside } = await import("./sandbox.ts");
  writeSysctl("net/ipv6/conf/outside/disable_ipv6", "0");
  host.addAddress({ index: outside, address: "fd09::1", prefix: 64 });
  const link = { addresses: [{ address: "fd09::2", prefix: 64 }], routes: [], ipv6: true };
  configureInside(neighbour.path, "eth0", link);
  await create("dual", { EnableIPv6: true });
  const one = await join("six-1", "dual");
  const two = await join("six-2", "dual");
  assert.match(one.GlobalIPv6Address, /^fd[0-9a-f]{2}:.*::2$/);
  assert.equal(one.GlobalIPv6PrefixLen, 64);
  const { routes } = insideOf(one.path);
  const defaults = routes.filter(({ destination }) => destination === "default").map(({ gateway }) => gateway);
  assert.deepEqual(defaults.sort(), [one.Gateway, one.IPv6Gateway].sort());
  const servers = [serve6(two.path, 90), serve6(neighbour.path, 91), serve6(undefined, 92)];
  assert.equal(await ask("tcp", one.path, two.GlobalIPv6Address, 90), `saw ${one.GlobalIPv6Address}`);
  assert.equal(await ask("tcp", one.path, "fd09::2", 91), "saw fd09::1");
  assert.equal(await ask("tcp", one.path, one.IPv6Gateway, 92), `saw ${one.GlobalIPv6Address}`);
  for (const server of servers) server.close();
  for (const id of ["six-1", "six-2"]) await networks.release(id);
  await networks.remove("dual");
  host.deleteAddress({ index: outside, address: "fd09::1", prefix: 64 });
});

test("ports are published where the default route goes, and move with it", async () => {
  await create("front");
  await create("side");
  const { path, IPAddress } = await join("web", "front");
  const server = serveTcp(path, 80);
  const ports = await networks.publish("web", {
    bindings: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] },
    exposed: [],
    publishAll: false,
  });
  const port = Number(ports["80/tcp"]?.[0]?.HostPort);
  assert.match(await ask("tcp", undefined, "127.0.0.1", port), /^c saw /);
  const side = await join("web", "side", { GwPriority: 1 });
  assert.notEqual(side.IPAddress, IPAddress);
  assert.equal(await ask("tcp", undefined, "127.0.0.1", port), `c saw ${side.Gateway}: hi`);
  await networks.disconnect("web", "side");
  assert.match(await ask("tcp", undefined, "127.0.0.1", port), /^c saw /);
  await networks.disconnect("web", "front");
  assert.match(await ask("tcp", undefined, "127.0.0.1", port), /ECONN|timeout/);
  await networks.connect("web", "front", { containerName: "web", hostname: "web" });
  assert.match(await ask("tcp", undefined, "127.0.0.1", port), /^c saw /);
  server.close();
  await networks.release("web");
  await networks.remove("front");
  await networks.remove("side");
});

test("a bridge that was there before gets the network's address, and stays without it", async () => {
  using host = new Netlink();
  host.createBridge("theirs");
  const index = host.links().find(({ name }) => name === "theirs")!.index;
  host.addAddress({ index, address: "192.0.2.1", prefix: 24 });
  await create("foreign", { Options: { "com.docker.network.bridge.name": "theirs" } });
  const { Gateway } = await join("guest", "foreign");
  const onBridge = () =>
    host
      .addresses()
      .filter((row) => row.index === index)
      .map(({ address }) => address)
      .filter((address) => !address.startsWith("fe80"));
  assert.deepEqual(onBridge(), ["192.0.2.1", Gateway]);
  await networks.release("guest");
  await networks.remove("foreign");
  assert.deepEqual(onBridge(), ["192.0.2.1"]);
  host.deleteLink("theirs");
});

test("a network that can't be opened at the next start does not keep the others from it", async () => {
  const store = openMemory();
  const other = makeEngine("second", { bridgeName: "gantry1" }, store);
  const first = other.open();
  const { id } = await first.create({ ...networkCreateRequest.zero(), Name: "blocked" });
  await first.create({ ...networkCreateRequest.zero(), Name: "fine" });
  await first.shutdown();
  using host = new Netlink();
  // Somebody else's now.
  host.createBridge(`br-${id.slice(0, 12)}`);
  const second = other.open();
  await second.reconcile(new Map());
  second.createSandbox("c");
  const wanted = { containerName: "c", hostname: "c" };
  await assert.rejects(second.connect("c", "blocked", wanted), /could not be opened: .*another program has one/);
  await second.connect("c", "fine", wanted);
  host.deleteLink(`br-${id.slice(0, 12)}`);
  await second.connect("c", "blocked", wanted);
  await second.release("c");
  await second.remove("blocked");
  await second.shutdown();
  other.remove();
});

test("endpoints go as their containers do, and a network of many says who is on it", async () => {
  await create("crowd", { IPAM: { Driver: "", Options: null, Config: [{ Subnet: "10.77.0.0/29" }] } });
  for (const id of ["a", "b", "c", "d", "e"]) await join(id, "crowd");
  await assert.rejects(join("f", "crowd"), /no available IPv4 addresses/);
  assert.deepEqual(Object.keys(networks.inspect("crowd").Containers), ["a", "b", "c", "d", "e"]);
  await assert.rejects(networks.remove("crowd"), { kind: "forbidden" });
  await networks.disconnect("c", "crowd");
  assert.equal((await networks.connect("f", "crowd", { containerName: "f", hostname: "f" })).IPAddress, "10.77.0.4");
  assert.equal(insideOf(networks.createSandbox("c").path).links.length, 1);
  for (const id of ["a", "b", "c", "d", "e", "f"]) await networks.release(id);
  await networks.remove("crowd");
  assert.deepEqual(
    networks.summaries().map(({ name }) => name),
    ["bridge", "host", "none"],
  );
});

test("a subnet that the host has elsewhere is made with a warning, and none of the engine's choice is ever one", async () => {
  const own = (Subnet: string) => create("shadow", { IPAM: { Driver: "", Options: null, Config: [{ Subnet }] } });
  const { warning } = await own("10.9.0.128/25");
  assert.match(warning, /^the subnet 10\.9\.0\.128\/25 overlaps 10\.9\.0\.0\/24, which this host has an address in or/);
  assert.ok(lab.log.some((line) => line.includes(warning)));
  await networks.remove("shadow");
  assert.equal((await own("10.8.0.0/24")).warning, "");
  await networks.remove("shadow");
  // A route that comes while the engine runs, as a VPN's does.
  using host = new Netlink();
  await create("before");
  const [{ Subnet = "" } = {}] = networks.inspect("before").IPAM.Config;
  await networks.remove("before");
  const index = host.link("outside")?.index ?? 0;
  host.addRoute({ destination: Subnet, gateway: "10.9.0.2", index });
  await create("after");
  assert.notEqual(networks.inspect("after").IPAM.Config[0]?.Subnet, Subnet);
  await networks.remove("after");
  host.deleteRoute({ destination: Subnet, gateway: "10.9.0.2", index });
});

/** The kernel takes ten seconds to clear a thousand bridges away, and makes no other namespace meanwhile. */
const MANY = Number(process.env.GANTRY_TEST_NETWORKS ?? 100);

test("hundreds of networks cost no descriptors, and the next engine has them all", async () => {
  const store = openMemory();
  const other = makeEngine("many", { bridgeName: "gantry2" }, store);
  const first = other.open();
  const open = () => readdirSync("/proc/self/fd").length;
  const before = open();
  const begin = performance.now();
  for (let number = 0; number < MANY; number++) {
    await first.create({ ...networkCreateRequest.zero(), Name: `net-${number}` });
  }
  assert.ok(performance.now() - begin < MANY * 100, "a network takes less than 100 ms");
  assert.ok(open() <= before + 2, `${open()} descriptors, before ${before}`);
  const subnets = first.list().flatMap(({ IPAM }) => IPAM.Config.map(({ Subnet }) => parseSubnet(Subnet)));
  assert.equal(subnets.length, MANY + 1);
  for (const [at, one] of subnets.entries()) {
    assert.ok(!subnets.slice(0, at).some((another) => overlaps(one, another)), formatSubnet(one));
  }
  first.detach();
  const second = other.open();
  await second.reconcile(new Map());
  second.createSandbox("c");
  const wanted = { containerName: "c", hostname: "c" };
  const { Gateway } = await second.connect("c", `net-${MANY - 1}`, wanted);
  assert.equal(Gateway, second.inspect(`net-${MANY - 1}`).IPAM.Config[0]?.Gateway);
  await second.release("c");
  await second.shutdown();
  other.remove();
});
