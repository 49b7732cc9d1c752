import assert from "node:assert/strict";
import { createServer } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { EventMessage } from "../api/event.ts";
import { networkCreateRequest } from "../api/network-request.ts";
import { bindSocket } from "../kernel/bound-socket.ts";
import { createNetns, inNetns, removeNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { ask, makeEngine, serveTcp } from "./lab.fixture.ts";
import type { Networks } from "./networks.ts";
import { configureInside, withNetnsFd } from "./sandbox.ts";

enterPrivateHost();
const lab = makeEngine();
const events: EventMessage[] = [];
let networks: Networks;
before(async () => {
  networks = lab.open();
  lab.events.subscribe((event) => events.push(event));
  await networks.reconcile(new Map());
});
after(async () => {
  await networks.shutdown();
  lab.remove();
});

const create = (Name: string, Subnets: readonly string[] = [], Options: Record<string, string> = {}) =>
  networks.create({
    ...networkCreateRequest.zero(),
    Name,
    Options,
    EnableIPv6: Subnets.some((subnet) => subnet.includes(":")),
    IPAM: { Driver: "default", Options: null, Config: Subnets.map((Subnet) => ({ Subnet })) },
  });

async function join(id: string, network: string) {
  const { path } = networks.createSandbox(id);
  return { path, ...(await networks.connect(id, network, { containerName: id, hostname: id })) };
}

/** The events of one action so far, once there are so many. */
async function told(action: string, count: number): Promise<EventMessage[]> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const found = events.filter((event) => event.Action === action);
    if (found.length >= count) return found;
    assert.ok(
      Date.now() < deadline,
      `${found.length} of ${count} events ${action} in time; the log:\n${lab.log.join("")}`,
    );
    await delay(10);
  }
}

const indexOf = (host: Netlink, name: string) => host.links().find((link) => link.name === name)!.index;

test("a route or an address that comes into a network's subnet is told, by an event, once as long as it is there", async () => {
  const { id } = await create("office", ["10.5.0.0/16", "fd05::/64"]);
  await create("other", ["10.6.0.0/16"]);
  using host = new Netlink();
  // A bridge may play the VPN's link as well as any.
  host.createBridge("vpn0");
  const index = indexOf(host, "vpn0");
  host.setLinkUp(index);
  host.addAddress({ index, address: "10.200.0.1", prefix: 24 });
  const shown = (event: EventMessage) => `${event.Actor.ID} ${JSON.stringify(event.Actor.Attributes)}`;
  const clash = (subnet: string, route: string) =>
    `${id} ${JSON.stringify({ interface: "vpn0", name: "office", route, subnet, type: "bridge" })}`;
  host.addRoute({ destination: "10.5.7.0/24", gateway: "10.200.0.9", index });
  assert.deepEqual((await told("clash", 1)).map(shown), [clash("10.5.0.0/16", "10.5.7.0/24")]);
  host.addAddress({ index, address: "fd05::77", prefix: 80 });
  host.addAddress({ index, address: "10.7.0.1", prefix: 24 });
  assert.deepEqual((await told("clash", 2)).slice(1).map(shown), [clash("fd05::/64", "fd05::/80")]);
  // Gone and come again is new.
  host.deleteLink("vpn0");
  host.createBridge("vpn0");
  const second = indexOf(host, "vpn0");
  host.setLinkUp(second);
  host.addAddress({ index: second, address: "10.5.7.1", prefix: 24 });
  assert.deepEqual((await told("clash", 3)).slice(2).map(shown), [clash("10.5.0.0/16", "10.5.7.0/24")]);
  assert.match(lab.log.join(""), /the host reaches something else by the addresses of a network/);
  host.deleteLink("vpn0");
  await networks.remove("office");
  await networks.remove("other");
});

test("a bridge that somebody deletes is made again, with its containers on it and apart as they were", async () => {
  using host = new Netlink();
  await create("apart", ["10.8.0.0/24"], { "com.docker.network.bridge.enable_icc": "false" });
  const apart = [await join("apart-1", "apart"), await join("apart-2", "apart")];
  const plain = [await join("plain-1", "bridge"), await join("plain-2", "bridge")];
  const servers = [...apart, ...plain].map(({ path }) => serveTcp(path, 80));
  const ports = await networks.publish("plain-1", {
    bindings: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] },
    exposed: [],
    publishAll: false,
  });
  const port = Number(ports["80/tcp"]?.[0]?.HostPort);
  const works = async () => {
    assert.match(await ask("tcp", undefined, "127.0.0.1", port), /^c saw /);
    assert.match(await ask("tcp", plain[1]!.path, plain[0]!.IPAddress, 80), /^c saw /);
    assert.match(await ask("tcp", undefined, apart[0]!.IPAddress, 80), /^c saw /);
    assert.match(await ask("tcp", apart[0]!.path, apart[1]!.IPAddress, 80), /timeout|EHOSTUNREACH/);
  };
  await works();
  host.deleteLink("gantry0");
  host.deleteLink(`br-${networks.find("apart").id.slice(0, 12)}`);
  const repaired = await told("repair", 2);
  assert.deepEqual(repaired.map(({ Actor }) => Actor.Attributes.name).sort(), ["apart", "bridge"]);
  await works();
  const third = await join("apart-3", "apart");
  assert.equal(third.IPAddress, "10.8.0.4", "the addresses of the others are theirs");
  for (const server of servers) server.close();
  for (const id of ["apart-1", "apart-2", "apart-3", "plain-1", "plain-2"]) await networks.release(id);
  await networks.remove("apart");
});

test("containers follow the host's default route to another link", async () => {
  using host = new Netlink();
  const { path } = await join("roamer", "bridge");
  const uplinks = ["up0", "up1"].map((name, number) => {
    const outside = `${lab.root}/${name}`;
    createNetns(outside);
    withNetnsFd(outside, (netnsFd) => host.createVeth({ name, peer: { name: "eth0", netnsFd } }));
    const index = indexOf(host, name);
    host.addAddress({ index, address: `10.9.${number}.1`, prefix: 24 });
    const addresses = [
      { address: `10.9.${number}.2`, prefix: 24 },
      { address: "198.51.100.1", prefix: 32 },
    ];
    configureInside(outside, "eth0", { addresses, routes: [], ipv6: false });
    const fd = inNetns(outside, () => bindSocket("tcp", "0.0.0.0", 80));
    const server = createServer((socket) => socket.end(`${name} saw ${socket.remoteAddress}`)).listen({ fd });
    return { outside, server, name };
  });
  for (const number of [0, 1, 0]) {
    host.replaceRoute({ destination: "default", gateway: `10.9.${number}.2` });
    assert.equal(await ask("tcp", path, "198.51.100.1", 80), `up${number} saw 10.9.${number}.1`);
  }
  for (const { outside, server, name } of uplinks) {
    server.close();
    host.deleteLink(name);
    removeNetns(outside);
  }
  await networks.release("roamer");
});
