import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { findProgram } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

const MISSING = ["ip", "nsenter", "unshare", "busybox"].find((program) => findProgram(program) === undefined);
const SKIP = NO_DOCKER || (MISSING !== undefined && `${MISSING} is not installed`);
const IDLE = ["busybox", "sleep", "600"];
const LISTENS = "until grep -q ':0050 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done";

/** A network namespace that lives as long as a process in it. */
async function machine(): Promise<ChildProcess & { pid: number }> {
  const holder = spawn("unshare", ["-n", "sleep", "600"], { stdio: "ignore" });
  const { pid } = holder;
  assert.ok(pid !== undefined);
  const own = readlinkSync("/proc/self/ns/net");
  while (readlinkSync(`/proc/${pid}/ns/net`) === own) await new Promise((resolve) => setTimeout(resolve, 5));
  return Object.assign(holder, { pid });
}

describe("the default network's addresses, on a host of its own", { skip: SKIP }, () => {
  let host: ChildProcess & { pid: number };
  let router: ChildProcess & { pid: number };
  let engine: TestEngine;
  const at = ({ pid }: { pid: number }, ...command: string[]) =>
    execFileSync("nsenter", [`--net=/proc/${pid}/ns/net`, ...command], { encoding: "utf8", stdio: "pipe" });
  const inside = (container: string, ...command: string[]) => engine.ok("exec", container, ...command);

  before(async () => {
    [host, router] = [await machine(), await machine()];
    for (const each of [host, router]) at(each, "ip", "link", "set", "lo", "up");
    // The harness names a bridge unless it is told: here it is the engine's default.
    engine = await startEngine({ args: ["--bridge", ""], wrap: ["nsenter", `--net=/proc/${host.pid}/ns/net`] });
  });
  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    for (const holder of [host, router]) holder?.kill("SIGKILL");
  });

  async function restartWith(settings: Record<string, unknown>): Promise<void> {
    writeFileSync(join(engine.root, "daemon.json"), JSON.stringify(settings));
    await engine.restart();
  }

  test("are those of the configuration, and who goes out goes by the router that it names", async () => {
    await restartWith({
      ...{ bip: "10.61.0.1/24", "fixed-cidr": "10.61.0.64/26", "default-gateway": "10.61.0.2" },
      ipv6: true,
      ...{ bip6: "fd00:61::1/64", "fixed-cidr-v6": "fd00:61::100/120", "default-gateway-v6": "fd00:61::2" },
    });
    // Another machine on the same wire, with addresses behind it that this host knows no way to.
    at(host, "ip", "link", "add", "wire", "type", "veth", "peer", "name", "eth0", "netns", String(router.pid));
    at(host, "ip", "link", "set", "wire", "master", "gantry0", "up");
    for (const address of ["10.61.0.2/24", "fd00:61::2/64"])
      at(router, "ip", "address", "add", address, "dev", "eth0", "nodad");
    for (const address of ["192.0.2.7/32", "2001:db8::7/128"])
      at(router, "ip", "address", "add", address, "dev", "lo", "nodad");
    at(router, "ip", "link", "set", "eth0", "up");
    await engine.ok("run", "-d", "--name", "one", "--add-host", "box:host-gateway", ...IDLE);
    assert.match(await inside("one", "ip", "-o", "-4", "addr", "show", "eth0"), / 10\.61\.0\.64\/24 /);
    assert.match(await inside("one", "ip", "-o", "-6", "addr", "show", "eth0"), / fd00:61::100\/64 /);
    assert.match(await inside("one", "ip", "route"), /^default via 10\.61\.0\.2 /m);
    assert.match(await inside("one", "ip", "-6", "route"), /^default via fd00:61::2 /m);
    for (const far of ["192.0.2.7", "2001:db8::7"])
      assert.match(await inside("one", "ping", "-c", "1", "-W", "10", far), / 0% packet loss/);
    const { IPAM, EnableIPv6 } = (await engine.request("GET", "/networks/bridge")).json;
    assert.equal(EnableIPv6, true);
    assert.deepEqual(IPAM.Config, [
      {
        ...{ Subnet: "10.61.0.0/24", IPRange: "10.61.0.64/26", Gateway: "10.61.0.1" },
        AuxiliaryAddresses: { DefaultGatewayIPv4: "10.61.0.2" },
      },
      {
        ...{ Subnet: "fd00:61::/64", IPRange: "fd00:61::100/120", Gateway: "fd00:61::1" },
        AuxiliaryAddresses: { DefaultGatewayIPv6: "fd00:61::2" },
      },
    ]);
    const hosts = await inside("one", "cat", "/etc/hosts");
    for (const address of ["10.61.0.1", "fd00:61::1"]) {
      assert.match(hosts, new RegExp(`^${address}\\s+box$`, "m"), "the host is the bridge still");
      assert.match(hosts, new RegExp(`^${address}\\s+host\\.docker\\.internal$`, "m"));
    }
    const { stderr } = await engine.docker("network", "create", "--subnet", "fd00:61::/80", "--ipv6", "late");
    assert.match(stderr, /fd00:61::\/80 and fd00:61::\/64 of the network bridge/);
    await engine.ok("rm", "-f", "one");
    at(host, "ip", "link", "delete", "wire");
  });

  test("are of the engine's own choice where the configuration wants IPv6 and names none", async () => {
    await restartWith({ ipv6: true });
    const greeter = ["busybox", "nc", "-ll", "-p", "80", "-e", "echo", "hello"];
    await engine.ok("run", "-d", "--name", "web", "-p", "8080:80", ...greeter);
    await engine.ok("run", "-d", "--name", "caller", "--link", "web", ...IDLE);
    await inside("web", "sh", "-c", LISTENS);
    const address = await engine.ok("inspect", "-f", "{{.NetworkSettings.GlobalIPv6Address}}", "web");
    assert.match(address, /^fd00:61::/, "they stay what they were, being free");
    assert.equal(await inside("caller", "nc", address, "80"), "hello");
    // Published, from the host's own address of another link.
    at(host, "ip", "address", "add", "2001:db8:1::1/128", "dev", "lo", "nodad");
    assert.equal(at(host, "busybox", "nc", "2001:db8:1::1", "8080").trim(), "hello");
    await engine.kill();
    await engine.start();
    assert.equal(await inside("caller", "nc", address, "80"), "hello");
    // Somebody deletes the bridge: it comes back with all it had.
    const bridge = () =>
      at(host, "ip", "-o", "addr", "show", "dev", "gantry0").match(/inet6? [0-9a-f.:]+\/\d+ (brd \S+ )?scope global/g);
    const before = bridge();
    assert.equal(before?.length, 2);
    at(host, "ip", "link", "delete", "gantry0");
    const deadline = Date.now() + 20_000;
    const isBack = () => {
      try {
        return JSON.stringify(bridge()) === JSON.stringify(before);
      } catch {
        return false;
      }
    };
    for (; !isBack(); await new Promise((resolve) => setTimeout(resolve, 20))) assert.ok(Date.now() < deadline);
    assert.equal(await inside("caller", "nc", "-w", "20", address, "80"), "hello");
    await engine.ok("rm", "-f", "web", "caller");
    await restartWith({});
    await engine.ok("run", "-d", "--name", "four", ...IDLE);
    assert.doesNotMatch(await inside("four", "ip", "-o", "addr", "show", "eth0"), /inet6/);
    assert.doesNotMatch(at(host, "ip", "-6", "-o", "addr", "show", "gantry0"), /inet6/);
    await engine.ok("rm", "-f", "four");
  });

  test("are refused in a sentence where they can't be, and the engine before is none the worse", async () => {
    await engine.ok("network", "create", "--subnet", "10.62.4.0/24", "mine");
    // Without the links' numbers: an engine without containers takes its bridges with it.
    const addresses = () => at(host, "ip", "-o", "addr").replaceAll(/^\d+: /gm, "");
    const before = addresses();
    for (const [settings, why] of [
      [
        { bip: "10.62.0.1/16" },
        "cannot give the default bridge 10.62.0.0/16 (--bip): a network of this engine has 10.62.4.0/24",
      ],
      [
        { "fixed-cidr-v6": "fd00::/64" },
        "invalid --fixed-cidr-v6 fd00::/64: the default network has no IPv6 without --ipv6",
      ],
      [{ "default-gateway": "8.8.8.8" }, "around the default gateway 8.8.8.8: give the bridge an address (--bip)"],
    ] as const) {
      await assert.rejects(restartWith(settings), (error: Error) => error.message.includes(why));
    }
    writeFileSync(join(engine.root, "daemon.json"), "{}");
    await engine.start();
    assert.equal(addresses(), before);
    await engine.ok("network", "rm", "mine");
  });
});
