import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { findProgram } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

const MISSING = ["ip", "nft", "nsenter", "unshare", "busybox"].find((program) => findProgram(program) === undefined);
const SKIP = NO_DOCKER || (MISSING !== undefined && `${MISSING} is not installed`);

/** A network namespace that lives as long as a process in it. */
async function machine(): Promise<ChildProcess & { pid: number }> {
  const holder = spawn("unshare", ["-n", "sleep", "600"], { stdio: "ignore" });
  const { pid } = holder;
  assert.ok(pid !== undefined);
  const own = readlinkSync("/proc/self/ns/net");
  const isIn = () => {
    const seen = readlinkSync(`/proc/${pid}/ns/net`);
    return seen !== own;
  };
  while (!isIn()) await new Promise((resolve) => setTimeout(resolve, 5));
  return Object.assign(holder, { pid });
}

describe("an engine that respects the host's firewall", { skip: SKIP }, () => {
  let host: ChildProcess & { pid: number };
  let outside: ChildProcess & { pid: number };
  let engine: TestEngine;
  const at = ({ pid }: { pid: number }, ...command: string[]) =>
    execFileSync("nsenter", [`--net=/proc/${pid}/ns/net`, ...command], { encoding: "utf8", stdio: "pipe" });

  before(async () => {
    [host, outside] = [await machine(), await machine()];
    at(host, "ip", "link", "set", "lo", "up");
    at(host, "ip", "link", "add", "name", "wire", "type", "veth", "peer", "name", "eth0", "netns", String(outside.pid));
    for (const [where, link, address] of [
      [host, "wire", "10.9.0.1/24"],
      [outside, "eth0", "10.9.0.2/24"],
    ] as const) {
      at(where, "ip", "address", "add", address, "dev", link);
      at(where, "ip", "link", "set", link, "up");
    }
    engine = await startEngine({ wrap: ["nsenter", `--net=/proc/${host.pid}/ns/net`] });
  });
  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    for (const holder of [host, outside]) holder?.kill("SIGKILL");
  });

  test("shuts ports of running containers when it starts with that setting, and opens them again", async () => {
    const greeter = ["busybox", "nc", "-ll", "-p", "80", "-e", "echo", "hello"];
    await engine.ok("run", "-d", "--name", "web", "-p", "8080:80", "-p", "8081:80", ...greeter);
    await engine.ok("exec", "web", "sh", "-c", "until grep -q ':0050 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done");
    at(host, "nft", "add table inet user; add chain inet user in { type filter hook input priority 0; policy drop; }");
    at(host, "nft", "add rule inet user in ct state established accept; add rule inet user in tcp dport 8080 accept");
    const hears = (port: number, seconds: number) => {
      try {
        return at(outside, "timeout", String(seconds), "busybox", "nc", "10.9.0.1", String(port)).trim();
      } catch {
        return "nothing";
      }
    };
    assert.deepEqual([hears(8080, 20), hears(8081, 20)], ["hello", "hello"], "open as Docker's are");
    const setting = (publish: string) => writeFileSync(join(engine.root, "daemon.json"), JSON.stringify({ publish }));
    setting("respect-host-firewall");
    await engine.restart();
    assert.deepEqual([hears(8080, 20), hears(8081, 2)], ["hello", "nothing"]);
    await engine.kill();
    assert.deepEqual([hears(8080, 20), hears(8081, 2)], ["hello", "nothing"], "the kernel goes on alone");
    setting("open");
    await engine.start();
    assert.equal(hears(8081, 20), "hello");
    await engine.ok("rm", "-f", "web");
  });
});
