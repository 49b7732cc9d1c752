import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { closeSync, readSync, writeSync } from "node:fs";
import { connect, createServer, Socket } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { networkCreateRequest } from "../api/network-request.ts";
import { bindSocket, connectSocket } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { openPacketSocket } from "../kernel/packet-socket.fixture.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { Readiness } from "../kernel/readiness.ts";
import { advertisementFrame, arpFrame, pongFrame, udpFrame } from "./frames.fixture.ts";
import { makeEngine, makeNeighbour } from "./lab.fixture.ts";
import type { Networks } from "./networks.ts";
import { configureInside, writeSysctl } from "./sandbox.ts";

enterPrivateHost();
process.setMaxListeners(200);
const lab = makeEngine();
const SERVED = 80;
const HOSTS = 92;
/** Whoever is reached answers at once; so long it is waited for an answer that must not come. */
const SILENCE_MS = 800;
const PATIENCE_MS = 10_000;

interface Place {
  /** Undefined: the host. */
  readonly path: string | undefined;
  readonly addresses: readonly string[];
  readonly mac: string;
}

let networks: Networks;
let neighbour: ReturnType<typeof makeNeighbour>;
const places = new Map<string, Place>();
const gateways = new Map<string, readonly string[]>();
const closers: (() => void)[] = [];
/** What was heard at port 80 and 92 by UDP, with the name of the place. */
const heard: string[] = [];
const published = { open: 0, loopback: 0 };

before(async () => {
  neighbour = makeNeighbour(lab.root);
  networks = lab.open();
  using host = new Netlink();
  const outside = host.links().find(({ name }) => name === "outside")!.index;
  writeSysctl("net/ipv6/conf/outside/disable_ipv6", "0");
  host.addAddress({ index: outside, address: "fd09::1", prefix: 64 });
  const create = (Name: string, Options: Record<string, string> = {}, Internal = false) =>
    networks.create({ ...networkCreateRequest.zero(), Name, EnableIPv6: true, Internal, Options });
  await create("left");
  await create("right");
  await create("inner", {}, true);
  await create("lonely", { "com.docker.network.bridge.enable_icc": "false" });
  const sealed = ["gateway_mode_ipv4", "gateway_mode_ipv6"].map((name) => [
    `com.docker.network.bridge.${name}`,
    "isolated",
  ]);
  await create("sealed", Object.fromEntries(sealed), true);
  for (const network of ["left", "right", "inner", "lonely", "sealed"]) {
    for (const number of [1, 2]) await join(`${network}-${number}`, network);
    const { bridge } = JSON.parse(JSON.stringify({ bridge: networks.inspect(network).IPAM.Config }));
    gateways.set(
      network,
      (bridge as { Gateway: string }[]).map(({ Gateway }) => Gateway.split("/")[0]!),
    );
  }
  configureInside(neighbour.path, "eth0", {
    addresses: [{ address: "fd09::2", prefix: 64 }],
    // It knows the way to the containers and tries it.
    routes: ["10.9.0.1", "fd09::1"].map((gateway) => ({ destination: "default", gateway })),
    ipv6: true,
  });
  places.set("world", { path: neighbour.path, addresses: ["10.9.0.2", "fd09::2"], mac: "" });
  places.set("host", { path: undefined, addresses: ["10.9.0.1", "fd09::1"], mac: "" });
  for (const [name, { path }] of places) serve(name, path, name === "host" ? HOSTS : SERVED);
  const ports = await networks.publish("right-1", {
    bindings: { "80/tcp": [{ HostIp: "0.0.0.0", HostPort: "" }] },
    exposed: [],
    publishAll: false,
  });
  published.open = Number(ports["80/tcp"]?.[0]?.HostPort);
  const loopback = await networks.publish("left-2", {
    bindings: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] },
    exposed: [],
    publishAll: false,
  });
  published.loopback = Number(loopback["80/tcp"]?.[0]?.HostPort);
});
after(async () => {
  for (const close of closers) close();
  await networks.shutdown();
  neighbour.remove();
  lab.remove();
});

async function join(id: string, network: string): Promise<void> {
  const { path } = networks.createSandbox(id);
  const settings = await networks.connect(id, network, { containerName: id, hostname: id });
  const { IPAddress, GlobalIPv6Address, MacAddress } = settings;
  places.set(id, { path, addresses: [IPAddress, GlobalIPv6Address], mac: MacAddress });
}

function inside<T>(path: string | undefined, act: () => T extends Promise<unknown> ? never : T): T {
  return path === undefined ? act() : inNetns(path, act);
}

/** Answers with its name, by both protocols and families. */
function serve(name: string, path: string | undefined, port: number): void {
  for (const address of ["0.0.0.0", "::"]) {
    const server = createServer((socket) => socket.on("error", () => {}).end(name));
    server.listen({ fd: inside(path, () => bindSocket("tcp", address, port)) });
    const socket = createSocket(address === "::" ? "udp6" : "udp4", (text, from) => {
      heard.push(`${name} ${text}`);
      socket.send(name, from.port, from.address, () => {});
    });
    socket.bind({ fd: inside(path, () => bindSocket("udp", address, port)) });
    closers.push(
      () => server.close(),
      () => socket.close(),
    );
  }
}

/** Who answers; "nobody" after some time. */
function call(kind: "tcp" | "udp", from: Place, address: string, port: number, ms: number): Promise<string> {
  let fd: number;
  try {
    fd = inside(from.path, () => connectSocket(kind, address, port));
  } catch {
    return Promise.resolve("nobody");
  }
  const { promise, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(() => resolve("nobody"), ms);
  let socket: Socket | undefined;
  const ready = new Readiness(fd, () => {
    if (kind === "udp") {
      resolve(readAnswer(fd));
      return;
    }
    ready.close();
    socket = new Socket({ fd });
    socket.on("data", (data) => resolve(String(data)));
    socket.on("error", () => resolve("nobody"));
  });
  if (kind === "udp") writeSync(fd, "?");
  ready.watch(kind === "udp", kind === "tcp");
  return promise.finally(() => {
    clearTimeout(timer);
    ready.close();
    if (socket === undefined) closeSync(fd);
    else socket.destroy();
  });
}

function readAnswer(fd: number): string {
  const answer = Buffer.alloc(100);
  try {
    return answer.toString("utf8", 0, readSync(fd, answer));
  } catch {
    return "nobody";
  }
}

interface Row {
  readonly from: string;
  readonly to: string;
  readonly address: string;
  readonly port: number;
  readonly kind: "tcp" | "udp";
  /** Who answers. */
  readonly wanted: string;
}

const place = (name: string): Place => places.get(name)!;

/** Both families and protocols, to where a place is. */
function rowsOf(from: string, to: string, isReached: boolean): Row[] {
  const port = to === "host" ? HOSTS : SERVED;
  return place(to).addresses.flatMap((address) =>
    (["tcp", "udp"] as const).map((kind) => ({ from, to, address, port, kind, wanted: isReached ? to : "nobody" })),
  );
}

function tableRows(): Row[] {
  const containers = [...places.keys()].filter((name) => /-\d$/.test(name));
  const networkOf = (name: string) => name.split("-")[0]!;
  const rows: Row[] = [];
  for (const from of containers) {
    for (const to of containers) {
      if (from === to) continue;
      rows.push(...rowsOf(from, to, networkOf(from) === networkOf(to) && networkOf(from) !== "lonely"));
    }
    const leadsOut = !["inner", "sealed"].includes(networkOf(from));
    const knowsHost = networkOf(from) !== "sealed";
    rows.push(...rowsOf(from, "world", leadsOut), ...rowsOf("world", from, false), ...rowsOf("host", from, knowsHost));
    // By UDP the host answers from the address that is nearest, which is its bridge's.
    rows.push(...rowsOf(from, "host", leadsOut).filter(({ kind }) => kind === "tcp"));
    for (const address of gateways.get(networkOf(from))!) {
      for (const kind of knowsHost ? (["udp"] as const) : (["udp", "tcp"] as const))
        rows.push({ from, to: "host", address, port: HOSTS, kind, wanted: knowsHost ? "host" : "nobody" });
    }
  }
  return rows;
}

/** Those that are to be answered first: then it is known that silence is no slowness. */
async function check(rows: readonly Row[]): Promise<void> {
  for (const [isAnswered, ms] of [
    [true, PATIENCE_MS],
    [false, SILENCE_MS],
  ] as const) {
    const wrong = await Promise.all(
      rows
        .filter(({ wanted }) => (wanted !== "nobody") === isAnswered)
        .map(async ({ from, to, address, port, kind, wanted }) => {
          const answer = await call(kind, place(from), address, port, ms);
          return answer === wanted ? [] : [`${from} to ${to} (${address}) by ${kind}: ${answer}`];
        }),
    );
    assert.deepEqual(wrong.flat(), []);
  }
}

test("who reaches whom, by both families and protocols, in both directions", () => check(tableRows()));

test("a published port is reached by who may reach the host's address, one of 127.0.0.1 by the host alone", async () => {
  const row = (from: string, address: string, port: number, wanted: string): Row => {
    return { from, to: `port ${port}`, address, port, kind: "tcp", wanted };
  };
  const anyGateway = [...gateways.values()].flat();
  const four = (addresses: readonly string[]) => addresses.filter((address) => !address.includes(":"));
  const own = (network: string) => gateways.get(network)!;
  await check([
    row("world", "10.9.0.1", published.open, "right-1"),
    row("left-1", "10.9.0.1", published.open, "right-1"),
    row("left-1", four(own("right"))[0]!, published.open, "right-1"),
    row("right-1", "10.9.0.1", published.open, "right-1"),
    row("host", "127.0.0.1", published.loopback, "left-2"),
    ...["10.9.0.1", "fd09::1", ...anyGateway].map((address) => row("inner-1", address, published.open, "nobody")),
    ...["left-1", "right-1", "lonely-1", "inner-1"].flatMap((from) =>
      ["127.0.0.1", "10.9.0.1", "fd09::1", ...anyGateway].map((address) =>
        row(from, address, published.loopback, "nobody"),
      ),
    ),
    ...["10.9.0.1", "fd09::1", ...anyGateway].map((address) => row("world", address, published.loopback, "nobody")),
    // Of the host's addresses an internal network has its bridge's own.
    ...own("inner").map((address) => row("inner-1", address, HOSTS, "host")),
    ...[...own("left"), ...own("right")].map((address) => row("inner-1", address, HOSTS, "nobody")),
  ]);
});

/** A way to put frames onto the wire, and to see those that come. */
function wire(name: string): { send: (frame: Buffer) => void; seen: () => Buffer[]; close: () => void } {
  const fd = inside(place(name).path, () => {
    using netlink = new Netlink();
    return openPacketSocket(netlink.links().find((link) => link.name === "eth0")!.index);
  });
  const frames: Buffer[] = [];
  const buffer = Buffer.alloc(2048);
  const ready = new Readiness(fd, () => frames.push(Buffer.from(buffer.subarray(0, readSync(fd, buffer)))));
  ready.watch(true);
  return {
    send: (frame) => writeSync(fd, frame),
    seen: () => frames,
    close: () => {
      ready.close();
      closeSync(fd);
    },
  };
}

function bridgeMacOf(network: string): string {
  using host = new Netlink();
  const four = gateways.get(network)!.find((address) => !address.includes(":"));
  const row = host.addresses().find(({ address }) => address === four)!;
  return host.links().find(({ index }) => index === row.index)!.mac;
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!isSo()) {
    assert.ok(Date.now() < deadline, `${what} did not come`);
    await delay(5);
  }
}

test("nobody is believed who sends from an address that is not of its network", async () => {
  const left = wire("left-1");
  const me = place("left-1");
  const to = bridgeMacOf("left");
  const send = (source: string, destination: string, port: number, text: string) =>
    left.send(udpFrame({ from: me.mac, to, source, destination }, port, text));
  heard.length = 0;
  for (const family of [0, 1]) {
    const target = place("right-1").addresses[family]!;
    const own = gateways.get("left")!.find((address) => address.includes(":") === (family === 1))!;
    const others = gateways.get("right")!.find((address) => address.includes(":") === (family === 1))!;
    const sources = {
      "a container's": place("right-2").addresses[family]!,
      "the other gateway's": others,
      "the own gateway's": own,
      "the host's": place("host").addresses[family]!,
      "the world's": place("world").addresses[family]!,
      "an internal one's": place("inner-1").addresses[family]!,
      loopback: ["127.0.0.1", "::1"][family]!,
      "all ones": ["255.255.255.255", "ff02::1"][family]!,
    };
    for (const [whose, source] of Object.entries(sources)) {
      send(source, target, SERVED, `${whose} ${family} to a container`);
      send(source, own, HOSTS, `${whose} ${family} to the host`);
      send(source, others, HOSTS, `${whose} ${family} to the other gateway`);
      send(source, place("inner-1").addresses[family]!, SERVED, `${whose} ${family} to an internal one`);
      send(source, place("world").addresses[family]!, SERVED, `${whose} ${family} to the world`);
    }
    // What comes later on the same way has come: so has all that will come of those before.
    send(me.addresses[family]!, own, HOSTS, `fence ${family}`);
    send(me.addresses[family]!, place("world").addresses[family]!, SERVED, `fence ${family}`);
  }
  for (const fence of ["host fence 0", "host fence 1", "world fence 0", "world fence 1"])
    await until(fence, () => heard.includes(fence));
  left.close();
  assert.deepEqual(
    heard.filter((text) => !text.includes("fence")),
    [],
  );
});

test("who is on an isolated network gets at its members alone, also who writes to the bridge itself", async () => {
  using host = new Netlink();
  const { Id } = networks.inspect("sealed");
  const bridge = host.links().find(({ name }) => name === `br-${Id.slice(0, 12)}`)!;
  assert.deepEqual(host.addresses(bridge.index), [], "the bridge has no address, of the link neither");
  const [sealed, left] = [wire("sealed-1"), wire("left-1")];
  const me = place("sealed-1");
  heard.length = 0;
  for (const family of [0, 1]) {
    const isOf = (address: string) => address.includes(":") === (family === 1);
    const source = me.addresses[family]!;
    const targets = [
      ...["host", "world", "left-2", "inner-1"].map((name) => place(name).addresses[family]!),
      ...[...gateways.values()].flat().filter(isOf),
    ];
    for (const destination of targets) {
      for (const to of [bridge.mac, "ff:ff:ff:ff:ff:ff"]) {
        for (const port of [SERVED, HOSTS])
          sealed.send(udpFrame({ from: me.mac, to, source, destination }, port, "in"));
      }
    }
    const other = place("sealed-2");
    sealed.send(
      udpFrame({ from: me.mac, to: other.mac, source, destination: other.addresses[family]! }, SERVED, "fence"),
    );
    // Those who must have heard nothing have taken what came until now.
    const from = { from: place("left-1").mac, source: place("left-1").addresses[family]!, to: bridgeMacOf("left") };
    const own = gateways.get("left")!.find(isOf)!;
    left.send(udpFrame({ ...from, destination: own }, HOSTS, `fence ${family}`));
    left.send(udpFrame({ ...from, destination: place("world").addresses[family]! }, SERVED, `fence ${family}`));
  }
  const fences = ["host fence 0", "host fence 1", "world fence 0", "world fence 1"];
  await until(
    "the fences",
    () =>
      fences.every((each) => heard.includes(each)) && heard.filter((each) => each === "sealed-2 fence").length === 2,
  );
  assert.deepEqual(
    heard.filter((text) => !text.includes("fence")),
    [],
  );
  sealed.close();
  left.close();
  const ports = await networks.publish("sealed-1", {
    bindings: { "80/tcp": [{ HostIp: "0.0.0.0", HostPort: "8077" }] },
    exposed: [],
    publishAll: false,
  });
  assert.deepEqual(ports, {}, "nothing is published there");
  const row = {
    from: "world",
    to: "sealed-1",
    address: "10.9.0.1",
    port: 8077,
    kind: "tcp",
    wanted: "nobody",
  } as const;
  await check([row, { ...row, from: "host" }, { ...row, from: "left-1" }, { ...row, address: "fd09::1" }]);
});

test("nobody is believed either who sends from another's address what belongs to no connection", async () => {
  const [left, world] = [wire("left-1"), wire("world")];
  const me = place("left-1");
  const to = bridgeMacOf("left");
  const came = (text: string) => world.seen().filter((frame) => frame.includes(text)).length;
  for (const family of [0, 1]) {
    const destination = place("world").addresses[family]!;
    for (const name of ["left-1", "right-2", "host", "world", "inner-1"]) {
      const text = name === "left-1" ? `fence ${family}` : `${name} ${family}`;
      left.send(pongFrame({ from: me.mac, to, source: place(name).addresses[family]!, destination }, `pong ${text}`));
    }
    // The last of them comes after a datagram that comes for certain.
    left.send(udpFrame({ from: me.mac, to, source: me.addresses[family]!, destination }, SERVED, `fence ${family}`));
  }
  await until("the fences", () => came("fence 0") > 1 && came("fence 1") > 1);
  const pongs = world.seen().filter((frame) => frame.includes("pong"));
  assert.deepEqual(
    pongs.map((frame) => frame.toString().replace(/^.*pong /s, "")),
    ["fence 0", "fence 1"],
  );
  left.close();
  world.close();
});

test("a neighbour's loopback, its name server's address too, is nobody else's", async () => {
  const left = wire("left-1");
  const [me, other] = [place("left-1"), place("left-2")];
  const ears = [11, 1].map((last) => {
    const socket = createSocket("udp4", (text) => heard.push(`127.0.0.${last} ${text}`));
    socket.bind({ fd: inside(other.path, () => bindSocket("udp", `127.0.0.${last}`, 5300)) });
    return socket;
  });
  heard.length = 0;
  for (const destination of ["127.0.0.11", "127.0.0.1"]) {
    for (const source of [me.addresses[0]!, "127.0.0.11", other.addresses[0]!]) {
      left.send(udpFrame({ from: me.mac, to: other.mac, source, destination }, 5300, "in"));
    }
  }
  const fence = { from: me.mac, to: other.mac, source: me.addresses[0]!, destination: other.addresses[0]! };
  left.send(udpFrame(fence, SERVED, "fence"));
  await until("the fence", () => heard.includes("left-2 fence"));
  assert.deepEqual(heard, ["left-2 fence"]);
  for (const ear of ears) ear.close();
  left.close();
});

test("neighbours that are kept apart see nothing of each other, not even of who claims to be the gateway", async () => {
  for (const [network, isSeen] of [
    ["left", true],
    ["lonely", false],
  ] as const) {
    const [one, two] = [wire(`${network}-1`), wire(`${network}-2`)];
    const me = place(`${network}-1`);
    const gateway = gateways.get(network)!.find((address) => !address.includes(":"))!;
    // Who is not kept apart would believe it, as with Docker.
    one.send(arpFrame({ from: me.mac, source: isSeen ? me.addresses[0]! : gateway }));
    const way = { from: me.mac, to: "33:33:00:00:00:01", source: "fe80::1", destination: "ff02::1" };
    one.send(advertisementFrame(way, "2001:db8:1::"));
    // The host's own question comes to both.
    await call("udp", place("host"), place(`${network}-2`).addresses[0]!, SERVED, PATIENCE_MS);
    if (isSeen) await until("the frame", () => two.seen().length > 1);
    const mac = Buffer.from(me.mac.replaceAll(":", ""), "hex");
    const ofOne = two.seen().filter((frame) => frame.subarray(6, 12).equals(mac));
    assert.equal(ofOne.length > 0, isSeen, network);
    one.close();
    two.close();
  }
});

test("one on two networks answers on each, whichever way its answers take", async () => {
  const { GlobalIPv6Address, IPAddress } = await networks.connect("left-1", "right", {
    containerName: "left-1",
    hostname: "left-1",
  });
  for (const [address, from] of [
    [IPAddress, "10.9.0.1"],
    [GlobalIPv6Address, "fd09::1"],
  ] as const) {
    const server = connect({ host: address, port: SERVED, localAddress: from });
    server.setTimeout(PATIENCE_MS, () => server.destroy());
    let text = "";
    for await (const piece of server) text += piece;
    assert.equal(text, "left-1", address);
  }
  await networks.disconnect("left-1", "right");
});

test("nobody takes a container for a router, neither the host nor its neighbours", async () => {
  const left = wire("left-1");
  const me = place("left-1");
  const way = { from: me.mac, to: "33:33:00:00:00:01", source: "fe80::1", destination: "ff02::1" };
  const state = (path: string | undefined) =>
    inside(path, () => {
      using netlink = new Netlink();
      return [...netlink.addresses(), ...netlink.routes()].map((row) => JSON.stringify(row)).sort();
    });
  const seen = ["left-2", "host"] as const;
  const earlier = seen.map((name) => state(place(name).path));
  heard.length = 0;
  for (let n = 0; n < 3; n++) left.send(advertisementFrame(way, "2001:db8:2::"));
  for (const name of seen) {
    const six =
      name === "host" ? gateways.get("left")!.find((address) => address.includes(":"))! : place(name).addresses[1]!;
    await call("udp", me, six, name === "host" ? HOSTS : SERVED, PATIENCE_MS);
  }
  assert.equal(heard.length, 2);
  assert.deepEqual(
    seen.map((name) => state(place(name).path)),
    earlier,
  );
  left.close();
});
