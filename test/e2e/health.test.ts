import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

interface Health {
  readonly Status: string;
  readonly FailingStreak: number;
  readonly Log: readonly { Start: string; End: string; ExitCode: number; Output: string }[];
}

describe("health checks", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const health = async (name: string): Promise<Health> =>
    (await engine.request("GET", `/containers/${name}/json`)).json.State.Health;

  /** Waits for a state of health that is bound to come. */
  async function until(name: string, test: (health: Health) => boolean): Promise<Health> {
    for (const deadline = Date.now() + 20_000; ; await delay(20)) {
      const found = await health(name);
      if (test(found)) return found;
      assert.ok(Date.now() < deadline, `it never came; last: ${JSON.stringify(found)}`);
    }
  }

  /** What the events of a container say, oldest first, without those of execs unless they are asked for. */
  async function actions(name: string, filters: object = {}): Promise<string[]> {
    const asked = encodeURIComponent(JSON.stringify({ container: [name], ...filters }));
    const { text } = await engine.request("GET", `/events?since=1&until=${Date.now() / 1000 + 0.01}&filters=${asked}`);
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line).Action as string);
  }

  const run = (name: string, ...rest: string[]) =>
    engine.ok("run", "-d", "--name", name, "--network", "none", "--stop-timeout", "0", ...rest);

  test("goes from starting to healthy, is shown, filtered and told of", async () => {
    const probe = 'echo "as $(id -u) in $(pwd) with $A"; echo err >&2';
    const look = ["--health-cmd", probe, "--health-interval", "400ms", "-u", "7", "-w", "/tmp", "-e", "A=b"];
    await run("looks", ...look, "busybox", "sleep", "600");
    assert.deepEqual(await health("looks"), { Status: "starting", FailingStreak: 0, Log: [] });
    assert.match(await engine.ok("ps", "--format", "{{.Status}}", "-f", "name=looks"), /^Up .* \(health: starting\)$/);
    const { Log } = await until("looks", ({ Status }) => Status === "healthy");
    const [first] = Log;
    assert.deepEqual([first?.ExitCode, first?.Output], [0, "as 7 in /tmp with b\nerr\n"]);
    assert.ok(Date.parse(first?.Start ?? "") <= Date.parse(first?.End ?? ""));
    assert.match(await engine.ok("ps", "--format", "{{.Status}}", "-f", "name=looks"), /^Up .* \(healthy\)$/);
    assert.equal(await engine.ok("ps", "--format", "{{.Names}}", "-f", "health=healthy"), "looks");
    assert.equal(await engine.ok("ps", "--format", "{{.Names}}", "-f", "health=none"), "");
    const begun = (await actions("looks")).slice(0, 6);
    const command = `/bin/sh -c ${probe}`;
    assert.deepEqual(begun, [
      "create",
      "start",
      `exec_create: ${command}`,
      `exec_start: ${command}`,
      "exec_die",
      "health_status: healthy",
    ]);
    assert.deepEqual(await actions("looks", { event: ["health_status"] }), ["health_status: healthy"]);
    assert.equal((await until("looks", ({ Log }) => Log.length === 5)).FailingStreak, 0);
    await engine.ok("stop", "looks");
    assert.equal((await health("looks")).Status, "unhealthy");
    await engine.ok("start", "looks");
    const again = await health("looks");
    assert.deepEqual([again.Status, again.FailingStreak, again.Log.length], ["starting", 0, 5]);
    await engine.ok("rm", "-f", "looks");
  });

  test("a failure counts after the start period, and so many make it unhealthy", async () => {
    const waits = ["--health-interval", "200ms", "--health-retries", "2", "--health-start-period", "1500ms"];
    const cmd = ["--health-cmd", "test -e /tmp/well", ...waits];
    const body = await engine.ok("create", "--name", "slow", "--network", "none", ...cmd, "busybox", "sleep", "600");
    assert.ok(body.length === 64);
    await engine.ok("start", "slow");
    const started = Date.parse((await engine.request("GET", "/containers/slow/json")).json.State.StartedAt);
    const failed = await until("slow", ({ FailingStreak }) => FailingStreak === 1);
    assert.ok(Date.parse(failed.Log.at(-1)?.Start ?? "") - started >= 1500, "it counted too early");
    assert.equal(failed.Status, "starting");
    assert.equal((await until("slow", ({ Status }) => Status !== "starting")).Status, "unhealthy");
    assert.match(await engine.ok("ps", "--format", "{{.Status}}", "-f", "health=unhealthy"), /\(unhealthy\)$/);
    await engine.ok("exec", "slow", "touch", "/tmp/well");
    assert.equal((await until("slow", ({ Status }) => Status === "healthy")).FailingStreak, 0);
    await engine.ok("rm", "-f", "slow");
  });

  test("one that hangs is killed with its children, and holds up neither stop nor restart", async () => {
    const hang = "echo some; sleep 8801 & sleep 8802";
    const times = ["--health-interval", "200ms", "--health-timeout", "1500ms", "--health-retries", "1"];
    await run("hangs", "--health-cmd", hang, ...times, "busybox", "sleep", "600");
    const { Log } = await until("hangs", ({ Status }) => Status === "unhealthy");
    assert.deepEqual([Log[0]?.ExitCode, Log[0]?.Output], [-1, "Health check exceeded timeout (1.5s): some\n"]);
    const sleeping = async () => {
      const { Processes } = (await engine.request("GET", "/containers/hangs/top?ps_args=-o%20pid,args")).json;
      return (Processes as string[][]).filter(([, args]) => args?.startsWith("sleep 880")).length;
    };
    for (const deadline = Date.now() + 10_000; (await sleeping()) === 0; await delay(20))
      assert.ok(Date.now() < deadline);
    assert.ok((await sleeping()) <= 2, "the probes before it are still there");
    const began = Date.now();
    await engine.ok("restart", "-t", "0", "hangs");
    for (const deadline = Date.now() + 10_000; (await sleeping()) === 0; await delay(20))
      assert.ok(Date.now() < deadline);
    await engine.ok("pause", "hangs");
    const { length } = (await health("hangs")).Log;
    await delay(800);
    assert.equal((await health("hangs")).Log.length, length, "a paused container was probed");
    await engine.ok("unpause", "hangs");
    await engine.ok("rm", "-f", "hangs");
    assert.ok(Date.now() - began < 8000, "the probe held it up");
  });

  test("a command that can't be run is a failure that says why, and long output is cut", async () => {
    const config = {
      Image: "busybox",
      Cmd: ["sleep", "600"],
      Healthcheck: { Test: ["CMD", "nope"], Interval: 200_000_000 },
    };
    await engine.request("POST", "/containers/create?name=absent", config);
    await engine.ok("start", "absent");
    const { Log } = await until("absent", ({ Log }) => Log.length > 0);
    assert.equal(Log[0]?.ExitCode, -1);
    assert.match(Log[0]?.Output ?? "", /exec: "nope": executable file not found in \$PATH/);
    const long = ["--health-cmd", "yes | head -c 50000", "--health-interval", "200ms"];
    await run("wordy", ...long, "busybox", "sleep", "600");
    const words = (await until("wordy", ({ Log }) => Log.length > 0)).Log[0]?.Output ?? "";
    assert.deepEqual([words.length, words.slice(-3)], [4099, "..."]);
    await engine.ok("rm", "-f", "absent", "wordy");
  });

  test("goes on after the engine's end by force, with what it had found", async () => {
    await run("stays", "--health-cmd", "exit 0", "--health-interval", "300ms", "busybox", "sleep", "600");
    const before = await until("stays", ({ Status }) => Status === "healthy");
    await engine.kill();
    await engine.start();
    const found = await health("stays");
    assert.equal(found.Status, "healthy");
    assert.deepEqual(found.Log[0], before.Log[0]);
    await until("stays", ({ Log }) => Date.parse(Log.at(-1)?.Start ?? "") > Date.parse(before.Log[0]!.Start) + 1000);
    assert.deepEqual(await actions("stays", { event: ["health_status"] }), []);
    await engine.ok("rm", "-f", "stays");
  });

  test("unhealthy containers are restarted, killed or stopped where they ask for it", async () => {
    const sick = ["--health-cmd", "exit 1", "--health-interval", "200ms", "--health-retries", "1"];
    const ask = (action: string) => ["--label", `gantry.health.on-failure=${action}`];
    await run("again", ...sick, ...ask("restart"), "busybox", "sleep", "600");
    const inspect = async (name: string) => (await engine.request("GET", `/containers/${name}/json`)).json;
    for (const deadline = Date.now() + 20_000; (await inspect("again")).RestartCount < 2; await delay(20))
      assert.ok(Date.now() < deadline, "it was not restarted");
    const told = (await actions("again")).filter((action) => !action.startsWith("exec_"));
    assert.deepEqual(told.slice(0, 7), ["create", "start", "health_status: unhealthy", "kill", "kill", "die", "start"]);
    await engine.ok("rm", "-f", "again");
    for (const action of ["kill", "stop"]) {
      await run(action, ...sick, ...ask(action), "busybox", "sleep", "600");
      assert.equal(await engine.ok("wait", action), "137");
      assert.equal((await actions(action)).includes("stop"), action === "stop");
      await engine.ok("rm", action);
    }
    const wrong = await engine.docker("create", ...ask("burn"), "busybox", "true");
    assert.match(wrong.stderr, /gantry\.health\.on-failure.*none, kill, restart, stop/);
  });

  test("can be run by hand", async () => {
    await run("hand", "--health-cmd", "echo here; exit 3", "--health-interval", "1h", "busybox", "sleep", "600");
    const { status, json } = await engine.request("POST", "/gantry/containers/hand/healthcheck");
    assert.deepEqual([status, json.ExitCode, json.Output], [200, 3, "here\n"]);
    const { code, stdout } = await engine.gantry("healthcheck", "run", "hand");
    assert.deepEqual([code, stdout], [1, "unhealthy\n"]);
    assert.equal((await health("hand")).FailingStreak, 2);
    await run("none", "busybox", "sleep", "600");
    assert.equal((await engine.request("POST", "/gantry/containers/none/healthcheck")).status, 409);
    await engine.ok("rm", "-f", "hand", "none");
  });
});
