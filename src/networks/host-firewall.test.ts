import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { closeSync, cpSync, existsSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { networkCreateRequest } from "../api/network-request.ts";
import { bindSocket, connectSocket } from "../kernel/bound-socket.ts";
import { bindMount, unmount } from "../kernel/mount.ts";
import { createNetns, inNetns, removeNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { call, makeDualNeighbour, serveDual, startDual } from "./dual-lab.fixture.ts";
import { ask, makeEngine } from "./lab.fixture.ts";
import type { Networks } from "./networks.ts";
import { configureInside, withNetnsFd } from "./sandbox.ts";

enterPrivateHost();
process.setMaxListeners(50);

const NO_NFT = existsSync("/usr/sbin/nft") ? false : "nft(8) is not installed";
const NO_IPTABLES = existsSync("/usr/sbin/iptables-nft") ? false : "iptables-nft is not installed";
const NO_UFW = existsSync("/usr/sbin/ufw") ? false : "ufw is not installed";

const lab = makeEngine("honest", { publish: "respect-host-firewall" });
let networks: Networks;
let neighbour: ReturnType<typeof makeDualNeighbour>;
let web: Awaited<ReturnType<typeof startDual>>;
let peer: Awaited<ReturnType<typeof startDual>>;
const servers: { close(): void }[] = [];

before(async () => {
  neighbour = makeDualNeighbour(lab.root);
  networks = lab.open();
  const at = (port: string, hostIp = "") => [{ HostIp: hostIp, HostPort: port }];
  web = await startDual(networks, "web", {
    "80/tcp": at("8080"),
    "80/udp": at("8080"),
    "81/tcp": at("8081"),
    "81/udp": at("8081"),
    "83/udp": at("8083"),
    "82/tcp": [...at("8082", "10.9.0.1"), ...at("8082", "fd09::1")],
  });
  peer = await startDual(networks, "peer");
  for (const port of [80, 81, 82]) servers.push(serveDual(web.path, port));
});
after(async () => {
  for (const server of servers) server.close();
  await networks.shutdown();
  neighbour.remove();
  lab.remove();
});

/** Holds who gets through to ports of the host from outside: the rows as `open` and `closed` have them. */
async function assertReached(expected: readonly string[]): Promise<void> {
  const rows = expected.map(async (row) => {
    const [, port = "", protocol = "", family = ""] = /^(\d+)\/(tcp|udp) by IPv(4|6): /.exec(row) ?? [];
    const [host, client] = family === "4" ? ["10.9.0.1", "10.9.0.2"] : ["fd09::1", "fd09::2"];
    const how = row.endsWith(": yes") ? call : ask;
    const answer = await how(protocol === "udp" ? "udp" : "tcp", neighbour.path, host, Number(port));
    return `${port}/${protocol} by IPv${family}: ${answer === `${client}: hi` ? "yes" : answer}`;
  });
  assert.deepEqual(await Promise.all(rows), expected);
}

const OPEN = ["tcp by IPv4", "udp by IPv4", "tcp by IPv6", "udp by IPv6"];
const open = (port: number) => OPEN.map((way) => `${port}/${way}: yes`);
const closed = (port: number) => OPEN.map((way) => `${port}/${way}: timeout`);

function nft(script: string): void {
  execFileSync("nft", ["-f", "-"], { input: script, stdio: ["pipe", "ignore", "inherit"] });
}

test("a host without rules lets everybody in, with their own addresses", async () => {
  await assertReached([...open(8080), ...open(8081)]);
  assert.equal(await call("tcp", neighbour.path, "10.9.0.1", 8082), "10.9.0.2: hi");
  assert.equal(await call("tcp", neighbour.path, "fd09::1", 8082), "fd09::2: hi");
  assert.equal(await ask("tcp", neighbour.path, "10.9.0.1", 8083), "ECONNREFUSED");
});

describe("nft's own rules", { skip: NO_NFT }, () => {
  afterEach(() => nft("delete table inet user"));

  const rules = (input: string, more = "") =>
    nft(`table inet user {
      chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname "lo" accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        ${input}
      }
      ${more}
    }`);

  test("let in what they let in, by whichever protocol and family", async () => {
    rules("meta l4proto { tcp, udp } th dport 8080 accept");
    await assertReached([...open(8080), ...closed(8081)]);
    rules("tcp dport 8082 accept");
    assert.equal(await call("tcp", neighbour.path, "10.9.0.1", 8082), "10.9.0.2: hi");
  });

  test("let in by source, also what is published at one address of the host", async () => {
    rules("ip saddr 10.9.0.77 accept; ip6 saddr fd09::77 accept");
    await assertReached(closed(8080));
    nft("add rule inet user input ip saddr 10.9.0.2 accept; add rule inet user input ip6 saddr fd09::2 accept");
    await assertReached(open(8080));
    assert.equal(await call("tcp", neighbour.path, "fd09::1", 8082), "fd09::2: hi");
  });

  test("refuse in their own way", async () => {
    rules("tcp dport 8080 reject with tcp reset; accept");
    assert.equal(await ask("tcp", neighbour.path, "10.9.0.1", 8080), "ECONNREFUSED");
    assert.equal(await ask("tcp", neighbour.path, "fd09::1", 8080), "ECONNREFUSED");
    assert.equal(await call("tcp", neighbour.path, "10.9.0.1", 8081), "10.9.0.2: hi");
  });

  test("lead to a port from another one, as they would to a local service's", async () => {
    rules(
      "tcp dport { 8080, 8083 } accept",
      `chain prerouting {
      type nat hook prerouting priority dstnat;
      tcp dport 4080 redirect to :8080
      tcp dport 4081 redirect to :8081
    }`,
    );
    const answers = ["10.9.0.1", "fd09::1"].map((host) => call("tcp", neighbour.path, host, 4080));
    // By the engine, so that the caller's address is not the container's to see.
    for (const answer of await Promise.all(answers)) assert.match(answer, /: hi$/);
    assert.equal(await ask("tcp", neighbour.path, "10.9.0.1", 4081), "timeout");
  });

  test("count and limit connections as those of a local service", async () => {
    rules("tcp dport 8080 limit rate 1/day burst 2 packets accept");
    const answers: string[] = [];
    for (const how of [call, call, ask]) answers.push(await how("tcp", neighbour.path, "10.9.0.1", 8080));
    assert.deepEqual(answers, ["10.9.0.2: hi", "10.9.0.2: hi", "timeout"]);
  });

  test("shut out who was let in before, as a ban does", async () => {
    rules("accept", "set banned { type ipv4_addr; }");
    nft("insert rule inet user input ip saddr @banned drop");
    assert.equal(await call("tcp", neighbour.path, "10.9.0.1", 8080), "10.9.0.2: hi");
    nft("add element inet user banned { 10.9.0.2 }");
    assert.equal(await ask("tcp", neighbour.path, "10.9.0.1", 8080), "timeout");
  });

  test("shut out soon who sends datagrams that nobody answers", async () => {
    const heard: string[] = [];
    const ear = createSocket("udp6", (data) => heard.push(String(data)));
    ear.bind({ fd: inNetns(web.path, () => bindSocket("udp", "::", 83, { both: true })) });
    const mouths = [
      { address: "10.9.0.1", fd: inNetns(neighbour.path, () => connectSocket("udp", "10.9.0.1", 8083)) },
      { address: "fd09::1", fd: inNetns(neighbour.path, () => connectSocket("udp", "fd09::1", 8083)) },
    ];
    let count = 0;
    const isHeard = async (fd: number) => {
      const text = `${++count}`;
      writeSync(fd, text);
      // What takes longer, and comes after all, is heard at the next turn.
      for (let turn = 0; turn < 10 && !heard.includes(text); turn++) await delay(10);
      return heard.includes(text);
    };
    const until = async (address: string, isWanted: boolean) => {
      const { fd } = mouths.find((mouth) => mouth.address === address)!;
      const deadline = Date.now() + 20_000;
      while ((await isHeard(fd)) !== isWanted) assert.ok(Date.now() < deadline, `${address}: never ${isWanted}`);
    };
    rules("accept");
    for (const { address } of mouths) await until(address, true);
    nft("insert rule inet user input udp dport 8083 drop");
    for (const { address } of mouths) await until(address, false);
    nft("flush chain inet user input; add rule inet user input accept");
    for (const { address } of mouths) await until(address, true);
    for (const { fd } of mouths) closeSync(fd);
    ear.close();
  });

  test("don't count for containers and the host itself, as if it were open", async () => {
    rules("");
    const answers = await Promise.all([
      call("tcp", peer.path, "10.9.0.1", 8080),
      call("tcp", peer.path, "fd09::1", 8080),
      call("tcp", web.path, "10.9.0.1", 8080),
      call("udp", undefined, "127.0.0.1", 8080),
      call("tcp", undefined, "10.9.0.1", 8080),
      call("tcp", undefined, "fd09::1", 8080),
      call("tcp", undefined, "::1", 8080),
    ]);
    for (const answer of answers) assert.match(answer, /: hi$/);
  });

  test("that drop what is forwarded don't shut out whom the input rules let in", async () => {
    rules(
      "meta l4proto { tcp, udp } th dport 8080 accept",
      `chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
      }`,
    );
    await assertReached([...open(8080), ...closed(8081)]);
  });
});

test("rules of iptables-nft let in what they let in", { skip: NO_IPTABLES }, async () => {
  const run = (...args: string[]) => {
    for (const program of ["iptables-nft", "ip6tables-nft"]) execFileSync(program, ["-w", ...args]);
  };
  run("-P", "INPUT", "DROP");
  execFileSync("ip6tables-nft", ["-w", "-A", "INPUT", "-p", "icmpv6", "-j", "ACCEPT"]);
  run("-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT");
  for (const protocol of ["tcp", "udp"]) run("-A", "INPUT", "-p", protocol, "--dport", "8080", "-j", "ACCEPT");
  await assertReached([...open(8080), ...closed(8081)]);
  run("-P", "INPUT", "ACCEPT");
  run("-F", "INPUT");
  nft("delete table ip filter; delete table ip6 filter");
});

test("ufw lets in what it allows, with the rules that it comes with", { skip: NO_UFW }, async () => {
  const configuration = join(lab.root, "ufw");

  cpSync("/etc/ufw", configuration, { recursive: true });
  // Those rules are of the network; other settings are the machine's and none of a test's.
  writeFileSync(join(configuration, "sysctl.conf"), "");
  bindMount(configuration, "/etc/ufw");
  const ufw = (...args: string[]) => execFileSync("ufw", args, { stdio: ["ignore", "ignore", "pipe"] });
  ufw("default", "deny", "incoming");
  ufw("allow", "8080");
  ufw("--force", "enable");
  await assertReached([...open(8080), ...closed(8081)]);
  ufw("allow", "8081/tcp");
  const isOpen = (row: string) => row.includes("/tcp");
  await assertReached([...open(8081).filter(isOpen), ...closed(8081).filter((row) => !isOpen(row))]);
  ufw("--force", "disable");
  unmount("/etc/ufw");
});

test("whoever is on a bridge that was there before its network is outside", { skip: NO_NFT }, async (t) => {
  const lan = join(lab.root, "lan");
  createNetns(lan);
  t.after(() => removeNetns(lan));
  const run = (...words: string[]) => execFileSync("ip", words);
  run("link", "add", "br0", "type", "bridge");
  run("link", "set", "br0", "up");
  run("addr", "add", "10.77.0.1/24", "dev", "br0");
  withNetnsFd(lan, (netnsFd) => {
    using host = new Netlink();
    host.createVeth({ name: "lan", peer: { name: "eth0", netnsFd } });
    host.changeLink("lan", { up: true });
  });
  run("link", "set", "lan", "master", "br0");
  configureInside(lan, "eth0", { addresses: [{ address: "10.77.0.2", prefix: 24 }], routes: [], ipv6: false });
  const { id } = await networks.create({
    ...networkCreateRequest.zero(),
    Name: "lan",
    IPAM: { Driver: "default", Options: null, Config: [{ Subnet: "10.77.0.0/24", Gateway: "10.77.0.1" }] },
    Options: { "com.docker.network.bridge.name": "br0" },
  });
  nft(`table inet user {
    chain input {
      type filter hook input priority 0; policy drop;
      ct state established,related accept
      tcp dport 8080 accept
    }
  }`);
  const answers = await Promise.all([
    call("tcp", lan, "10.77.0.1", 8080),
    ask("tcp", lan, "10.77.0.1", 8081),
    call("tcp", peer.path, "10.77.0.1", 8081),
  ]);
  assert.deepEqual(
    answers.slice(0, 2).map((text) => text.replace(/^[\d.]+: /, "")),
    ["hi", "timeout"],
  );
  assert.match(answers[2]!, /: hi$/);
  nft("delete table inet user");
  await networks.remove(id);
  run("link", "delete", "br0");
  run("link", "delete", "lan");
});

test("an engine that starts with the other setting applies it to what runs", async () => {
  networks.detach();
  const state = networks.state("web");
  const sandbox = { networks: state.networks, ports: web.ports, containerName: "web", hasResolver: state.hasResolver };
  nft("table inet user { chain input { type filter hook input priority 0; policy drop; iifname lo accept; }; }");
  const liberal = lab.open({ publish: "open" });
  await liberal.reconcile(new Map([["web", sandbox]]));
  const byFour = (how = call) => how("tcp", neighbour.path, "10.9.0.1", 8080);
  assert.equal(await byFour(), "10.9.0.2: hi");
  liberal.detach();
  networks = lab.open();
  await networks.reconcile(new Map([["web", sandbox]]));
  assert.equal(await byFour(ask), "timeout");
  nft("delete table inet user");
  assert.equal(await byFour(), "10.9.0.2: hi");
});
