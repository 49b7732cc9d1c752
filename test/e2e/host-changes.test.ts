import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

describe("a host whose network changes", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    // A network namespace plays the host: nothing of the machine's own is changed.
    engine = await startEngine({ wrap: ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"] });
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const onHost = (...command: string[]) =>
    execFileSync("nsenter", ["-n", "-t", String(engine.pid), ...command], { encoding: "utf8" });

  /** The first event of this action from now on, or of lately. */
  async function event(action: string): Promise<{ Actor: { ID: string; Attributes: Record<string, string> } }> {
    const filters = encodeURIComponent(JSON.stringify({ type: ["network"], event: [action] }));
    const deadline = Date.now() + 10_000;
    for (;;) {
      const until = (Date.now() / 1000).toFixed(3);
      const { text } = await engine.request("GET", `/events?since=0&until=${until}&filters=${filters}`);
      if (text !== "") return JSON.parse(text.split("\n")[0]!);
      assert.ok(Date.now() < deadline, `no event ${action} came`);
    }
  }

  test("a VPN that comes up in a network's subnet is told by an event and by the doctor, until it goes", async () => {
    const id = await engine.ok("network", "create", "--subnet", "10.89.0.0/16", "office");
    const doctor = async () => (await engine.gantry("system", "doctor", "network.subnets")).stdout;
    assert.match(await doctor(), /none covers a route/);
    onHost("ip", "link", "add", "tun7", "type", "bridge");
    onHost("ip", "addr", "add", "10.200.0.1/24", "dev", "tun7");
    onHost("ip", "link", "set", "tun7", "up");
    // As those do who leave the main table alone.
    onHost("ip", "route", "add", "10.89.3.0/24", "via", "10.200.0.2", "dev", "tun7", "table", "52");
    const { Actor } = await event("clash");
    assert.equal(Actor.ID, id);
    const { interface: link, name, route, subnet } = Actor.Attributes;
    assert.deepEqual([link, name, route, subnet], ["tun7", "office", "10.89.3.0/24", "10.89.0.0/16"]);
    assert.match(await doctor(), /office \(10\.89\.0\.0\/16\) covers 10\.89\.3\.0\/24, which is reached by tun7/);
    const until = (Date.now() / 1000 + 0.1).toFixed(3);
    const seen = await engine.ok("events", "--since", "1m", "--until", until, "--filter", "event=clash");
    assert.match(seen, /network clash [0-9a-f]{64} \(interface=tun7, name=office/);
    onHost("ip", "link", "delete", "tun7");
    assert.match(await doctor(), /none covers a route/);
    await engine.ok("network", "rm", "office");
  });

  test("a bridge that is deleted by hand comes back, and its containers are reached by it", async () => {
    const id = await engine.ok("network", "create", "--subnet", "10.88.0.0/24", "cut");
    const idle = ["busybox", "sleep", "600"];
    for (const name of ["one", "two"]) await engine.ok("run", "-d", "--name", name, "--network", "cut", ...idle);
    onHost("ip", "link", "delete", `br-${id.slice(0, 12)}`);
    assert.equal((await event("repair")).Actor.Attributes.name, "cut");
    assert.match(await engine.ok("exec", "one", "ping", "-c", "1", "-W", "5", "two"), / 0% packet loss/);
    assert.match(await engine.ok("exec", "one", "ping", "-c", "1", "-W", "5", "10.88.0.1"), / 0% packet loss/);
    await engine.ok("rm", "-f", "one", "two");
    await engine.ok("network", "rm", "cut");
  });
});
