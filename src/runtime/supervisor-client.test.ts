import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { isKind } from "../base/errors.ts";
import { readLog } from "./log-reader.ts";
import { newId, RuntimeFixture, readAll } from "./runtime.fixture.ts";

let fixture: RuntimeFixture;
before(async () => {
  fixture = await RuntimeFixture.make();
});
after(() => fixture[Symbol.asyncDispose]());

test("exit codes arrive as they are, 128 + n for a signal", async () => {
  for (const code of [0, 1, 42, 126, 127, 128, 200, 255]) {
    assert.equal((await fixture.run(["sh", "-c", `exit ${code}`])).code, code);
  }
  const request = fixture.request(["sleep", "100"]);
  await fixture.client.create(request);
  await fixture.client.start(request.id);
  await fixture.client.kill(request.id, 9);
  assert.equal((await fixture.exitOf(request.id)).code, 137);
  await assert.rejects(fixture.client.kill(request.id, 9), (error) => isKind(error, "conflict"));
  await fixture.client.delete(request.id);
});

test("each of sixty short-lived containers tells its exit", async () => {
  for (let index = 0; index < 60; index++) assert.equal((await fixture.run(["true"])).code, 0);
});

test("a first process has descriptors 0, 1 and 2 only, and its input is at its end", async () => {
  const log = { path: join(fixture.folder, "log-fds"), maxSize: 0, maxFiles: 1 };
  // The fourth is the listing's own handle of the folder.
  await fixture.run(["sh", "-c", "cat; ls /proc/self/fd | wc -l; ls /proc/1/fd; true"], { log });
  const lines = await Array.fromAsync(readLog(log, { stdout: true, stderr: true }));
  const text = lines.map((line) => Buffer.from(line.data).toString()).join("");
  const [count, ...first] = text.trim().split("\n");
  assert.equal(Number(count), 4);
  // busybox's shell keeps the script on a descriptor of its own from 10 on.
  assert.deepEqual(
    first.filter((fd) => Number(fd) < 10),
    ["0", "1", "2"],
  );
});

test("a command that can't be run is refused in Docker's words, and nothing is left", async () => {
  const request = fixture.request(["nope"]);
  await assert.rejects(fixture.client.create(request), {
    kind: "invalid",
    message:
      'OCI runtime create failed: crun create failed: unable to start container process: exec: "nope": ' +
      "executable file not found in $PATH: unknown",
  });
  assert.deepEqual(await fixture.client.list(), []);
  assert.deepEqual(readdirSync(join(fixture.execRoot, "containers")), []);
  assert.deepEqual(readdirSync(join(fixture.execRoot, "runtime/r-crun")), []);
});

test("an unanswering runtime blocks nobody and is given up after its time", async () => {
  const hanging = { name: "hang", path: join(fixture.rootfs, "bin/sh"), args: ["-c", "exec /bin/sleep 1000"] };
  const request = fixture.request(["true"], { runtime: hanging, timeoutMs: 300 });
  const refused = assert.rejects(fixture.client.create(request), { kind: "unavailable" });
  assert.equal((await fixture.run(["true"])).code, 0);
  await refused;
});

test("a paused container stands still until it is resumed, and delete removes every trace", async () => {
  const request = fixture.request(["sleep", "100"]);
  const { pid } = await fixture.client.create(request);
  assert.equal((await fixture.client.list())[0]?.status, "created");
  await fixture.client.start(request.id);
  await fixture.client.pause(request.id);
  assert.equal((await fixture.client.list())[0]?.status, "paused");
  await fixture.client.resume(request.id);
  assert.equal((await fixture.client.list())[0]?.status, "running");
  const cgroups = readFileSync(`/proc/${pid}/cgroup`, "utf8");
  assert.match(cgroups, new RegExp(`pids:${fixture.cgroup}/${request.id}`));
  await fixture.client.pause(request.id);
  await fixture.client.delete(request.id);
  assert.ok(!existsSync(`/proc/${pid}`));
  assert.ok(!existsSync(`/sys/fs/cgroup/pids${fixture.cgroup}/${request.id}`));
  assert.ok(!existsSync(join(fixture.execRoot, "containers", request.id)));
});

test("running out of memory is told", async () => {
  // tr keeps nothing, dd's block must be there whole.
  const request = fixture.request(["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1; exit 3"], {
    memory: 30 * 1024 * 1024,
  });
  await fixture.client.create(request);
  await fixture.client.start(request.id);
  const exit = await fixture.exitOf(request.id);
  assert.equal(exit.oomKilled, true);
  await fixture.client.delete(request.id);
});

test("kill with all reaches every process of the container", async () => {
  const request = fixture.request(["sh", "-c", "trap 'exit 5' TERM; sleep 100 & echo ready; wait; wait; exit 6"]);
  const { near } = await fixture.attach(request.id);
  await fixture.client.create(request);
  await fixture.client.start(request.id);
  await new Promise((resolve) => near.once("data", resolve));
  await fixture.client.kill(request.id, 15, { all: true });
  assert.equal((await fixture.exitOf(request.id)).code, 5);
  near.destroy();
  await fixture.client.delete(request.id);
});

test("an exec gives its own exit code and output, and takes input to its end", async () => {
  const request = fixture.request(["sleep", "100"]);
  await fixture.client.create(request);
  await fixture.client.start(request.id);
  const exec = fixture.execRequest(request.id, ["sh", "-c", "cat; echo err >&2; exit 9"], { openStdin: true });
  const { near, done } = await fixture.attach(request.id, { execId: exec.execId, stdin: true, multiplexed: true });
  const output = readAll(near);
  const { pid } = await fixture.client.exec(exec);
  assert.ok(pid > 0);
  near.end("typed\n");
  assert.equal((await fixture.exitOf(exec.execId)).code, 9);
  assert.equal((await output).toString("latin1"), "\x01\0\0\0\0\0\0\x06typed\n\x02\0\0\0\0\0\0\x04err\n");
  assert.equal(await done, "exited");

  const failing = fixture.execRequest(request.id, ["nope"]);
  const told = await fixture.attach(request.id, { execId: failing.execId });
  const words = readAll(told.near);
  await assert.rejects(fixture.client.exec(failing), {
    kind: "invalid",
    message: /executable file not found in \$PATH: unknown$/,
  });
  assert.match((await words).toString(), /^OCI runtime exec failed: .*: unknown\r\n$/);
  told.near.end();

  const long = fixture.execRequest(request.id, ["sleep", "100"]);
  await fixture.client.exec(long);
  await fixture.client.killExec(request.id, long.execId, 9);
  assert.equal((await fixture.exitOf(long.execId)).code, 137);
  await fixture.client.delete(request.id);
});

test("whoever saw an exec's stream end can learn its exit, and that of one that could not start", async () => {
  const request = fixture.request(["sleep", "100"]);
  await fixture.client.create(request);
  await fixture.client.start(request.id);
  for (let round = 0; round < 20; round++) {
    const exec = fixture.execRequest(request.id, ["sh", "-c", "echo said; exit 17"]);
    const { near } = await fixture.attach(request.id, { execId: exec.execId });
    const started = fixture.client.exec(exec);
    assert.equal((await readAll(near)).toString(), "said\n");
    await fixture.client.sync();
    assert.deepEqual(
      fixture.exits.filter((exit) => exit.execId === exec.execId).map((exit) => exit.code),
      [17],
    );
    near.end();
    await started;

    const failing = fixture.execRequest(request.id, ["nope"]);
    const told = await fixture.attach(request.id, { execId: failing.execId });
    let refused = false;
    const refusal = fixture.client.exec(failing).catch(() => {
      refused = true;
    });
    await readAll(told.near);
    await fixture.client.sync();
    assert.ok(refused);
    told.near.end();
    await refusal;
  }
  await fixture.client.delete(request.id);
});

test("exits that happen while no engine is there are told to the next one", async () => {
  const request = fixture.request(["sh", "-c", "read line; exit 4"], { openStdin: true });
  await fixture.client.create(request);
  await fixture.client.start(request.id);
  const { near } = await fixture.attach(request.id, { stdin: true });
  fixture.client.close();
  near.write("go\n");
  await readAll(near);
  near.end();
  fixture.client = await fixture.connect();
  assert.equal((await fixture.exitOf(request.id)).code, 4);
  await fixture.client.delete(request.id);
});

test("after the supervisor was killed a new one goes on with what runs and what ended", async () => {
  const log = { path: join(fixture.folder, "log-recover"), maxSize: 0, maxFiles: 1 };
  const script = "echo before; trap 'echo after; exit 33' TERM; while :; do sleep 0.05; done";
  const running = fixture.request(["sh", "-c", script], { log });
  const ended = fixture.request(["sleep", "100"]);
  const { near } = await fixture.attach(running.id);
  for (const request of [running, ended]) {
    await fixture.client.create(request);
    await fixture.client.start(request.id);
  }
  await new Promise((resolve) => near.once("data", resolve));
  const [first] = (await fixture.client.list()).filter((row) => row.id === running.id);
  process.kill(fixture.supervisorPid, "SIGKILL");
  await assert.rejects(
    // Asked of the dead one, or else of the new one, which knows no such container.
    fixture.client.start(newId()),
    (error) => isKind(error, "unavailable") || isKind(error, "not-found"),
  );
  const after = await fixture.client.list();
  assert.deepEqual(
    after.find((row) => row.id === running.id),
    first,
  );
  await fixture.client.kill(running.id, 15);
  await fixture.client.kill(ended.id, 9);
  assert.equal((await fixture.exitOf(running.id)).code, 33);
  assert.equal((await fixture.exitOf(ended.id)).code, 137);
  const lines = await Array.fromAsync(readLog(log, { stdout: true, stderr: true }));
  assert.deepEqual(
    lines.map((line) => Buffer.from(line.data).toString()),
    ["before\n", "after\n"],
  );
  near.destroy();
  for (const request of [running, ended]) await fixture.client.delete(request.id);
});
