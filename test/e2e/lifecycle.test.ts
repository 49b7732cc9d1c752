import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

describe("a container's life", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const state = (name: string, field: string): Promise<string> =>
    engine.ok("inspect", "-f", `{{.State.${field}}}`, name);

  test("goes from created through running to exited and can be started again", async () => {
    const id = await engine.ok("create", "--name", "life", "busybox", "sleep", "600");
    assert.match(id, /^[0-9a-f]{64}$/);
    assert.equal(await state("life", "Status"), "created");
    assert.equal(await engine.ok("start", "life"), "life");
    assert.equal(await state("life", "Running"), "true");
    assert.ok(Number(await state("life", "Pid")) > 0);
    await engine.ok("kill", "life");
    assert.equal(await engine.ok("wait", "life"), "137");
    assert.equal(await state("life", "Status"), "exited");
    assert.equal(await state("life", "Pid"), "0");
    await engine.ok("start", "life");
    assert.equal(await state("life", "Running"), "true");
    await engine.ok("rm", "-f", "life");
    assert.equal((await engine.docker("inspect", "life")).code, 1);
  });

  test("stop asks with SIGTERM and kills when its time is over", async () => {
    await engine.ok(
      "run",
      "-d",
      "--name",
      "polite",
      "busybox",
      "sh",
      "-c",
      "trap 'exit 7' TERM; while :; do sleep 0.05; done",
    );
    await engine.ok("stop", "-t", "20", "polite");
    assert.equal(await state("polite", "ExitCode"), "7");
    await engine.ok("run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done");
    const began = Date.now();
    await engine.ok("stop", "-t", "1", "deaf");
    assert.ok(Date.now() - began >= 950, "it was killed before its time");
    assert.equal(await state("deaf", "ExitCode"), "137");
    await engine.ok("rm", "polite", "deaf");
  });

  test("stop uses the container's own stop signal and kill takes any signal by name or number", async () => {
    // A first process that has no trap yet is not ended by these signals: the kernel keeps them from it.
    const script = "trap 'exit 42' USR1; trap 'exit 43' HUP; : > /run/trapped; while :; do sleep 0.05; done";
    const options = ["--name", "signals", "--stop-signal", "USR1", "--tmpfs", "/run"];
    const trapped = () => engine.ok("exec", "signals", "sh", "-c", "until [ -e /run/trapped ]; do sleep 0.01; done");
    await engine.ok("run", "-d", ...options, "busybox", "sh", "-c", script);
    await trapped();
    await engine.ok("stop", "signals");
    assert.equal(await state("signals", "ExitCode"), "42");
    for (const signal of ["HUP", "SIGHUP", "1"]) {
      await engine.ok("start", "signals");
      await trapped();
      await engine.ok("kill", "-s", signal, "signals");
      assert.equal(await engine.ok("wait", "signals"), "43", signal);
    }
    await engine.ok("rm", "signals");
  });

  test("restart brings a new process, and the files stay", async () => {
    await engine.ok("run", "-d", "--name", "again", "busybox", "sh", "-c", "echo x >> /file; exec sleep 600");
    const first = await state("again", "Pid");
    // Killed before it has written, the first process would leave nothing to be counted.
    await engine.ok("exec", "again", "sh", "-c", "until [ -s /file ]; do :; done");
    await engine.ok("restart", "-t", "0", "again");
    assert.notEqual(await state("again", "Pid"), first);
    await engine.ok("exec", "again", "sh", "-c", "until [ $(wc -l < /file) = 2 ]; do :; done");
    await engine.ok("rm", "-f", "again");
  });

  test("pause freezes it and unpause lets it go on", async () => {
    await engine.ok("run", "-d", "--name", "frozen", "busybox", "sleep", "600");
    await engine.ok("pause", "frozen");
    assert.equal(await state("frozen", "Status"), "paused");
    const refused = await engine.docker("pause", "frozen");
    assert.match(refused.stderr, /is already paused/);
    assert.match(
      (await engine.docker("exec", "frozen", "true")).stderr,
      /is paused, unpause the container before exec/,
    );
    await engine.ok("unpause", "frozen");
    assert.equal(await state("frozen", "Status"), "running");
    assert.match((await engine.docker("unpause", "frozen")).stderr, /is not paused/);
    await engine.ok("rm", "-f", "frozen");
  });

  test("rename frees the old name and takes the new one", async () => {
    await engine.ok("create", "--name", "old", "busybox");
    await engine.ok("rename", "old", "new");
    assert.equal(await engine.ok("inspect", "-f", "{{.Name}}", "new"), "/new");
    await engine.ok("create", "--name", "old", "busybox");
    assert.match((await engine.docker("rename", "old", "new")).stderr, /is already in use by container/);
    await engine.ok("rm", "old", "new");
  });

  test("rm refuses what runs, --rm removes at the end and -v takes the anonymous volume along", async () => {
    await engine.ok("run", "-d", "--name", "busy", "busybox", "sleep", "600");
    const refused = await engine.docker("rm", "busy");
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /container is running: stop the container before removing or force remove/);
    await engine.ok("rm", "-f", "busy");
    await engine.ok("run", "--rm", "--name", "brief", "-v", "/data", "busybox", "touch", "/data/x");
    assert.equal(await engine.ok("ps", "-aq", "--filter", "name=brief"), "");
    assert.equal(await engine.ok("volume", "ls", "-q"), "");
  });

  test("wait tells the code of one that runs and of one that has ended", async () => {
    await engine.ok("run", "-d", "--name", "waited", "busybox", "sh", "-c", "read x < /dev/null; exit 9");
    assert.equal(await engine.ok("wait", "waited"), "9");
    assert.equal(await engine.ok("wait", "waited"), "9");
    await engine.ok("rm", "waited");
  });

  test("ps lists by state, by name and by label, newest first", async () => {
    await engine.ok("create", "--name", "ps-a", "--label", "k=1", "busybox");
    await engine.ok("run", "-d", "--name", "ps-b", "--label", "k=2", "busybox", "sleep", "600");
    assert.equal(await engine.ok("ps", "-a", "--filter", "name=ps-", "--format", "{{.Names}}"), "ps-b\nps-a");
    assert.equal(await engine.ok("ps", "--filter", "name=ps-", "--format", "{{.Names}}"), "ps-b");
    assert.equal(await engine.ok("ps", "-a", "--filter", "label=k=1", "--format", "{{.Names}}"), "ps-a");
    assert.equal(
      await engine.ok("ps", "-a", "--filter", "status=created", "--filter", "name=ps-", "--format", "{{.Names}}"),
      "ps-a",
    );
    assert.equal(await engine.ok("ps", "-n", "1", "--format", "{{.Names}}"), "ps-b");
    await engine.ok("rm", "-f", "ps-a", "ps-b");
  });

  test("a restart policy brings back what failed, so many times", async () => {
    await engine.ok(
      "run",
      "-d",
      "--name",
      "retry",
      "--restart",
      "on-failure:2",
      "busybox",
      "sh",
      "-c",
      "echo x; exit 3",
    );
    const events = engine.docker(
      "events",
      "--until",
      `${Math.ceil(Date.now() / 1000) + 4}`,
      "--filter",
      "container=retry",
      "--filter",
      "event=die",
      "--since",
      "10s",
      "--format",
      "die",
    );
    assert.equal((await events).stdout.trim().split("\n").length, 3);
    assert.equal(
      await engine.ok("inspect", "-f", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", "retry"),
      "2 exited 3",
    );
    assert.equal(await engine.ok("logs", "retry"), "x\nx\nx");
    await engine.ok("rm", "retry");
  });

  test("twenty of them live side by side", async () => {
    const names = Array.from({ length: 20 }, (_, index) => `many-${index}`);
    await Promise.all(names.map((name) => engine.ok("run", "-d", "--name", name, "busybox", "sleep", "600")));
    assert.equal((await engine.ok("ps", "-q", "--filter", "name=many-")).split("\n").length, 20);
    await engine.ok("rm", "-f", ...names);
  });
});
