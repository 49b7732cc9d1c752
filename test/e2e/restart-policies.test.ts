import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow, processesOf } from "../leftovers.ts";

const POLICIES = ["no", "always", "unless-stopped", "on-failure"] as const;

/** What ran when everything went down, and `always` in any case. */
const BROUGHT_BACK = {
  no: "exited",
  always: "running",
  "unless-stopped": "running",
  "on-failure": "running",
  "no-stopped": "exited",
  "always-stopped": "running",
  "unless-stopped-stopped": "exited",
  "on-failure-stopped": "exited",
  networked: "running",
};

describe("what restart policies bring back", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine({ args: ["--shutdown-containers", "--shutdown-timeout", "3"] });
  });
  after(() => engine?.[Symbol.asyncDispose]());

  /** For each policy one that runs and one that its user stopped, and two that go with their end. */
  beforeEach(async () => {
    const listed = (await engine.ok("ps", "-aq")).split("\n").filter((id) => id !== "");
    if (listed.length > 0) await engine.ok("rm", "-f", ...listed);
    const run = (name: string, ...options: string[]) =>
      engine.ok(
        "run",
        "-d",
        "--name",
        name,
        ...options,
        "busybox",
        "sh",
        "-c",
        "trap 'exit 7' TERM; sleep 1000 & wait",
      );
    for (const policy of POLICIES) {
      await run(policy, "--restart", policy, "--network", "none");
      await run(`${policy}-stopped`, "--restart", policy, "--network", "none");
      await engine.ok("stop", "-t", "0", `${policy}-stopped`);
    }
    await run("goes", "--rm", "-v", "/data");
    await run("goes-too", "--rm", "--network", "none");
    await run("networked", "--restart", "always");
  });

  async function settled(): Promise<Record<string, string>> {
    const states = async () => {
      const rows = (await engine.request("GET", "/containers/json?all=1")).json as { Names: string[]; State: string }[];
      return Object.fromEntries(rows.map(({ Names, State }) => [String(Names[0]).slice(1), State]));
    };
    let before_ = "";
    for (const deadline = Date.now() + 20_000; ; await delay(400)) {
      const now = JSON.stringify(await states());
      if (now === before_ || Date.now() > deadline) return JSON.parse(now);
      before_ = now;
    }
  }

  const volumes = async () => (await engine.request("GET", "/volumes")).json.Volumes.length as number;

  test("after the engine stopped its containers: what ran, and `always` in any case", async () => {
    await engine.stop();
    await engine.start();
    assert.deepEqual(await settled(), BROUGHT_BACK);
    assert.equal(await engine.ok("inspect", "-f", "{{.State.ExitCode}}", "no"), "7");
    assert.equal(await volumes(), 0);
  });

  test("after a machine that went down with all that ran on it", async () => {
    const rows = (await engine.request("GET", "/containers/json")).json as { Id: string }[];
    const pids = await Promise.all(
      rows.map(async ({ Id }) => (await engine.request("GET", `/containers/${Id}/json`)).json.State.Pid as number),
    );
    const bridge = (await engine.request("GET", "/networks/bridge")).json.Options["com.docker.network.bridge.name"];
    await engine.kill();
    for (const pid of [...processesOf(engine.root), ...pids]) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It went with another.
      }
    }
    while (processesOf(engine.root).length > 0) await delay(20);
    for (let [mount] = mountsBelow(engine.root); mount !== undefined; [mount] = mountsBelow(engine.root)) {
      execFileSync("umount", ["-l", mount]);
    }
    rmSync(engine.execRoot, { recursive: true, force: true });
    execFileSync("ip", ["link", "delete", bridge]);
    await engine.start();
    assert.deepEqual(await settled(), BROUGHT_BACK);
    assert.equal(await engine.ok("inspect", "-f", "{{.State.ExitCode}}", "no"), "255");
    assert.equal(await volumes(), 0);
    assert.match(await engine.ok("exec", "networked", "ip", "addr", "show", "eth0"), /inet /);
  });

  test("what goes with its end goes also if the engine was killed before it", async () => {
    const [goes = "", stays = ""] = await Promise.all(
      ["goes", "goes-too"].map((name) => engine.ok("inspect", "-f", "{{.State.Pid}}", name)),
    );
    await engine.kill();
    process.kill(Number(goes), "SIGKILL");
    await delay(300);
    await engine.start();
    const states = await settled();
    assert.deepEqual([states.goes, states["goes-too"]], [undefined, "running"]);
    assert.equal(await volumes(), 0);
    process.kill(Number(stays), "SIGKILL");
    assert.equal((await settled())["goes-too"], undefined);
    assert.equal((await engine.request("GET", "/containers/goes-too/json")).status, 404);
  });
});
