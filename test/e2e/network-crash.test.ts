import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { startEngine, type TestEngine } from "../engine.ts";

const SUBNET = "10.231.0.0/24";

describe("an engine that is killed while networks change", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const post = (path: string, body?: unknown) => engine.request("POST", path, body);

  async function createNetwork(Name: string): Promise<void> {
    const { status, text } = await post("/networks/create", { Name, IPAM: { Config: [{ Subnet: SUBNET }] } });
    assert.equal(status, 201, text);
  }

  async function run(name: string, networks: readonly string[]): Promise<void> {
    const EndpointsConfig = Object.fromEntries(networks.map((network) => [network, {}]));
    const body = {
      Image: "busybox",
      Cmd: ["sleep", "600"],
      HostConfig: { NetworkMode: networks[0] },
      NetworkingConfig: { EndpointsConfig },
    };
    assert.equal((await post(`/containers/create?name=${name}`, body)).status, 201);
    const { status, text } = await post(`/containers/${name}/start`);
    assert.equal(status, 204, text);
  }

  const networksOf = async (name: string): Promise<string[]> =>
    Object.keys((await engine.request("GET", `/containers/${name}/json`)).json.NetworkSettings.Networks).sort();

  async function customNetworks(): Promise<string[]> {
    const rows = (await engine.request("GET", "/networks")).json as { Name: string }[];
    return rows.map(({ Name }) => Name).filter((name) => !["bridge", "host", "none"].includes(name));
  }

  /** Interfaces inside a container, but for the loopback. */
  async function insideLinks(name: string): Promise<string[]> {
    const { State } = (await engine.request("GET", `/containers/${name}/json`)).json;
    const text = execFileSync("nsenter", ["-t", String(State.Pid), "-n", "ip", "-o", "-4", "addr"], {
      encoding: "utf8",
    });
    return text.split("\n").flatMap((line) => /^\d+: (eth\S+)\s+inet (\S+)/.exec(line)?.slice(1).join(" ") ?? []);
  }

  async function inventory(): Promise<Record<string, unknown>> {
    const id = (await engine.request("GET", "/info")).json.ID.slice(0, 8);
    const links = execFileSync("ip", ["-o", "link"], { encoding: "utf8" });
    return {
      networks: await customNetworks(),
      // Of this engine: others come and go beside it.
      bridges: links.split("\n").filter((line) => line.includes(`alias gantry-${id} `)).length,
      rules: execFileSync("nft", ["-s", "list", "table", "inet", `gantry-${id}`], { encoding: "utf8" }),
    };
  }

  async function assertRestored(before: Record<string, unknown>): Promise<void> {
    const deadline = Date.now() + 5_000;
    for (;;) {
      const now = await inventory();
      if (isDeepStrictEqual(now, before)) return;
      if (Date.now() > deadline) assert.deepEqual(now, before);
    }
  }

  /**
   * Kills the engine at `point` of what `act` does, and starts the next one. Resolves with what there was before `act`:
   * not before the restart, since a stop without containers gives the bridge's subnet back, and another may take it.
   */
  async function crashAt(point: string, act: () => Promise<unknown>): Promise<Record<string, unknown>> {
    await engine.restart({ GANTRY_FAILPOINTS: `${point}=kill` });
    const start = await inventory();
    await assert.rejects(act(), `${point} was not passed`);
    await engine.kill();
    await engine.start();
    return start;
  }

  for (const point of ["recorded", "linked", "opened", "filtered", "flushed"]) {
    test(`at networks.create.${point} has the network whole, or not at all`, async () => {
      const start = await crashAt(`networks.create.${point}`, async () => createNetwork("half"));
      const names = await customNetworks();
      if (names.length > 0) {
        await run("user", ["half"]);
        assert.match((await insideLinks("user"))[0] ?? "", /^eth0 10\.231\.0\.2\/24$/);
        await engine.request("DELETE", "/containers/user?force=1");
        assert.equal((await engine.request("DELETE", "/networks/half")).status, 204);
      }
      await createNetwork("half");
      assert.equal((await engine.request("DELETE", "/networks/half")).status, 204);
      await assertRestored(start);
    });
  }

  for (const point of ["unfiltered", "closed", "forgotten"]) {
    test(`at networks.remove.${point} has the network still, or not at all, and it works`, async () => {
      const start = await crashAt(`networks.remove.${point}`, async () => {
        await createNetwork("going");
        await engine.request("DELETE", "/networks/going");
      });
      // What is forgotten in memory is on the disk until it is flushed, or gone from there too.
      if (point !== "forgotten") assert.deepEqual(await customNetworks(), ["going"]);
      if ((await customNetworks()).length > 0) {
        await run("user", ["going"]);
        await engine.request("DELETE", "/containers/user?force=1");
        assert.equal((await engine.request("DELETE", "/networks/going")).status, 204);
      }
      await assertRestored(start);
    });
  }

  test("at networks.release.left has the container ended, and nothing of its links", async () => {
    await createNetwork("ending");
    const start = await inventory();
    await run("user", ["ending", "bridge"]);
    await engine.restart({ GANTRY_FAILPOINTS: "networks.release.left=kill" });
    await assert.rejects(post("/containers/user/kill"), "networks.release.left was not passed");
    await engine.kill();
    await engine.start();
    assert.equal((await engine.request("GET", "/containers/user/json")).json.State.Running, false);
    await assertRestored(start);
    assert.equal((await engine.request("DELETE", "/containers/user")).status, 204);
    assert.equal((await engine.request("DELETE", "/networks/ending")).status, 204);
  });

  for (const point of [
    "networks.join.linked",
    "networks.join.configured",
    "networks.connect.entered",
    "containers.connect.joined",
    "containers.connect.recorded",
  ]) {
    test(`at ${point} has the container on the network or not, and nothing in between`, async () => {
      const start = await inventory();
      await createNetwork("joined");
      await run("member", ["bridge"]);
      await crashAt(point, async () => {
        const { status } = await post("/networks/joined/connect", { Container: "member" });
        assert.equal(status, 200);
      });
      const isOn = point === "containers.connect.recorded";
      assert.deepEqual(await networksOf("member"), isOn ? ["bridge", "joined"] : ["bridge"]);
      assert.equal((await insideLinks("member")).length, isOn ? 2 : 1);
      const hosts = (await engine.request("GET", "/containers/member/json")).json.HostsPath;
      const lines = String(
        readFileSync(hosts, "utf8")
          .split("\n")
          .filter((line) => line.startsWith("10.231.0.")).length,
      );
      assert.equal(lines, isOn ? "1" : "0");
      if (!isOn) assert.equal((await post("/networks/joined/connect", { Container: "member" })).status, 200);
      assert.equal((await post("/networks/joined/disconnect", { Container: "member" })).status, 200);
      assert.equal((await engine.request("DELETE", "/containers/member?force=1")).status, 204);
      assert.equal((await engine.request("DELETE", "/networks/joined")).status, 204);
      await assertRestored(start);
    });
  }

  for (const point of ["containers.disconnect.recorded", "networks.disconnect.left"]) {
    test(`at ${point} has taken the container off the network`, async () => {
      const start = await inventory();
      await createNetwork("left");
      await run("member", ["left", "bridge"]);
      await crashAt(point, async () => post("/networks/left/disconnect", { Container: "member" }));
      assert.deepEqual(await networksOf("member"), ["bridge"]);
      assert.equal((await insideLinks("member")).length, 1);
      assert.equal((await engine.request("DELETE", "/networks/left")).status, 204);
      assert.equal((await engine.request("DELETE", "/containers/member?force=1")).status, 204);
      await assertRestored(start);
    });
  }

  test("finds what others took away, bridge and rules, put right at its next start", async () => {
    await createNetwork("mended");
    await run("one", ["mended"]);
    await run("two", ["mended"]);
    const { Id } = (await engine.request("GET", "/networks/mended")).json;
    const id = (await engine.request("GET", "/info")).json.ID.slice(0, 8);
    await engine.kill();
    execFileSync("ip", ["link", "delete", `br-${Id.slice(0, 12)}`]);
    execFileSync("nft", ["delete", "table", "inet", `gantry-${id}`]);
    await engine.start();
    const { State } = (await engine.request("GET", "/containers/one/json")).json;
    const ping = ["-t", String(State.Pid), "-n", "busybox", "ping", "-c", "1", "-W", "2", "10.231.0.3"];
    assert.match(execFileSync("nsenter", ping, { encoding: "utf8" }), / 0% packet loss/);
    for (const name of ["one", "two"]) await engine.request("DELETE", `/containers/${name}?force=1`);
    assert.equal((await engine.request("DELETE", "/networks/mended")).status, 204);
  });
});

/** A namespace that plays the host: a wire to a machine that is not there. It lasts as long as its process. */
function startHost(): ChildProcess {
  const host = spawn("unshare", ["-n", "sleep", "600"], { stdio: "ignore" });
  const inside = (...args: string[]) => execFileSync("nsenter", ["-t", String(host.pid), "-n", ...args]);
  const own = readlinkSync("/proc/self/ns/net");
  while (readlinkSync(`/proc/${host.pid}/ns/net`) === own);
  inside("ip", "link", "set", "lo", "up");
  inside("ip", "link", "add", "wire", "type", "veth", "peer", "name", "far");
  inside("ip", "link", "set", "wire", "up");
  inside("ip", "link", "set", "far", "up");
  return host;
}

function macvlanIsMissing(): string | false {
  const { stderr } = spawnSync("unshare", ["-n", "ip", "link", "add", "probe", "type", "macvlan"], {
    encoding: "utf8",
  });
  return stderr.includes("Unknown device type") ? "this kernel has no macvlan" : false;
}

describe("an engine that is killed while a container joins the wire of a link", { skip: macvlanIsMissing() }, () => {
  let host: ChildProcess;
  let engine: TestEngine;
  before(async () => {
    host = startHost();
    engine = await startEngine({ wrap: ["nsenter", "-t", String(host.pid), "-n", "--"] });
    const created = await engine.request("POST", "/networks/create", {
      Name: "street",
      Driver: "macvlan",
      Options: { parent: "wire" },
      IPAM: { Config: [{ Subnet: SUBNET }] },
    });
    assert.equal(created.status, 201, created.text);
    const body = { Image: "busybox", Cmd: ["sleep", "600"] };
    assert.equal((await engine.request("POST", "/containers/create?name=member", body)).status, 201);
    assert.equal((await engine.request("POST", "/containers/member/start")).status, 204);
  });
  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    host.kill();
  });

  const join = () => engine.request("POST", "/networks/street/connect", { Container: "member" });
  const leave = () => engine.request("POST", "/networks/street/disconnect", { Container: "member" });

  async function wires(): Promise<number> {
    const { State } = (await engine.request("GET", "/containers/member/json")).json;
    const shown = execFileSync("nsenter", ["-t", String(State.Pid), "-n", "ip", "-d", "-o", "link"], {
      encoding: "utf8",
    });
    return shown.split("\n").filter((line) => line.includes("macvlan")).length;
  }

  test("publishes nothing there, and says so", async () => {
    const HostConfig = { NetworkMode: "street", PortBindings: { "80/tcp": [{ HostPort: "8080" }] } };
    const body = { Image: "busybox", Cmd: ["sleep", "600"], HostConfig };
    const { json } = await engine.request("POST", "/containers/create?name=open", body);
    assert.match(
      json.Warnings[0],
      /^Published ports are discarded: on street \(macvlan\) the container has an address/,
    );
    assert.equal((await engine.request("POST", "/containers/open/start")).status, 204);
    const { NetworkSettings } = (await engine.request("GET", "/containers/open/json")).json;
    assert.deepEqual([NetworkSettings.Ports, NetworkSettings.Networks.street.IPAddress], [{}, "10.231.0.2"]);
    assert.equal((await engine.request("DELETE", "/containers/open?force=1")).status, 204);
  });

  for (const [point, act, isOn] of [
    ["networks.join.linked", join, false],
    ["networks.join.configured", join, false],
    ["containers.connect.joined", join, false],
    ["containers.connect.recorded", join, true],
    ["containers.disconnect.recorded", leave, false],
    ["networks.disconnect.left", leave, false],
  ] as const) {
    test(`at ${point} has it on the wire or not, and nothing in between`, async () => {
      if (act === leave) assert.equal((await join()).status, 200);
      await engine.restart({ GANTRY_FAILPOINTS: `${point}=kill` });
      await assert.rejects(act(), `${point} was not passed`);
      await engine.kill();
      await engine.start();
      const { NetworkSettings } = (await engine.request("GET", "/containers/member/json")).json;
      assert.deepEqual(Object.keys(NetworkSettings.Networks).sort(), isOn ? ["bridge", "street"] : ["bridge"]);
      assert.equal(await wires(), isOn ? 1 : 0);
      if (isOn) assert.equal((await leave()).status, 200);
      assert.equal(await wires(), 0);
      // Its address is nobody's.
      const members = (await engine.request("GET", "/networks/street")).json.Containers;
      assert.deepEqual(members, {});
    });
  }
});
