import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

describe("an engine that dies", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const way of ["kill", "stop"] as const) {
    test(`by ${way} leaves containers running and finds them again`, async () => {
      await engine.ok("run", "-d", "--name", "stays", "-p", "127.0.0.1::80", "busybox", "sleep", "600");
      const pid = await engine.ok("inspect", "-f", "{{.State.Pid}}", "stays");
      const port = await engine.ok("port", "stays");
      await engine[way]();
      assert.ok(existsSync(`/proc/${pid}`), "the container died with the engine");
      await engine.start();
      assert.equal(await engine.ok("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "stays"), `${pid} running`);
      assert.equal(await engine.ok("port", "stays"), port);
      assert.equal(await engine.ok("exec", "stays", "echo", "alive"), "alive");
      await engine.ok("rm", "-f", "stays");
    });
  }

  test("by stop while a container is started is followed by one that starts it", async () => {
    for (let round = 0; round < 8; round++) {
      const spec = { Image: "busybox", Cmd: ["sleep", "600"], HostConfig: { NetworkMode: "none" } };
      const { json } = await engine.request("POST", "/containers/create", spec);
      const path = `/containers/${json.Id}/start`;
      const start = engine.request("POST", path).catch(() => {});
      await delay(6 * round);
      await engine.stop();
      await start;
      await engine.start();
      const { status, text } = await engine.request("POST", path);
      assert.ok(status === 204 || status === 304, text);
      await engine.request("DELETE", `/containers/${json.Id}?force=1`);
    }
  });

  test("learns the exit codes and the output of what ended meanwhile", async () => {
    await engine.ok(
      "run",
      "-d",
      "--name",
      "ends",
      "-v",
      "gate:/gate",
      "busybox",
      "sh",
      "-c",
      "until [ -e /gate/go ]; do :; done; echo last words; exit 21",
    );
    const pid = await engine.ok("inspect", "-f", "{{.State.Pid}}", "ends");
    const gate = await engine.ok("volume", "inspect", "-f", "{{.Mountpoint}}", "gate");
    await engine.kill();
    await engine.run("sh", ["-c", `touch ${gate}/go; while [ -e /proc/${pid} ]; do :; done`]);
    await engine.start();
    assert.equal(await engine.ok("wait", "ends"), "21");
    assert.equal(await engine.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "ends"), "exited 21");
    assert.equal(await engine.ok("logs", "ends"), "last words");
    await engine.ok("rm", "-v", "ends");
    await engine.ok("volume", "rm", "gate");
  });

  test("keeps what it had acknowledged: images, containers, names", async () => {
    await engine.ok("tag", "busybox", "acknowledged:1");
    await engine.ok("create", "--name", "made", "busybox", "true");
    await engine.kill();
    await engine.start();
    assert.match(await engine.ok("images", "--format", "{{.Repository}}:{{.Tag}}"), /acknowledged:1/);
    assert.equal(await engine.ok("start", "-a", "made"), "");
    await engine.ok("rm", "made");
    await engine.ok("rmi", "acknowledged:1");
  });

  test("brings back what the restart policy names when the container died with it", async () => {
    await engine.ok("run", "-d", "--name", "always", "--restart", "always", "busybox", "sleep", "600");
    const pid = await engine.ok("inspect", "-f", "{{.State.Pid}}", "always");
    await engine.kill();
    process.kill(Number(pid), "SIGKILL");
    await engine.start();
    const events = engine.run(
      "sh",
      ["-c", 'until [ "$(docker inspect -f "{{.State.Running}}" always)" = true ]; do :; done'],
      { timeoutMs: 15_000 },
    );
    await events;
    assert.notEqual(await engine.ok("inspect", "-f", "{{.State.Pid}}", "always"), pid);
    await engine.ok("rm", "-f", "always");
  });
});
