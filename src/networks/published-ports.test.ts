import assert from "node:assert/strict";
import { type ExecFileSyncOptionsWithStringEncoding, execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { bindSocket } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { call, makeDualNeighbour, serveDual, startDual } from "./dual-lab.fixture.ts";
import { ask, makeEngine, serveTcp } from "./lab.fixture.ts";
import type { Networks } from "./networks.ts";

enterPrivateHost();
process.setMaxListeners(100);
const lab = makeEngine("ports");
let networks: Networks;
let neighbour: ReturnType<typeof makeDualNeighbour>;
before(() => {
  neighbour = makeDualNeighbour(lab.root);
  networks = lab.open();
});
after(async () => {
  await networks.shutdown();
  neighbour.remove();
  lab.remove();
});

const at = (HostPort: string, HostIp = "") => [{ HostIp, HostPort }];
const fromOutside = (address: string, port: number, protocol: "tcp" | "udp" = "tcp") =>
  call(protocol, neighbour.path, address, port);
/** Of what is expected to say nothing. */
const knock = (address: string, port: number) => ask("tcp", neighbour.path, address, port);

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, what);
    await pause(10);
  }
}

/** As another program: the kernel is to see another process. */
function nft(script: string): void {
  execFileSync("nft", ["-f", "-"], { input: script, stdio: ["pipe", "ignore", "inherit"] });
}

describe("a port of a container with addresses of both families", () => {
  let web: Awaited<ReturnType<typeof startDual>>;
  let peer: Awaited<ReturnType<typeof startDual>>;
  let other: Awaited<ReturnType<typeof startDual>>;
  let server: { close(): void };
  before(async () => {
    web = await startDual(networks, "web", {
      "80/tcp": at("8080"),
      "80/udp": at("8080"),
      "81/tcp": [...at("8081", "fd09::1"), ...at("8082", "::1"), ...at("8083", "::")],
    });
    peer = await startDual(networks, "peer");
    other = await startDual(networks, "other", {}, { name: "elsewhere" });
    const servers = [serveDual(web.path, 80), serveDual(web.path, 81)];
    server = {
      close() {
        for (const one of servers) one.close();
      },
    };
  });
  after(async () => {
    server.close();
    for (const id of ["web", "peer", "other"]) await networks.release(id);
  });

  test("is led by the kernel for both, which keeps the callers' addresses", async () => {
    const answers = await Promise.all([
      fromOutside("10.9.0.1", 8080),
      fromOutside("fd09::1", 8080),
      fromOutside("10.9.0.1", 8080, "udp"),
      fromOutside("fd09::1", 8080, "udp"),
    ]);
    assert.deepEqual(answers, ["10.9.0.2: hi", "fd09::2: hi", "10.9.0.2: hi", "fd09::2: hi"]);
  });

  test("is reached by the host, also by ::1, which the proxy serves", async () => {
    const [four, six, own, ownUdp] = await Promise.all([
      call("tcp", undefined, "127.0.0.1", 8080),
      call("tcp", undefined, "fd09::1", 8080),
      call("tcp", undefined, "::1", 8080),
      call("udp", undefined, "::1", 8080),
    ]);
    assert.equal(six, "fd09::1: hi");
    for (const answer of [four, own, ownUdp]) assert.match(answer, /: hi$/);
  });

  test("is reached by containers at the host's address: its own, of its network and of another", async () => {
    const answers = await Promise.all(
      [web.path, peer.path, other.path].flatMap((path) =>
        (["tcp", "udp"] as const).flatMap((protocol) => [
          call(protocol, path, "10.9.0.1", 8080),
          call(protocol, path, "fd09::1", 8080),
        ]),
      ),
    );
    assert.deepEqual(
      answers.filter((answer) => !answer.endsWith(": hi")),
      [],
    );
  });

  test("is open at the addresses that were chosen and at no others", async () => {
    const answers = await Promise.all([
      fromOutside("fd09::1", 8081),
      fromOutside("10.9.0.1", 8081),
      fromOutside("fd09::1", 8082),
      call("tcp", undefined, "::1", 8082),
      fromOutside("fd09::1", 8083),
      fromOutside("10.9.0.1", 8083),
    ]);
    assert.deepEqual(answers.slice(0, 3), ["fd09::2: hi", "ECONNREFUSED", "ECONNREFUSED"]);
    assert.match(answers[3] ?? "", /: hi$/);
    assert.deepEqual(answers.slice(4), ["fd09::2: hi", "ECONNREFUSED"]);
  });

  test("does not open the container's own address to a neighbour with a route to it", async () => {
    using netlink = inNetns(neighbour.path, () => new Netlink());
    const index = netlink.links().find(({ name }) => name === "eth0")?.index ?? 0;
    const routes = [
      { destination: `${web.four}/32`, gateway: "10.9.0.1", index },
      { destination: `${web.six}/128`, gateway: "fd09::1", index },
    ];
    for (const route of routes) netlink.addRoute(route);
    const answers = await Promise.all([knock(web.four, 80), knock(web.six, 80), knock(web.six, 9)]);
    for (const route of routes) netlink.deleteRoute(route);
    assert.deepEqual(answers, ["timeout", "timeout", "timeout"]);
  });

  test("is served by the next engine after one that crashed", async () => {
    const { networks: joined } = networks.state("web");
    networks.detach();
    assert.equal(await fromOutside("fd09::1", 8080), "fd09::2: hi", "the kernel goes on alone");
    networks = lab.open();
    await networks.reconcile(new Map([["web", { networks: joined, ports: web.ports, containerName: "web" }]]));
    assert.equal(await fromOutside("fd09::1", 8080), "fd09::2: hi");
    assert.equal(await fromOutside("10.9.0.1", 8080), "10.9.0.2: hi");
    assert.match(await call("tcp", undefined, "::1", 8080), /: hi$/);
    assert.throws(() => bindSocket("tcp", "fd09::1", 8080), { code: "EADDRINUSE" });
  });
});

test("IPv6 that leads to a container with IPv4 alone goes by the proxy", async () => {
  networks.createSandbox("four");
  const { IPAddress } = await networks.connect("four", "bridge", { containerName: "four", hostname: "four" });
  await networks.publish("four", { bindings: { "80/tcp": at("8180") }, exposed: [], publishAll: false });
  const path = `${lab.root}/netns/four`;
  const server = serveTcp(path, 80, "four");
  assert.equal(await fromOutside("10.9.0.1", 8180), "four saw 10.9.0.2: hi");
  assert.match(await fromOutside("fd09::1", 8180), /^four saw 172\.\d+\.0\.1: hi$/, IPAddress);
  server.close();
  await networks.release("four");
});

test("rules that somebody flushed, or deleted, or changed, are back by themselves, and it is told once", async () => {
  await startDual(networks, "flushed", { "80/tcp": at("8280") });
  const server = serveDual(`${lab.root}/netns/flushed`, 80);
  lab.log.length = 0;
  const before = lab.events.past(0n).length;
  const quiet: ExecFileSyncOptionsWithStringEncoding = { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] };
  const list = () => execFileSync("nft", ["list", "table", "inet", "gantry-ports"], quiet);
  const whole = list();
  const isWhole = () => {
    try {
      return list() === whole;
    } catch {
      return false;
    }
  };
  for (const script of [
    "flush ruleset",
    "delete table inet gantry-ports",
    "flush chain inet gantry-ports prerouting",
    "delete element inet gantry-ports any4 { tcp . 8280 }",
  ]) {
    nft(script);
    await until(isWhole, `not mended after ${script}`);
  }
  assert.equal(await fromOutside("fd09::1", 8280), "fd09::2: hi");
  const told = lab.log.filter((line) => line.includes("put in place again"));
  assert.equal(told.length, 1, told.join());
  assert.match(told[0] ?? "", /nft \(process \d+\)/);
  const events = lab.events
    .past(0n)
    .slice(before)
    .filter(({ Action }) => Action === "restore-rules");
  assert.equal(events.length, 1);
  server.close();
  await networks.release("flushed");
});

test("two programs that want different rules don't keep the engine busy", async () => {
  let restored = 0;
  const stop = Date.now() + 1500;
  while (Date.now() < stop) {
    nft("add table inet gantry-ports; delete table inet gantry-ports");
    const deadline = Date.now() + 50;
    while (Date.now() < deadline) await pause(5);
    if (execFileSync("nft", ["list", "tables"], { encoding: "utf8" }).includes("gantry-ports")) restored++;
  }
  assert.ok(restored <= 6, `put in place ${restored} times`);
  await until(
    () => execFileSync("nft", ["list", "tables"], { encoding: "utf8" }).includes("gantry-ports"),
    "the last word is not the engine's",
  );
});

test("a thousand ports are one transaction, and cost a descriptor each", async (t) => {
  const descriptors = () => readdirSync("/proc/self/fd").length;
  const handles = () => process.getActiveResourcesInfo().length;
  const bindings = Object.fromEntries(
    Array.from({ length: 1000 }, (_, row) => [`${20_000 + row}/tcp`, at(String(20_000 + row))]),
  );
  const times: number[] = [];
  for (let round = 0; round < 3; round++) {
    await startDual(networks, "many");
    const [fds, watched] = [descriptors(), handles()];
    const begin = performance.now();
    await networks.publish("many", { bindings, exposed: [], publishAll: false });
    times.push(performance.now() - begin);
    assert.equal(descriptors() - fds, 1001, "one each, and one that watches them all");
    assert.ok(handles() - watched <= 1, "no handle each");
    if (round === 2) {
      const server = serveDual(`${lab.root}/netns/many`, 20_999);
      assert.equal(await fromOutside("fd09::1", 20_999), "fd09::2: hi");
      assert.match(await call("tcp", undefined, "::1", 20_999), /: hi$/);
      server.close();
    }
    await networks.release("many");
    assert.equal(
      execFileSync("nft", ["list", "map", "inet", "gantry-ports", "any4"], { encoding: "utf8" }).includes("elements"),
      false,
    );
  }
  const best = Math.min(...times);
  t.diagnostic(`1,000 ports of both families: ${best.toFixed(1)} ms`);
  assert.ok(best < 1000);
});

describe("gateway modes", () => {
  const mode = (four: string, six: string) => ({
    "com.docker.network.bridge.gateway_mode_ipv4": four,
    "com.docker.network.bridge.gateway_mode_ipv6": six,
  });
  async function reached(name: string, port: number, options: Record<string, string>, wanted: readonly string[]) {
    const box = await startDual(networks, name, { "80/tcp": at(String(port)) }, { name: `net-${name}`, options });
    const servers = [serveDual(box.path, 80), serveDual(box.path, 81)];
    using netlink = inNetns(neighbour.path, () => new Netlink());
    const index = netlink.links().find((link) => link.name === "eth0")?.index ?? 0;
    const routes = [
      { destination: `${box.four}/32`, gateway: "10.9.0.1", index },
      { destination: `${box.six}/128`, gateway: "fd09::1", index },
    ];
    for (const route of routes) netlink.addRoute(route);
    const calls: [string, string, number][] = [
      ["host port, IPv4", "10.9.0.1", port],
      ["host port, IPv6", "fd09::1", port],
      ["own address, published, IPv4", box.four, 80],
      ["own address, published, IPv6", box.six, 80],
      ["own address, other, IPv4", box.four, 81],
      ["own address, other, IPv6", box.six, 81],
    ];
    const answers = await Promise.all(
      calls.map(([what, address, port]) => (wanted.includes(what) ? fromOutside : knock)(address, port)),
    );
    for (const route of routes) netlink.deleteRoute(route);
    for (const server of servers) server.close();
    await networks.release(name);
    await networks.remove(`net-${name}`);
    const open = calls.flatMap(([what], row) => (answers[row]?.endsWith(": hi") ? [what] : []));
    return { ports: box.ports, open, wanted };
  }

  const HOST_PORTS = ["host port, IPv4", "host port, IPv6"];
  const OWN_PORTS = ["own address, published, IPv4", "own address, published, IPv6"];
  // All at once: what is closed takes a second to say so.
  let all: Record<"routed" | "mixed" | "unprotected" | "trusting", Awaited<ReturnType<typeof reached>>>;
  before(async () => {
    const trust = { "com.docker.network.bridge.trusted_host_interfaces": "outside" };
    const [routed, mixed, unprotected, trusting] = await Promise.all([
      reached("routed", 8380, mode("routed", "routed"), OWN_PORTS),
      reached("mixed", 8381, mode("nat", "routed"), ["host port, IPv4", "own address, published, IPv6"]),
      reached("unprotected", 8382, mode("nat-unprotected", "nat"), [
        ...HOST_PORTS,
        "own address, published, IPv4",
        "own address, other, IPv4",
      ]),
      reached("trusting", 8383, trust, [...HOST_PORTS, ...OWN_PORTS]),
    ]);
    all = { routed, mixed, unprotected, trusting };
  });

  test("routed opens what is published at the containers' own addresses, and no port of the host", () => {
    const { open, wanted, ports } = all.routed;
    assert.deepEqual(open, wanted);
    assert.deepEqual(ports["80/tcp"], [
      { HostIp: "0.0.0.0", HostPort: "" },
      { HostIp: "::", HostPort: "" },
    ]);
  });

  test("are of one family each", () => {
    assert.deepEqual(all.mixed.open, all.mixed.wanted);
  });

  test("nat-unprotected opens all ports at the containers' own addresses besides", () => {
    assert.deepEqual(all.unprotected.open, all.unprotected.wanted);
  });

  test("a link that is trusted is let in to what is published at the containers' own addresses", () => {
    assert.deepEqual(all.trusting.open, all.trusting.wanted);
  });
});
