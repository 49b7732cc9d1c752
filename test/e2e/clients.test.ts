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

  test("a docker context is all it takes to move over", { skip: NO_DOCKER }, async () => {
    // Nothing in the environment says where the engine is.
    const docker = (...args: readonly string[]) => engine.tool("docker", args, { env: { DOCKER_HOST: "" } });
    const ok = async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await docker(...args);
      assert.equal(code, 0, `docker ${args.join(" ")}: ${stderr}${stdout}`);
      return stdout.trim();
    };
    await ok("context", "create", "moved", "--docker", `host=unix://${engine.socket}`);
    await ok("context", "use", "moved");
    try {
      await ok("network", "create", "--label", "move=1", "mv-net");
      await ok("volume", "create", "--label", "move=1", "mv-vol");
      const server = "echo served > /srv/index.html; exec httpd -f -p 80 -h /srv";
      const made = ["-d", "--init", "--name", "mv", "--network", "mv-net", "--network-alias", "www"];
      await ok("run", ...made, "-v", "mv-vol:/srv", "-m", "64m", "busybox", "sh", "-c", server);
      const retry = "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://www/ && exit; sleep 0.2; done; exit 1";
      assert.equal(await ok("run", "--rm", "--network", "mv-net", "busybox", "sh", "-c", retry), "served");
      await ok("exec", "mv", "sh", "-c", "echo new > /tmp/file; rm /bin/ls");
      const changes = await ok("diff", "mv");
      assert.match(changes, /^A \/tmp\/file$/m);
      assert.match(changes, /^D \/bin\/ls$/m);
      await ok("cp", "mv:/tmp/file", `${engine.root}/copied`);
      await ok("cp", `${engine.root}/copied`, "mv:/tmp/back");
      assert.equal(await ok("exec", "mv", "cat", "/tmp/back"), "new");
      const stats = await ok("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", "mv");
      assert.match(stats, /^mv [\d.]+\wiB \/ 64MiB [1-9]/);
      await ok("update", "-m", "80m", "--memory-swap", "80m", "--restart", "always", "mv");
      const limits = "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}";
      assert.equal(await ok("inspect", "-f", limits, "mv"), `${80 << 20} always`);
      await ok("commit", "-m", "why", "-c", 'CMD ["cat", "/tmp/back"]', "mv", "moved/image:1");
      assert.equal(await ok("run", "--rm", "moved/image:1"), "new");
      await ok("export", "-o", `${engine.root}/root.tar`, "mv");
      const df = await ok("system", "df", "-v");
      for (const words of ["moved/image", "mv-vol", "Images space usage:"]) assert.ok(df.includes(words), df);
      await ok("network", "disconnect", "mv-net", "mv");
      await ok("network", "connect", "--alias", "again", "mv-net", "mv");
      assert.match(await ok("network", "inspect", "-f", "{{range .Containers}}{{.Name}}{{end}}", "mv-net"), /^mv$/);
      const refused = await docker("network", "rm", "mv-net");
      assert.match(refused.stderr, /has active endpoints/);
      await ok("rm", "-f", "mv");
      assert.match(await ok("network", "prune", "-f"), /mv-net/);
      assert.match(await ok("volume", "prune", "-af", "--filter", "label=move=1"), /mv-vol/);
      await ok("rmi", "moved/image:1");
    } finally {
      await docker("rm", "-f", "mv");
      await docker("context", "use", "default");
      await docker("context", "rm", "moved");
    }
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
