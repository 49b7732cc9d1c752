import assert from "node:assert/strict";
import { renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

describe("ends and restarts", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const inspect = async (name: string) => (await engine.request("GET", `/containers/${name}/json`)).json;
  const post = async (name: string, what: string, body?: unknown) => {
    const { status, json } = await engine.request("POST", `/containers/${name}/${what}`, body);
    return [status, (json?.message as string | undefined)?.replace(/[0-9a-f]{64}/, "ID")];
  };

  async function actions(name: string): Promise<string[]> {
    const filters = encodeURIComponent(JSON.stringify({ container: [name], type: ["container"] }));
    const { text } = await engine.request(
      "GET",
      `/events?since=1&until=${Date.now() / 1000 + 0.01}&filters=${filters}`,
    );
    const lines = text.split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line).Action as string);
  }

  /** A container that fails at once, and waits for its fifth restart: 1.6 seconds are enough for each test. */
  async function failing(name: string): Promise<void> {
    const command = ["busybox", "sh", "-c", "echo up; exit 3"];
    await engine.ok("run", "-d", "--name", name, "--network", "none", "--restart", "always", ...command);
    for (const deadline = Date.now() + 20_000; ; await delay(10)) {
      const { RestartCount, State } = await inspect(name);
      if (RestartCount >= 4 && State.Status === "restarting") return;
      assert.ok(Date.now() < deadline, "it never came that far");
    }
  }

  test("while it waits for its restart it counts as running, and what needs a process is refused", async () => {
    await failing("waits");
    const { State } = await inspect("waits");
    assert.deepEqual([State.Running, State.Restarting, State.ExitCode, State.Pid], [true, true, 3, 0]);
    assert.match(await engine.ok("ps", "--format", "{{.Status}}", "-f", "name=waits"), /^Restarting \(3\) /);
    const restarting = [409, "Container ID is restarting, wait until the container is running"];
    assert.deepEqual(await post("waits", "pause"), restarting);
    assert.deepEqual(await post("waits", "exec", { Cmd: ["true"] }), restarting);
    assert.deepEqual(await post("waits", "start"), [304, undefined]);
    const { status, json } = await engine.request("DELETE", "/containers/waits");
    assert.equal(status, 409);
    assert.match(json.message, /container is restarting: stop the container before removing or force remove$/);
    const waiting = engine.ok("wait", "waits");
    await delay(100);
    assert.deepEqual(await post("waits", "kill"), [204, undefined]);
    assert.equal(await waiting, "3");
    const { RestartCount } = await inspect("waits");
    await delay(2000);
    const later = await inspect("waits");
    assert.deepEqual([later.State.Status, later.RestartCount], ["exited", RestartCount]);
    await engine.ok("start", "waits");
    assert.ok((await inspect("waits")).RestartCount < RestartCount, "a start by hand begins to count anew");
    await engine.ok("rm", "-f", "waits");
  });

  test("a stop takes a waiting restart back, and so does a policy that no longer wants it", async () => {
    await failing("stops");
    await engine.ok("stop", "stops");
    assert.equal((await actions("stops")).at(-1), "stop");
    assert.equal((await inspect("stops")).State.Status, "exited");
    await engine.ok("rm", "stops");
    await failing("updates");
    await engine.ok("update", "--restart", "no", "updates");
    await delay(2000);
    assert.equal((await inspect("updates")).State.Status, "exited");
    await engine.ok("rm", "updates");
  });

  for (const way of ["kill", "stop"] as const) {
    test(`a waiting restart comes after the engine's end by ${way} too`, async () => {
      await failing("lasts");
      const before = (await engine.ok("logs", "lasts")).split("\n").length;
      await engine[way]();
      await engine.start();
      for (const deadline = Date.now() + 20_000; ; await delay(20)) {
        if ((await engine.ok("logs", "lasts")).split("\n").length > before) break;
        assert.ok(Date.now() < deadline, "it was not started again");
      }
      await engine.ok("rm", "-f", "lasts");
    });
  }

  test("retries that are used up stay so over the engine's restart", async () => {
    const command = ["--restart", "on-failure:1", "busybox", "sh", "-c", "echo up; exit 3"];
    await engine.ok("run", "-d", "--name", "spent", "--network", "none", ...command);
    for (const deadline = Date.now() + 10_000; (await inspect("spent")).State.Status !== "exited"; await delay(20))
      assert.ok(Date.now() < deadline);
    await engine.restart();
    await delay(500);
    assert.deepEqual([(await inspect("spent")).State.Status, await engine.ok("logs", "spent")], ["exited", "up\nup"]);
    await engine.ok("rm", "spent");
  });

  test("events come in dockerd's order, whatever ends a container", async () => {
    const run = (name: string) =>
      engine.ok("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "600");
    for (let round = 0; round < 5; round++) {
      await run("forced");
      await engine.ok("rm", "-f", "forced");
    }
    const once = ["create", "start", "kill", "die", "destroy"];
    assert.deepEqual(await actions("forced"), Array.from({ length: 5 }, () => once).flat());
    await run("asked");
    await engine.ok("stop", "-t", "0", "asked");
    await engine.ok("start", "asked");
    await engine.ok("kill", "asked");
    await engine.ok("start", "asked");
    await engine.ok("exec", "asked", "true");
    await engine.ok("restart", "-t", "0", "asked");
    assert.deepEqual(await actions("asked"), [
      ...["create", "start", "kill", "kill", "die", "stop"],
      ...["start", "kill", "die"],
      ...["start", "exec_create: true ", "exec_start: true ", "exec_die"],
      ...["kill", "kill", "die", "stop", "start", "restart"],
    ]);
    await engine.ok("rm", "-f", "asked");
  });

  test("a wait for the removal of what goes with its exit tells the exit code", async () => {
    const config = { Image: "busybox", Cmd: ["sh", "-c", "sleep 0.3; exit 5"], HostConfig: { AutoRemove: true } };
    const { Id } = (await engine.request("POST", "/containers/create", config)).json;
    const waiting = engine.request("POST", `/containers/${Id}/wait?condition=removed`);
    await engine.request("POST", `/containers/${Id}/start`);
    assert.deepEqual((await waiting).json, { StatusCode: 5 });
    assert.equal((await engine.request("GET", `/containers/${Id}/json`)).status, 404);
  });

  test("shows its names and variables as dockerd does, and refuses arguments that the kernel would", async () => {
    await engine.ok(
      "run",
      "-d",
      "--name",
      "boss",
      "--hostname",
      "chief",
      "--network",
      "none",
      "busybox",
      "sleep",
      "600",
    );
    await engine.ok("run", "-d", "--name", "guest", "--network", "container:boss", "busybox", "sleep", "600");
    assert.equal((await inspect("guest")).Config.Hostname, "chief");
    const config = { Cmd: ["echo", "a".repeat(200_000)], AttachStdout: true };
    const { Id } = (await engine.request("POST", "/containers/boss/exec", config)).json;
    const { json } = await engine.request("POST", `/exec/${Id}/start`, { Detach: true });
    assert.match(json.message, /^OCI runtime exec failed: .*argument list too long/);
    await engine.ok("rm", "-f", "guest", "boss");
  });

  test("one whose files are gone is kept, and says so when it is started", async () => {
    await engine.ok("create", "--name", "robbed", "--network", "none", "busybox", "true");
    const upper = (await inspect("robbed")).GraphDriver.Data.UpperDir as string;
    await engine.stop();
    renameSync(dirname(upper), join(engine.root, "loot"));
    await engine.start();
    assert.equal((await inspect("robbed")).State.Status, "created");
    assert.match((await engine.docker("start", "robbed")).stderr, /its files are gone from the data root/);
    assert.equal((await engine.request("GET", "/containers/json?all=1&size=1")).status, 200);
    await engine.ok("rm", "robbed");
  });
});
