import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

describe("clients that others wrote", () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  test("ping names the version and what is behind it", async () => {
    for (const method of ["GET", "HEAD"]) {
      const answer = await engine.request(method, "/_ping");
      assert.equal(answer.status, 200);
      assert.equal(answer.text, method === "GET" ? "OK" : "");
      assert.match(String(answer.headers["api-version"]), /^1\.\d+$/);
      assert.equal(answer.headers.ostype, "linux");
      assert.match(String(answer.headers["content-type"]), /^text\/plain/);
    }
  });

  test("docker version and info", { skip: NO_DOCKER }, async () => {
    assert.match(await engine.ok("version", "--format", "{{.Server.APIVersion}} {{.Server.Os}}"), /^1\.\d+ linux$/);
    const info = JSON.parse(await engine.ok("info", "--format", "{{json .}}")) as Record<string, unknown>;
    assert.equal(info.Images, 1);
    assert.equal(info.OSType, "linux");
    assert.ok(Number(info.NCPU) > 0 && Number(info.MemTotal) > 0);
    assert.equal(info.DockerRootDir, engine.dataRoot);
  });

  test("docker events shows a run from create to destroy", { skip: NO_DOCKER }, async () => {
    const since = (Date.now() / 1000).toFixed(6);
    await engine.ok("run", "--rm", "--name", "seen", "--label", "l=v", "busybox", "true");
    const events = await engine.ok(
      "events",
      "--since",
      since,
      "--until",
      (Date.now() / 1000 + 0.1).toFixed(6),
      "--format",
      "{{.Type}} {{.Action}}",
    );
    const seen = events.split("\n");
    for (const event of [
      "container create",
      "container attach",
      "network connect",
      "container start",
      "container die",
      "network disconnect",
      "container destroy",
    ]) {
      assert.ok(seen.includes(event), `${event} is missing of: ${seen.join(", ")}`);
    }
    assert.ok(seen.indexOf("container start") < seen.indexOf("container die"));
    const filtered = await engine.ok(
      "events",
      "--since",
      since,
      "--until",
      (Date.now() / 1000).toFixed(6),
      "--filter",
      "event=die",
      "--filter",
      "label=l=v",
      "--format",
      '{{index .Actor.Attributes "exitCode"}}',
    );
    assert.equal(filtered, "0");
  });

  test("every version prefix from 1.24 on is understood", async () => {
    for (const version of ["1.24", "1.41", "1.44", "1.51"]) {
      assert.equal((await engine.request("GET", `/v${version}/containers/json`)).status, 200, version);
    }
  });

  test("one kept connection serves request after request", async () => {
    const socket = await engine.connection();
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
    });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const ask = "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n";
    socket.end(`${ask}${ask}GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    await closed;
    assert.equal(text.match(/HTTP\/1\.1 200 OK/g)?.length, 3);
  });

  test("dockerode creates, attaches, starts, waits, execs and removes", async () => {
    const Docker = createRequire(import.meta.url)("dockerode");
    const docker = new Docker({ socketPath: engine.socket });
    const container = await docker.createContainer({
      Image: "busybox",
      name: "ode",
      Cmd: ["sh", "-c", "read x; echo got $x; sleep 600"],
      OpenStdin: true,
      AttachStdin: true,
      AttachStdout: true,
    });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
    const { promise: heard, resolve } = Promise.withResolvers<string>();
    let text = "";
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes("got hello")) resolve(text);
    });
    await container.start();
    stream.write("hello\n");
    // One frame on standard output: kind, three zeros, the length, then the line.
    assert.ok((await heard).startsWith("\x01\0\0\0\0\0\0\x0agot hello\n"), JSON.stringify(text));
    const exec = await container.exec({ Cmd: ["sh", "-c", "exit 12"], AttachStdout: true });
    const output = await exec.start({ hijack: true, stdin: false });
    await new Promise((done) => output.on("end", done).resume());
    assert.equal((await exec.inspect()).ExitCode, 12);
    const waiting = container.wait();
    await container.kill();
    assert.equal((await waiting).StatusCode, 137);
    await container.remove();
    stream.destroy();
    assert.equal((await docker.listContainers({ all: true })).length, 0);
  });
});
