import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { forwardObstacles } from "../kernel/foreign-forward.ts";
import { bindMount, unmount } from "../kernel/mount.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { call, makeDualNeighbour, serveDual, startDual } from "./dual-lab.fixture.ts";
import { ask, makeEngine } from "./lab.fixture.ts";
import type { Networks } from "./networks.ts";

enterPrivateHost();
process.setMaxListeners(50);

function missing(...programs: string[]): string | false {
  const program = programs.find((name) => !existsSync(`/usr/sbin/${name}`));
  return program === undefined ? false : `${program} is not installed`;
}

const BRIDGE = "br-foreign";
const lab = makeEngine("foreign", { bridgeName: BRIDGE });
let networks: Networks;
let neighbour: ReturnType<typeof makeDualNeighbour>;
let outside: { close(): void };
let path: string;
before(async () => {
  neighbour = makeDualNeighbour(lab.root);
  networks = lab.open();
  const box = await startDual(networks, "box", {}, { name: "bridge" });
  path = box.path;
  await networks.publish("box", {
    bindings: { "80/tcp": [{ HostIp: "", HostPort: "8080" }] },
    exposed: [],
    publishAll: false,
  });
  outside = serveDual(neighbour.path, 7000);
});
after(async () => {
  outside.close();
  await networks.shutdown();
  neighbour.remove();
  lab.remove();
});

/** Runs what is told to a person, as it is told. */
function obey(commands: readonly string[]): void {
  for (const command of commands) execFileSync("sh", ["-c", command], { stdio: ["ignore", "ignore", "inherit"] });
}

/** The rules shut the container's way in and out; what is told of them opens both, and is told no more. */
async function opensByWhatIsTold(program: string): Promise<void> {
  const server = serveDual(path, 80);
  const ways = (how: typeof call) =>
    Promise.all([how("tcp", path, "10.9.0.2", 7000), how("tcp", neighbour.path, "10.9.0.1", 8080)]);
  assert.deepEqual(await ways(ask), ["timeout", "timeout"]);
  const obstacles = await forwardObstacles(BRIDGE);
  assert.deepEqual(obstacles.map((each) => each.program).slice(0, 1), [program]);
  for (const { commands } of obstacles) obey(commands);
  assert.deepEqual(await ways(call), ["10.9.0.1: hi", "10.9.0.2: hi"]);
  assert.deepEqual(await forwardObstacles(BRIDGE), []);
  server.close();
}

test("a chain of nft's that drops is told of, with the rules that it lacks", { skip: missing("nft") }, async () => {
  execFileSync("nft", [
    "add table inet mine; add chain inet mine passing { type filter hook forward priority 0; policy drop; }",
  ]);
  await opensByWhatIsTold("nftables");
  execFileSync("nft", ["delete table inet mine"]);
  assert.deepEqual(await forwardObstacles(BRIDGE), []);
});

test("a policy of iptables-nft that drops is", { skip: missing("nft", "iptables-nft") }, async () => {
  execFileSync("iptables-nft", ["-w", "-P", "FORWARD", "DROP"]);
  await opensByWhatIsTold("iptables");
  execFileSync("nft", ["delete table ip filter"]);
});

test("Docker's chain for rules of one's own is named where there is one", {
  skip: missing("nft", "iptables-nft"),
}, async () => {
  for (const line of ["-P FORWARD DROP", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-A DOCKER-USER -j RETURN"]) {
    execFileSync("iptables-nft", ["-w", ...line.split(" ")]);
  }
  await opensByWhatIsTold("Docker");
  execFileSync("nft", ["delete table ip filter"]);
});

test("a policy of legacy iptables that drops is", { skip: missing("nft", "iptables-legacy") }, async (t) => {
  try {
    execFileSync("iptables-legacy", ["-w", "-P", "FORWARD", "DROP"], { stdio: "ignore" });
  } catch {
    t.skip("the kernel has no legacy iptables");
    return;
  }
  await opensByWhatIsTold("iptables-legacy");
  execFileSync("iptables-legacy", ["-w", "-P", "FORWARD", "ACCEPT"]);
  execFileSync("iptables-legacy", ["-w", "-F", "FORWARD"]);
});

test("ufw's routing is told of the bridge in its own words", { skip: missing("nft", "ufw") }, async () => {
  const configuration = join(lab.root, "ufw");
  cpSync("/etc/ufw", configuration, { recursive: true });
  writeFileSync(join(configuration, "sysctl.conf"), "");
  bindMount(configuration, "/etc/ufw");
  execFileSync("ufw", ["--force", "enable"], { stdio: "ignore" });
  await opensByWhatIsTold("ufw");
  execFileSync("ufw", ["--force", "disable"], { stdio: "ignore" });
  unmount("/etc/ufw");
});

test("the engine notices such rules when they come, and warns whoever publishes a port", {
  skip: missing("nft"),
}, async () => {
  const settled = Date.now() + 15_000;
  while (networks.publishWarning() !== undefined) {
    assert.ok(Date.now() < settled, "it goes on about rules that are gone");
    await pause(20);
  }
  execFileSync("nft", [
    "add table inet late; add chain inet late passing { type filter hook forward priority 0; policy drop; }",
  ]);
  const deadline = Date.now() + 15_000;
  while (networks.publishWarning() === undefined) {
    assert.ok(Date.now() < deadline, "it was not noticed");
    await pause(20);
  }
  assert.match(
    networks.publishWarning() ?? "",
    /nftables drops forwarded packets \(inet late passing\).*nft insert rule inet late passing iifname "br-foreign" accept/,
  );
  assert.ok(lab.log.some((line) => line.includes("drops forwarded packets") && line.includes("inet late passing")));
  execFileSync("nft", ["delete table inet late"]);
  while (networks.publishWarning() !== undefined) {
    assert.ok(Date.now() < deadline + 15_000, "it goes on about it");
    await pause(20);
  }
});
