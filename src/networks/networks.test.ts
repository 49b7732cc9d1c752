import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { networkCreateRequest } from "../api/network-request.ts";
import { bindSocket } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { Nftables } from "../kernel/nftables.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { openMemory } from "../state/memory.ts";
import type { DefaultAddressSettings } from "./default-addresses.ts";
import { ask, makeEngine, makeNeighbour, serveTcp, serveUdp, WANTED } from "./lab.fixture.ts";
import type { Networks } from "./networks.ts";

enterPrivateHost();
process.setMaxListeners(50);
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

const ONLY_EXPOSED = { exposed: [], publishAll: false };

async function start(id: string, bindings: Record<string, { HostIp: string; HostPort: string }[] | null> = {}) {
  const { path } = networks.createSandbox(id);
  const settings = await networks.connect(id, "bridge", { ...WANTED, containerName: id });
  const ports = await networks.publish(id, { ...ONLY_EXPOSED, bindings });
  return { path, settings, ports, ip: settings.IPAddress };
}

/** Everything of the host that networks may change, as lines of text, once the kernel has ended what was released. */
async function hostState(): Promise<string[]> {
  using netlink = new Netlink();
  const nft = new Nftables();
  // A port that is down belongs to a namespace that is on its way out.
  const dying = () => netlink.links().some(({ name, up }) => name.startsWith("gv") && !up);
  for (let turn = 0; turn < 500 && dying(); turn++) await new Promise((done) => setTimeout(done, 10));
  const rules = nft.run([{ list: { ruleset: {} } }]);
  nft.close();
  const links = netlink.links().map(({ name, mac }) => `${name} ${mac}`);
  const all = [...links, ...netlink.addresses(), ...netlink.routes(), ...rules];
  return all.map((row) => JSON.stringify(row)).sort();
}

test("the default networks are there with Docker's fields", () => {
  assert.deepEqual(
    networks
      .list()
      .map(({ Name, Driver }) => `${Name} ${Driver}`)
      .sort(),
    ["bridge bridge", "host host", "none null"],
  );
  const bridge = networks.inspect("bridge");
  assert.deepEqual(bridge.IPAM.Config, [{ Subnet: "172.17.0.0/16", Gateway: "172.17.0.1" }]);
  assert.equal(bridge.Options?.["com.docker.network.bridge.name"], "gantry0");
  assert.equal(networks.inspect(bridge.Id.slice(0, 12)).Name, "bridge");
  assert.throws(() => networks.inspect("nope"), { kind: "not-found", message: "network nope not found" });
  assert.throws(() => networks.inspect(""), { kind: "not-found" });
});

test("a container gets address, gateway and hardware address, and inspect and events show it", async () => {
  const { path, settings } = await start("first");
  assert.equal(settings.IPAddress, "172.17.0.2");
  assert.equal(settings.MacAddress, "02:42:ac:11:00:02");
  assert.equal(settings.Gateway, "172.17.0.1");
  assert.equal(settings.IPPrefixLen, 16);
  assert.equal(networks.inspect("bridge").Containers.first?.IPv4Address, "172.17.0.2/16");
  const inside = inNetns(path, () => {
    using netlink = new Netlink();
    return { links: netlink.links(), routes: netlink.routes(), addresses: netlink.addresses() };
  });
  const eth0 = inside.links.find(({ name }) => name === "eth0");
  assert.equal(eth0?.mac, settings.MacAddress);
  assert.equal(eth0?.up, true);
  assert.ok(inside.routes.some(({ destination, gateway }) => destination === "default" && gateway === "172.17.0.1"));
  assert.ok(!inside.addresses.some(({ address }) => address.startsWith("fe80")), "IPv6 is off on eth0");
  await networks.release("first");
  await networks.release("first");
  const actions = lab.events
    .past(0n)
    .map(
      ({ Action, Actor }) =>
        `${Action} ${Actor.Attributes.container} ${Actor.Attributes.name} ${Actor.Attributes.type}`,
    );
  assert.deepEqual(actions, ["connect first bridge bridge", "disconnect first bridge bridge"]);
});

test("an address of the user's, or an unknown network, is refused in Docker's words", async () => {
  networks.createSandbox("picky");
  await assert.rejects(
    networks.connect("picky", "bridge", { ...WANTED, settings: { IPAMConfig: { IPv4Address: "172.17.0.9" } } }),
    {
      kind: "invalid",
      message: "user specified IP address is supported on user defined networks only",
    },
  );
  await assert.rejects(networks.connect("picky", "nope", WANTED), { message: "network nope not found" });
  const none = await networks.connect("picky", "none", WANTED);
  assert.equal(none.IPAddress, "");
  assert.deepEqual(
    await networks.publish("picky", { ...ONLY_EXPOSED, bindings: { "80/tcp": [{ HostIp: "", HostPort: "80" }] } }),
    {},
  );
  await networks.release("picky");
});

describe("a published port", () => {
  let web: Awaited<ReturnType<typeof start>>;
  let peer: Awaited<ReturnType<typeof start>>;
  const servers: { close(): void }[] = [];
  before(async () => {
    web = await start("web", {
      "80/tcp": [{ HostIp: "", HostPort: "8080" }],
      "53/udp": [{ HostIp: "", HostPort: "5353" }],
      "81/tcp": [{ HostIp: "127.0.0.1", HostPort: "8181" }],
      "82/tcp": [{ HostIp: "10.9.0.1", HostPort: "8282" }],
    });
    peer = await start("peer");
    for (const port of [80, 81, 82]) servers.push(serveTcp(web.path, port));
    servers.push(serveUdp(web.path, 53));
  });
  after(async () => {
    for (const server of servers) server.close();
    await networks.release("web");
    await networks.release("peer");
  });

  test("is shown for both families", () => {
    assert.deepEqual(web.ports["80/tcp"], [
      { HostIp: "0.0.0.0", HostPort: "8080" },
      { HostIp: "::", HostPort: "8080" },
    ]);
    assert.deepEqual(web.ports["81/tcp"], [{ HostIp: "127.0.0.1", HostPort: "8181" }]);
  });

  test("answers the host by 127.0.0.1 through the kernel, by its address, and by ::1 through the proxy", async () => {
    const [loopback, address, six, exact] = await Promise.all([
      ask("tcp", undefined, "127.0.0.1", 8080),
      ask("tcp", undefined, "10.9.0.1", 8080),
      ask("tcp", undefined, "::1", 8080),
      ask("tcp", undefined, "127.0.0.1", 8181),
    ]);
    assert.equal(loopback, "c saw 172.17.0.1: hi");
    assert.equal(address, "c saw 10.9.0.1: hi");
    assert.equal(six, "c saw 172.17.0.1: hi");
    assert.equal(exact, "c saw 172.17.0.1: hi");
  });

  test("answers UDP on the same ways", async () => {
    const [loopback, six, other] = await Promise.all([
      ask("udp", undefined, "127.0.0.1", 5353),
      ask("udp", undefined, "::1", 5353),
      ask("udp", neighbour.path, "10.9.0.1", 5353),
    ]);
    assert.equal(loopback, "c saw 172.17.0.1: hi");
    assert.equal(six, "c saw 172.17.0.1: hi");
    assert.equal(other, "c saw 10.9.0.2: hi");
  });

  test("shows another machine's own address, and is closed to it when bound to 127.0.0.1", async () => {
    const [open, exact, closed] = await Promise.all([
      ask("tcp", neighbour.path, "10.9.0.1", 8080),
      ask("tcp", neighbour.path, "10.9.0.1", 8282),
      ask("tcp", neighbour.path, "10.9.0.1", 8181),
    ]);
    assert.equal(open, "c saw 10.9.0.2: hi");
    assert.equal(exact, "c saw 10.9.0.2: hi");
    assert.equal(closed, "ECONNREFUSED");
  });

  test("on 127.0.0.1 is not reached by a neighbour that addresses the wire, nor an unpublished one by a route", async () => {
    using netlink = inNetns(neighbour.path, () => new Netlink());
    const index = netlink.links().find(({ name }) => name === "eth0")?.index ?? 0;
    const routes = ["172.17.0.0/16", "127.0.0.1/32"].map((destination) => ({
      destination,
      gateway: "10.9.0.1",
      index,
    }));
    for (const route of routes) netlink.addRoute(route);
    // As where another program lets 127/8 in from the wire, and the neighbour means it.
    writeFileSync("/proc/sys/net/ipv4/conf/outside/route_localnet", "1");
    inNetns(neighbour.path, () => writeFileSync("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1"));
    const answers = await Promise.all([
      ask("tcp", neighbour.path, "127.0.0.1", 8181),
      ask("tcp", neighbour.path, web.ip, 80),
      ask("tcp", neighbour.path, web.ip, 81),
    ]);
    assert.deepEqual(answers, ["timeout", "timeout", "timeout"]);
    writeFileSync("/proc/sys/net/ipv4/conf/outside/route_localnet", "0");
    for (const route of routes) netlink.deleteRoute(route);
  });

  test("answers other containers and its own by the host's address", async () => {
    const [other, own, direct] = await Promise.all([
      ask("tcp", peer.path, "10.9.0.1", 8080),
      ask("tcp", web.path, "10.9.0.1", 8080),
      ask("tcp", peer.path, web.ip, 80),
    ]);
    assert.equal(other, "c saw 172.17.0.1: hi");
    assert.equal(own, "c saw 172.17.0.1: hi");
    assert.equal(direct, `c saw ${peer.ip}: hi`);
  });

  test("comes back by itself after somebody flushed all rules", async () => {
    const nft = new Nftables();
    nft.run("flush ruleset");
    nft.close();
    await start("healer", { "80/tcp": [{ HostIp: "", HostPort: "8090" }] });
    assert.equal(await ask("tcp", neighbour.path, "10.9.0.1", 8080), "c saw 10.9.0.2: hi");
    await networks.release("healer");
  });
});

test("a UDP client that keeps its port is led to the container that has the port now", async () => {
  const bindings = { "53/udp": [{ HostIp: "", HostPort: "5300" }] };
  const old = await start("old", bindings);
  const first = serveUdp(old.path, 53, "old");
  assert.equal(await ask("udp", neighbour.path, "10.9.0.1", 5300, "hi", 4000), "old saw 10.9.0.2: hi");
  first.close();
  // The next one gets another address.
  await start("between");
  await networks.release("old");
  await start("between2");
  const now = await start("now", bindings);
  const second = serveUdp(now.path, 53, "now");
  assert.equal(await ask("udp", neighbour.path, "10.9.0.1", 5300, "hi", 4000), "now saw 10.9.0.2: hi");
  second.close();
  for (const id of ["between", "between2", "now"]) await networks.release(id);
});

test("a container reaches the outside by the host's address, and not the host's loopback", async () => {
  const { path } = await start("client");
  const outside = serveTcp(neighbour.path, 7000, "outside");
  assert.equal(await ask("tcp", path, "10.9.0.2", 7000), "outside saw 10.9.0.1: hi");
  outside.close();
  await networks.release("client");
});

test("a port in use is refused, and the call leaves nothing", async () => {
  await start("holder", { "80/tcp": [{ HostIp: "", HostPort: "8080" }] });
  const before = await hostState();
  networks.createSandbox("late");
  const { EndpointID } = await networks.connect("late", "bridge", { ...WANTED, containerName: "late" });
  const wanted = { "1/tcp": [{ HostIp: "", HostPort: "8001" }], "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "8080" }] };
  await assert.rejects(networks.publish("late", { ...ONLY_EXPOSED, bindings: wanted }), {
    message: `driver failed programming external connectivity on endpoint late (${EndpointID}): Bind for 127.0.0.1:8080 failed: port is already allocated: the container holder has it`,
  });
  await networks.release("late");
  assert.deepEqual(await hostState(), before);
  const { ports } = await start("free", { "1/tcp": [{ HostIp: "", HostPort: "8001" }] });
  assert.equal(ports["1/tcp"]?.[0]?.HostPort, "8001");
  await networks.release("free");
  await networks.release("holder");
});

test("a port that a program of the host holds is refused with the system's reason and the program", async () => {
  const fd = bindSocket("tcp", "0.0.0.0", 8080);
  networks.createSandbox("late");
  await networks.connect("late", "bridge", WANTED);
  const bindings = { "80/tcp": [{ HostIp: "", HostPort: "8080" }] };
  await assert.rejects(
    networks.publish("late", { ...ONLY_EXPOSED, bindings }),
    new RegExp(`listen tcp4 0\\.0\\.0\\.0:8080: bind: address already in use: process ${process.pid} \\(.+\\) has it$`),
  );
  closeSync(fd);
  assert.equal((await networks.publish("late", { ...ONLY_EXPOSED, bindings }))["80/tcp"]?.length, 2);
  await networks.release("late");
});

test("ranges give their first free port, no port gives one of the kernel's range, and -P takes what is exposed", async () => {
  const range = { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "8000-8001" }] };
  assert.equal((await start("a", range)).ports["80/tcp"]?.[0]?.HostPort, "8000");
  assert.equal((await start("b", range)).ports["80/tcp"]?.[0]?.HostPort, "8001");
  await assert.rejects(start("c", range), /Bind for 127\.0\.0\.1:8001 failed: port is already allocated/);
  for (const id of ["a", "b", "c"]) await networks.release(id);
  networks.createSandbox("all");
  await networks.connect("all", "bridge", WANTED);
  const shown = await networks.publish("all", {
    bindings: { "70": null },
    exposed: ["80/tcp", "53/udp", "9/sctp"],
    publishAll: true,
  });
  assert.deepEqual(Object.keys(shown), ["9/sctp", "53/udp", "70/tcp", "80/tcp"]);
  const port = Number(shown["80/tcp"]?.[0]?.HostPort);
  assert.ok(port >= 32768 && port <= 60999, String(port));
  assert.equal(shown["80/tcp"]?.[1]?.HostPort, String(port));
  assert.deepEqual(await networks.publish("all", { bindings: {}, exposed: ["80/tcp"], publishAll: false }), {
    "80/tcp": null,
  });
  await networks.release("all");
  await assert.rejects(start("bad", { "80/tcp": [{ HostIp: "x; drop", HostPort: "1" }] }), { kind: "invalid" });
  await networks.release("bad");
  await assert.rejects(start("bad", { "80/tcp": [{ HostIp: "", HostPort: "70000" }] }), { kind: "invalid" });
  await networks.release("bad");
});

test("a hundred containers come and go and leave the host as it was", async (t) => {
  await start("warm", { "80/tcp": [{ HostIp: "", HostPort: "9000" }] });
  await networks.release("warm");
  const before = await hostState();
  const given = new Set<string>();
  const up: number[] = [];
  const down: number[] = [];
  for (let number = 0; number < 100; number++) {
    const begin = performance.now();
    const { ip } = await start(`n${number}`, { "80/tcp": [{ HostIp: "", HostPort: "9000" }] });
    up.push(performance.now() - begin);
    given.add(ip);
    const middle = performance.now();
    await networks.release(`n${number}`);
    down.push(performance.now() - middle);
  }
  assert.deepEqual(await hostState(), before);
  assert.equal(given.size, 100, "an address given back is not the next one's");
  const median = (all: number[]) => all.sort((a, b) => a - b)[all.length >> 1]?.toFixed(2);
  t.diagnostic(`medians: sandbox, endpoint and a port ${median(up)} ms, release ${median(down)} ms`);
});

test("after a crash the next engine keeps what lives, serves its ports again and removes the rest", async () => {
  const store = openMemory();
  const crashing = makeEngine("crash", {}, store);
  const before = await hostState();
  const old = crashing.open();
  const bindings = { "80/tcp": [{ HostIp: "", HostPort: "8500" }] };
  const { path } = old.createSandbox("alive");
  const settings = await old.connect("alive", "bridge", WANTED);
  const ports = await old.publish("alive", { ...ONLY_EXPOSED, bindings });
  old.createSandbox("dead");
  await old.connect("dead", "bridge", WANTED);
  await old.publish("dead", { ...ONLY_EXPOSED, bindings: { "80/tcp": [{ HostIp: "", HostPort: "8501" }] } });
  const server = serveTcp(path, 80, "alive");
  old.detach();
  assert.equal(await ask("tcp", undefined, "127.0.0.1", 8500), "alive saw 172.18.0.1: hi", "the kernel goes on alone");

  const next = crashing.open();
  assert.equal(next.inspect("bridge").IPAM.Config[0]?.Subnet, "172.18.0.0/16");
  await next.reconcile(new Map([["alive", { networks: { bridge: settings }, ports, containerName: "alive" }]]));
  assert.deepEqual(Object.keys(next.inspect("bridge").Containers), ["alive"]);
  assert.equal(await ask("tcp", undefined, "127.0.0.1", 8500), "alive saw 172.18.0.1: hi");
  assert.equal(await ask("tcp", undefined, "::1", 8500), "alive saw 172.18.0.1: hi");
  assert.equal(await ask("tcp", undefined, "127.0.0.1", 8501), "ECONNREFUSED");
  next.createSandbox("new");
  assert.equal((await next.connect("new", "bridge", WANTED)).IPAddress, "172.18.0.3");
  server.close();
  await next.shutdown();
  crashing.remove();
  assert.deepEqual(await hostState(), before);
});

test("without a userland proxy the kernel alone leads, and the port is held all the same", async () => {
  const lone = makeEngine("lone", { userlandProxy: false });
  const engine = lone.open();
  const { path } = engine.createSandbox("c");
  await engine.connect("c", "bridge", WANTED);
  await engine.publish("c", { ...ONLY_EXPOSED, bindings: { "80/tcp": [{ HostIp: "", HostPort: "8700" }] } });
  const server = serveTcp(path, 80);
  assert.match(await ask("tcp", undefined, "127.0.0.1", 8700), /^c saw/);
  assert.equal(await ask("tcp", undefined, "::1", 8700), "ECONNRESET");
  assert.throws(() => bindSocket("tcp", "10.9.0.1", 8700), { code: "EADDRINUSE" });
  server.close();
  await engine.shutdown();
  lone.remove();
});

test("the default bridge's settings are the engine's", async () => {
  const defaultBridge = { neighbours: false, masquerade: true, hostBinding: "127.0.0.1" };
  const set = makeEngine("set", { defaultBridge });
  const engine = set.open();
  const [web, db] = ["web", "db"].map((name) => engine.createSandbox(name).path) as [string, string];
  const { IPAddress } = await engine.connect("web", "bridge", WANTED);
  await engine.connect("db", "bridge", { containerName: "db", hostname: "db" });
  await engine.publish("web", { ...ONLY_EXPOSED, bindings: { "80/tcp": [{ HostIp: "", HostPort: "8701" }] } });
  const server = serveTcp(web, 80);
  assert.match(await ask("tcp", undefined, "127.0.0.1", 8701), / saw /);
  assert.equal(await ask("tcp", undefined, "10.9.0.1", 8701), "ECONNREFUSED");
  assert.equal(await ask("tcp", undefined, "::1", 8701), "ECONNREFUSED");
  assert.doesNotMatch(await ask("tcp", db, IPAddress, 80), / saw /);
  const { Options } = engine.inspect("bridge");
  assert.equal(Options?.["com.docker.network.bridge.enable_icc"], "false");
  assert.equal(Options?.["com.docker.network.bridge.host_binding_ipv4"], "127.0.0.1");
  server.close();
  await engine.shutdown();
  set.remove();
});

test("two engines side by side have their own subnets, links and tables", async () => {
  const other = makeEngine("two");
  const before = await hostState();
  const second = other.open();
  const bridge = second.inspect("bridge");
  assert.notEqual(bridge.IPAM.Config[0]?.Subnet, "172.17.0.0/16");
  assert.match(bridge.Options?.["com.docker.network.bridge.name"] ?? "", /^gantry-[0-9a-f]{8}$/);
  const mine = await start("mine", { "80/tcp": [{ HostIp: "", HostPort: "8600" }] });
  const server = serveTcp(mine.path, 80, "mine");
  const { path } = second.createSandbox("theirs");
  await second.connect("theirs", "bridge", WANTED);
  await assert.rejects(
    second.publish("theirs", { ...ONLY_EXPOSED, bindings: { "80/tcp": [{ HostIp: "", HostPort: "8600" }] } }),
    /address already in use/,
  );
  assert.equal(await ask("tcp", path, mine.ip, 80), "timeout", "not into another engine's network");
  assert.match(await ask("tcp", path, "10.9.0.1", 8600), /^mine saw/);
  server.close();
  await networks.release("mine");
  await second.shutdown();
  other.remove();
  assert.deepEqual(await hostState(), before);
});

test("engines that start at the same instant take different bridges and subnets", async () => {
  const before = await hostState();
  const script = join(import.meta.dirname, "engine.fixture.ts");
  const engines = ["p", "q", "r", "s"].map((id) =>
    spawn(process.execPath, [script, id], { stdio: ["pipe", "pipe", "inherit"] }),
  );
  const rows = await Promise.all(engines.map(async ({ stdout }) => String((await once(stdout, "data"))[0]).trim()));
  const [names, subnets] = [0, 1].map((column) => new Set(rows.map((row) => row.split(" ")[column])));
  assert.equal(names?.size, 4, rows.join(", "));
  assert.equal(subnets?.size, 4, rows.join(", "));
  const closed = engines.map((engine) => once(engine, "close"));
  for (const { stdin } of engines) stdin.end();
  await Promise.all(closed);
  assert.deepEqual(await hostState(), before);
});

const NO_NFT = existsSync("/usr/sbin/nft") ? false : "nft(8) is not installed";

test("a foreign drop policy is told in the log", { skip: NO_NFT }, async () => {
  const nft = new Nftables();
  nft.run("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }");
  const engine = makeEngine("drop", {});
  const networks = engine.open();
  const deadline = Date.now() + 10_000;
  while (!engine.log.some((line) => line.includes("drops forwarded packets"))) {
    assert.ok(Date.now() < deadline, "it was not told");
    await new Promise(setImmediate);
  }
  await networks.shutdown();
  nft.run("delete table ip filter");
  nft.close();
  engine.remove();
});

/** The default bridge's configuration in an engine's next life with these settings. */
async function lifeWith(lab: ReturnType<typeof makeEngine>, defaultAddresses: DefaultAddressSettings) {
  const engine = lab.open({ defaultAddresses });
  const { EnableIPv6, IPAM } = engine.inspect("bridge");
  engine.createSandbox("c");
  const { IPAddress, Gateway, GlobalIPv6Address, IPv6Gateway } = await engine.connect("c", "bridge", WANTED);
  await engine.release("c");
  await engine.shutdown();
  return { EnableIPv6, rows: IPAM.Config, of: [IPAddress, Gateway, GlobalIPv6Address, IPv6Gateway].join(" ") };
}

test("the default bridge's ranges and gateways are taken as given, from one life to the next", async () => {
  const lab = makeEngine("fixed");
  const before = await hostState();
  const range = await lifeWith(lab, { fixedCidr: "10.77.4.0/24" });
  assert.deepEqual(range.rows, [{ Subnet: "10.77.4.0/24", Gateway: "10.77.4.1" }]);
  assert.equal(range.of, "10.77.4.2 10.77.4.1  ");
  const routed = await lifeWith(lab, { fixedCidr: "10.77.4.0/24", defaultGateway: "10.77.4.1" });
  assert.equal(routed.of, "10.77.4.3 10.77.4.1  ", "the bridge has another");
  assert.deepEqual(routed.rows, [
    { Subnet: "10.77.4.0/24", Gateway: "10.77.4.2", AuxiliaryAddresses: { DefaultGatewayIPv4: "10.77.4.1" } },
  ]);
  const inner = await lifeWith(lab, { bip: "10.77.0.1/16", fixedCidr: "10.77.4.7/30" });
  assert.deepEqual(inner.rows, [{ Subnet: "10.77.0.0/16", IPRange: "10.77.4.4/30", Gateway: "10.77.0.1" }]);
  assert.equal(inner.of, "10.77.4.4 10.77.0.1  ");
  const kept = await lifeWith(lab, { fixedCidr: "10.77.5.0/24" });
  assert.deepEqual(kept.rows, [{ Subnet: "10.77.0.0/16", IPRange: "10.77.5.0/24", Gateway: "10.77.0.1" }]);
  const six = await lifeWith(lab, {
    ...{ ipv6: true, bip6: "fd00:77::5/64", fixedCidr6: "fd00:77::4:0/112", defaultGateway6: "fd00:77::9" },
  });
  assert.deepEqual(
    [six.EnableIPv6, six.rows[1]],
    [
      true,
      {
        ...{ Subnet: "fd00:77::/64", IPRange: "fd00:77::4:0/112", Gateway: "fd00:77::5" },
        AuxiliaryAddresses: { DefaultGatewayIPv6: "fd00:77::9" },
      },
    ],
  );
  assert.match(six.of, /^10\.77\.\d+\.\d+ 10\.77\.0\.1 fd00:77::4:0 fd00:77::9$/);
  const own = await lifeWith(lab, { ipv6: true });
  assert.deepEqual([own.rows.length, own.rows[1]?.Subnet], [2, "fd00:77::/64"], "as it was, being free");
  const fresh = makeEngine("fresh");
  const chosen = await lifeWith(fresh, { ipv6: true });
  assert.match(chosen.rows[1]?.Subnet ?? "", /^fd[0-9a-f]{2}:.*::\/64$/, "one of the engine's own");
  fresh.remove();
  const four = await lifeWith(lab, {});
  assert.deepEqual([four.EnableIPv6, four.rows.length], [false, 1]);
  assert.deepEqual(await hostState(), before);
  lab.remove();
});

test("the default bridge's addresses are refused where a network of the engine has them, or no subnet goes with them", async () => {
  const lab = makeEngine("over");
  const first = lab.open();
  await first.create({
    ...networkCreateRequest.zero(),
    Name: "mine",
    IPAM: { Driver: "", Options: null, Config: [{ Subnet: "10.78.4.0/24" }] },
  });
  first.detach();
  const refused = (defaultAddresses: DefaultAddressSettings, message: RegExp) =>
    assert.throws(() => lab.open({ defaultAddresses }), message);
  refused(
    { bip: "10.78.0.1/16" },
    /^GantryError: cannot give the default bridge 10\.78\.0\.0\/16 \(--bip\): a network of this engine has 10\.78\.4\.0\/24$/,
  );
  refused({ fixedCidr: "10.78.4.128/25" }, /\(--fixed-cidr\): a network of this engine has 10\.78\.4\.0\/24$/);
  refused({ defaultGateway: "8.8.8.8" }, /around the default gateway 8\.8\.8\.8: give the bridge an address \(--bip\)/);
  refused({ fixedCidr: "10.79.0.0/24", defaultGateway: "10.78.0.1" }, /does not lie in 10\.79\.0\.0\/24/);
  const last = lab.open();
  await last.remove("mine");
  await last.shutdown();
  lab.remove();
});

test("--bip and address pools are taken as given", async () => {
  const given = makeEngine("bip", { defaultAddresses: { bip: "10.77.0.5/24" } });
  const one = given.open();
  assert.deepEqual(one.inspect("bridge").IPAM.Config, [{ Subnet: "10.77.0.0/24", Gateway: "10.77.0.5" }]);
  const pooled = makeEngine("pool", { defaultAddressPools: [{ base: "10.77.0.0/23", size: 24 }] });
  const two = pooled.open();
  assert.deepEqual(two.inspect("bridge").IPAM.Config, [{ Subnet: "10.77.1.0/24", Gateway: "10.77.1.1" }]);
  assert.throws(
    () => makeEngine("full", { defaultAddressPools: [{ base: "10.77.0.0/24", size: 24 }] }).open(),
    /fully subnetted/,
  );
  assert.throws(() => makeEngine("bad", { defaultAddresses: { bip: "10.1.0.0/24" } }).open(), { kind: "invalid" });
  await one.shutdown();
  await two.shutdown();
  for (const engine of [given, pooled]) engine.remove();
});
