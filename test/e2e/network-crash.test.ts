import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
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

  for (const point of ["recorded", "linked", "opened", "flushed"]) {
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

  test("at networks.remove.closed has the network still, and it works", async () => {
    const start = await crashAt("networks.remove.closed", async () => {
      await createNetwork("going");
      await engine.request("DELETE", "/networks/going");
    });
    assert.deepEqual(await customNetworks(), ["going"]);
    await run("user", ["going"]);
    await engine.request("DELETE", "/containers/user?force=1");
    assert.equal((await engine.request("DELETE", "/networks/going")).status, 204);
    await assertRestored(start);
  });

  for (const point of [
    "networks.join.linked",
    "networks.join.configured",
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
