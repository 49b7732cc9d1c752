import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

describe("containers that name others", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const inspect = async (name: string) => (await engine.request("GET", `/containers/${name}/json`)).json;
  const idle = (name: string, ...options: string[]) =>
    engine.ok("run", "-d", "--name", name, ...options, "busybox", "sleep", "600");
  const hostsOf = (name: string) => engine.ok("exec", name, "cat", "/etc/hosts");

  test("rm --link takes a link away, from the hosts file too, and leaves its containers", async () => {
    await idle("db");
    await idle("cache");
    await idle("web", "--link", "db:store", "--link", "cache:fast");
    const names = async () => (await engine.ok("ps", "--no-trunc", "--format", "{{.Names}}")).split("\n").sort();
    assert.deepEqual(await names(), ["cache,web/fast", "db,web/store", "web"]);
    assert.match(await hostsOf("web"), /\tstore [0-9a-f]{12} db\n/);
    for (const [name, words] of [
      ["web/nope", /No such container: web\/nope/],
      ["nope/store", /No such container: nope\/store/],
      ["web", /Conflict, cannot remove the default link name of the container/],
    ] as const) {
      assert.match((await engine.docker("rm", "--link", name)).stderr, words);
    }
    assert.equal(await engine.ok("rm", "--link", "web/store"), "web/store");
    assert.deepEqual(await names(), ["cache,web/fast", "db", "web"]);
    assert.doesNotMatch(await hostsOf("web"), /store/);
    assert.match(await hostsOf("web"), /\tfast /);
    assert.deepEqual((await inspect("web")).HostConfig.Links, ["/cache:/web/fast"]);
    // It stays away: over a crash, and over the next start.
    await engine.kill();
    await engine.start();
    await engine.ok("restart", "-t", "0", "web");
    assert.doesNotMatch(await hostsOf("web"), /store/);
    const gantry = await engine.gantry("rm", "--link", "web/fast");
    assert.deepEqual([gantry.code, gantry.stdout], [0, "web/fast\n"], gantry.stderr);
    assert.doesNotMatch(await hostsOf("web"), /fast/);
    await engine.ok("rm", "-f", "db", "cache", "web");
  });

  test("a container can be removed by the name that a link gives it", async () => {
    await idle("db");
    await idle("web", "--link", "db:store");
    await engine.ok("rm", "-f", "web/store");
    assert.equal((await inspect("db")).message, "No such container: db");
    assert.equal((await inspect("web")).State.Status, "running");
    await engine.ok("rm", "-f", "web");
  });

  test("whose namespaces a container shares is kept by id, whatever the other is called later", async () => {
    await idle("owner", "--ipc", "shareable");
    const { Id } = await inspect("owner");
    const own = await engine.ok("exec", "owner", "ip", "-o", "-4", "addr", "show", "eth0");
    await idle(
      "guest",
      "--network",
      "container:owner",
      "--pid",
      "container:owner",
      "--ipc",
      `container:${Id.slice(0, 12)}`,
    );
    const { HostConfig } = await inspect("guest");
    const by = `container:${Id}`;
    assert.deepEqual([HostConfig.NetworkMode, HostConfig.PidMode, HostConfig.IpcMode], [by, by, by]);
    await engine.ok("rename", "owner", "former");
    await engine.ok("restart", "-t", "0", "guest");
    assert.equal(await engine.ok("exec", "guest", "ip", "-o", "-4", "addr", "show", "eth0"), own);
    await engine.ok("rm", "-f", "guest", "former");
  });

  test("a command that never began goes with its container's end", async () => {
    await idle("short");
    const create = async () => (await engine.request("POST", "/containers/short/exec", { Cmd: ["true"] })).json.Id;
    const exec = await create();
    assert.deepEqual((await inspect("short")).ExecIDs, [exec]);
    await engine.ok("kill", "short");
    assert.equal((await inspect("short")).ExecIDs, null);
    for (const [method, path] of [
      ["GET", `/exec/${exec}/json`],
      ["POST", `/exec/${exec}/start`],
    ] as const) {
      const { status, json } = await engine.request(method, path, method === "POST" ? { Detach: true } : undefined);
      assert.deepEqual([status, json.message], [404, `No such exec instance: ${exec}`]);
    }
    await engine.ok("start", "short");
    assert.equal((await inspect("short")).ExecIDs, null);
    await engine.ok("rm", "-f", "short");
  });

  test("a kill names the container as it was asked for", async () => {
    await engine.ok("run", "--name", "over", "busybox", "true");
    const { Id } = await inspect("over");
    for (const name of ["over", Id, Id.slice(0, 12)]) {
      const { status, json } = await engine.request("POST", `/containers/${name}/kill`);
      assert.deepEqual([status, json.message], [409, `cannot kill container: ${name}: container ${Id} is not running`]);
    }
    const { json } = await engine.request("POST", "/containers/over/kill?signal=NOPE");
    assert.equal(json.message, "cannot kill container: over: invalid signal: NOPE");
    await engine.ok("rm", "over");
  });
});

describe("a link where containers of the default network don't reach each other", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine({ args: ["--icc=false"] });
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const LISTENS = "until grep -q ':0050 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done";
  const serve = async (name: string, ...options: string[]) => {
    const both = "nc -ll -p 81 -e echo closed & exec nc -ll -p 80 -e echo open";
    await engine.ok("run", "-d", "--init", "--name", name, ...options, "busybox", "sh", "-c", both);
    await engine.ok("exec", name, "sh", "-c", LISTENS);
  };
  /** What nc hears by a name; it gives up after some seconds where no answer is due. */
  const hears = async (from: string, name: string, port: number, seconds: number) =>
    (await engine.docker("exec", from, "nc", "-w", String(seconds), name, String(port))).stdout.trim();

  test("leads to the exposed ports of the other, as long as both are there, over the engine's end too", async () => {
    await serve("db", "--expose", "80");
    await engine.ok("run", "-d", "--init", "--name", "web", "--link", "db:store", "busybox", "sleep", "600");
    assert.equal(await hears("web", "store", 80, 20), "open");
    assert.equal(await hears("web", "store", 81, 1), "", "it is not exposed");
    const web = await engine.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web");
    await serve("other", "--expose", "80");
    assert.equal(
      await hears("web", await engine.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "other"), 80, 1),
      "",
    );
    assert.match(await engine.ok("exec", "db", "ip", "route"), new RegExp(`^${web.replaceAll(".", "\\.")} via `, "m"));
    await engine.kill();
    await engine.start();
    assert.equal(await hears("web", "store", 80, 20), "open");
    await engine.ok("restart", "-t", "0", "db");
    await engine.ok("exec", "db", "sh", "-c", LISTENS);
    assert.equal(await hears("web", "store", 80, 20), "open");
    const db = await engine.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "db");
    await engine.ok("rm", "--link", "web/store");
    assert.equal(await hears("web", db, 80, 1), "");
    assert.doesNotMatch(
      await engine.ok("exec", "db", "ip", "route"),
      new RegExp(`^${web.replaceAll(".", "\\.")} via`, "m"),
    );
    await engine.ok("rm", "-f", "db", "web", "other");
  });
});
