import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { get, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { GenericContainer, Network, type StartedTestContainer, Wait } from "testcontainers";
import { finish } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";

const FOREVER = ["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 600 & wait; done"];
const HTTPD = "mkdir -p /www && echo hello > /www/index.html && exec httpd -f -v -p 8080 -h /www";
const START_MS = 30_000;

/** Only what a container needs: images are never asked of a registry, as busybox is there. */
function busybox(): GenericContainer {
  return new GenericContainer("busybox:latest").withStartupTimeout(START_MS);
}

async function page(container: StartedTestContainer, port: number): Promise<string> {
  const call = get({ host: container.getHost(), port: container.getMappedPort(port), path: "/", agent: false });
  const [answer] = (await once(call, "response")) as [IncomingMessage];
  return text(answer);
}

describe("testcontainers for Node against the engine", () => {
  let engine: TestEngine;
  const own = process.env;
  before(async () => {
    engine = await startEngine();
    process.env = {
      ...own,
      DOCKER_HOST: `unix://${engine.socket}`,
      DOCKER_CONFIG: join(engine.root, "config"),
      HOME: engine.root,
      TESTCONTAINERS_HOST_OVERRIDE: "127.0.0.1",
      // Its cleaner comes from a registry; there is none here, and the engine's end cleans up.
      TESTCONTAINERS_RYUK_DISABLED: "true",
    };
  });
  after(async () => {
    process.env = own;
    await engine?.[Symbol.asyncDispose]();
  });

  test("waits for ports, seen from outside and by commands inside, and for an answer over HTTP", async () => {
    await using listening = await busybox()
      .withCommand(["sh", "-c", HTTPD])
      .withExposedPorts(8080)
      .withWaitStrategy(Wait.forListeningPorts())
      .start();
    assert.equal(await page(listening, 8080), "hello\n");
    await using answering = await busybox()
      .withCommand(["sh", "-c", HTTPD])
      .withExposedPorts(8080)
      .withWaitStrategy(
        Wait.forHttp("/index.html", 8080)
          .forStatusCode(200)
          .forResponsePredicate((body) => body === "hello\n"),
      )
      .start();
    assert.notEqual(answering.getMappedPort(8080), listening.getMappedPort(8080));
  });

  test("waits for lines of the log, a command's success, health and the end of a one-shot", async () => {
    const script = "echo one; sleep 0.1; echo two >&2; touch /made; trap 'exit 0' TERM; sleep 600 & wait";
    await using logged = await busybox()
      .withCommand(["sh", "-c", script])
      .withWaitStrategy(Wait.forAll([Wait.forLogMessage(/^two$/m), Wait.forSuccessfulCommand("test -e /made")]))
      .start();
    assert.equal((await logged.exec("ls /made")).output, "/made\n");
    await using healthy = await busybox()
      .withCommand(["sh", "-c", script])
      .withHealthCheck({ test: ["CMD-SHELL", "test -e /made"], interval: 100, retries: 100, timeout: 5000 })
      .withWaitStrategy(Wait.forHealthCheck())
      .start();
    const state = JSON.parse(await engine.ok("inspect", "-f", "{{json .State.Health}}", healthy.getId()));
    assert.equal(state.Status, "healthy");
    await using ended = await busybox().withCommand(["true"]).withWaitStrategy(Wait.forOneShotStartup()).start();
    assert.equal(await engine.ok("inspect", "-f", "{{.State.ExitCode}}", ended.getId()), "0");
  });

  test("a wait that comes to nothing fails, and takes its container with it", async () => {
    const never = busybox().withCommand(FOREVER).withName("tc-never").withStartupTimeout(500);
    await assert.rejects(never.withWaitStrategy(Wait.forLogMessage("never said")).start(), /not received after 500ms/);
    await assert.rejects(
      busybox().withCommand(["false"]).withWaitStrategy(Wait.forOneShotStartup()).start(),
      /failed to start|exit code|Container/i,
    );
    assert.equal(await engine.ok("ps", "-aq", "--filter", "name=tc-never"), "");
  });

  test("copies files, folders, content and archives in, and an archive out", async () => {
    const folder = join(engine.root, "tc-files");
    mkdirSync(join(folder, "deep"), { recursive: true });
    writeFileSync(join(folder, "deep/file"), "from a folder\n");
    writeFileSync(join(folder, "single"), "single\n");
    const { bytes: tar } = await finish("tar", ["-cC", folder, "single"]);
    await using container = await busybox()
      .withCommand(FOREVER)
      .withCopyFilesToContainer([{ source: join(folder, "single"), target: "/in/single", mode: 0o600 }])
      .withCopyDirectoriesToContainer([{ source: folder, target: "/tree" }])
      .withCopyContentToContainer([{ content: "typed\n", target: "/in/typed", mode: 0o644 }])
      .withCopyArchivesToContainer([{ tar: Readable.from([tar]), target: "/tmp" }])
      .start();
    const { output } = await container.exec(["cat", "/in/single", "/tree/deep/file", "/in/typed", "/tmp/single"]);
    assert.equal(output, "single\nfrom a folder\ntyped\nsingle\n");
    assert.equal((await container.exec(["stat", "-c", "%a", "/in/single"])).output, "600\n");
    await container.copyContentToContainer([{ content: Buffer.alloc(3 << 20, "x"), target: "/big" }]);
    await container.copyFilesToContainer([{ source: join(folder, "single"), target: "/later" }]);
    assert.equal((await container.exec("wc -c /big /later")).output.split("\n")[0]?.trim(), `${3 << 20} /big`);
    const archive = await buffer(await container.copyArchiveFromContainer("/big"));
    const { bytes } = await finish("tar", ["-xO"], { input: archive });
    assert.ok(bytes.equals(Buffer.alloc(3 << 20, "x")));
  });

  test("exec tells the exit code and the outputs apart, with user, folder and environment", async () => {
    await using container = await busybox().withCommand(FOREVER).withEnvironment({ A: "outer" }).start();
    const said = await container.exec(["sh", "-c", "echo $A $B; pwd; id -u; echo wrong >&2; exit 7"], {
      workingDir: "/tmp",
      user: "12",
      env: { B: "inner" },
    });
    assert.deepEqual([said.exitCode, said.stdout, said.stderr], [7, "outer inner\n/tmp\n12\n", "wrong\n"]);
    const many = await Promise.all(Array.from({ length: 8 }, (_, n) => container.exec(["echo", String(n)])));
    assert.deepEqual(
      many.map(({ output }) => output),
      Array.from({ length: 8 }, (_, n) => `${n}\n`),
    );
  });

  test("a network of its own finds containers by their aliases", async () => {
    const network = await new Network().start();
    try {
      await using server = await busybox()
        .withCommand(["sh", "-c", HTTPD])
        .withNetwork(network)
        .withNetworkAliases("web", "www")
        .withExposedPorts(8080)
        .start();
      await using client = await busybox().withCommand(FOREVER).withNetwork(network).start();
      for (const name of ["web", "www"]) {
        const { output, exitCode } = await client.exec(["wget", "-qO-", `http://${name}:8080/`]);
        assert.deepEqual([exitCode, output], [0, "hello\n"], output);
      }
      assert.deepEqual(client.getNetworkNames(), [network.getName()]);
      assert.equal(client.getNetworkId(network.getName()), network.getId());
      assert.match(server.getIpAddress(network.getName()), /^\d+\.\d+\.\d+\.\d+$/);
      assert.equal(await page(server, 8080), "hello\n");
    } finally {
      await network.stop();
    }
  });

  test("a log consumer hears each line, and logs can be asked for", async () => {
    const lines: string[] = [];
    const { promise: heard, resolve } = Promise.withResolvers<void>();
    await using container = await busybox()
      .withCommand(["sh", "-c", "for n in 1 2 3; do echo line $n; done; trap 'exit 0' TERM; sleep 600 & wait"])
      .withLogConsumer((stream) => {
        stream.on("data", (line: string) => {
          if (lines.push(line.toString().trim()) === 3) resolve();
        });
      })
      .withWaitStrategy(Wait.forLogMessage("line 3"))
      .start();
    await heard;
    assert.deepEqual(lines, ["line 1", "line 2", "line 3"]);
    const logs: Readable = await container.logs({ tail: 1 });
    const [last] = await once(logs, "data");
    assert.equal(String(last).trim(), "line 3");
    logs.destroy();
  });

  test("a restart waits again, and ports are found anew", async () => {
    await using container = await busybox()
      .withCommand(["sh", "-c", HTTPD])
      .withExposedPorts(8080)
      .withWaitStrategy(Wait.forListeningPorts())
      .start();
    const pid = await engine.ok("inspect", "-f", "{{.State.Pid}}", container.getId());
    await container.restart({ timeout: 1 });
    assert.notEqual(await engine.ok("inspect", "-f", "{{.State.Pid}}", container.getId()), pid);
    assert.equal(await page(container, 8080), "hello\n");
  });

  test("a commit is an image that the next container starts from", async () => {
    await using container = await busybox().withCommand(FOREVER).start();
    await container.exec("touch /kept");
    const id = await container.commit({ repo: "tc/committed", tag: "1", changes: ['LABEL made="by test"'] });
    assert.match(id, /^sha256:[0-9a-f]{64}$/);
    await using next = await new GenericContainer("tc/committed:1").withCommand(FOREVER).start();
    assert.equal((await next.exec("ls /kept")).exitCode, 0);
    assert.equal(next.getLabels().made, "by test");
  });

  test("with reuse the same container comes back, running or stopped", async () => {
    const wanted = () => busybox().withCommand(FOREVER).withReuse().withName("tc-reused").start();
    const first = await wanted();
    assert.equal((await wanted()).getId(), first.getId());
    await first.stop({ remove: false });
    const again = await wanted();
    assert.equal(again.getId(), first.getId());
    assert.equal((await again.exec("true")).exitCode, 0);
    await again.stop();
  });

  test("stop waits as long as it is told before it kills, and removes", async () => {
    const polite = await busybox().withCommand(FOREVER).withWaitStrategy(Wait.forLogMessage("ready")).start();
    const stopped = await polite.stop({ timeout: 20_000, remove: false });
    assert.equal(await engine.ok("inspect", "-f", "{{.State.ExitCode}}", stopped.getId()), "0");
    await engine.ok("rm", stopped.getId());
    const stubborn = await busybox()
      .withCommand(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done"])
      .withWaitStrategy(Wait.forLogMessage("ready"))
      .start();
    await stubborn.stop({ timeout: 1000 });
    assert.equal((await engine.docker("inspect", stubborn.getId())).code, 1);
  });

  test("options of a container arrive", async () => {
    await using container = await busybox()
      .withCommand(FOREVER)
      .withHostname("tc-host")
      .withUser("7")
      .withWorkingDir("/tmp")
      .withTmpFs({ "/scratch": "size=1m,mode=1777" })
      .withUlimits({ nofile: { soft: 100, hard: 200 } })
      .withExtraHosts([{ host: "db.test", ipAddress: "10.1.2.3" }])
      .withResourcesQuota({ memory: 0.1, cpu: 0.5 })
      .withSharedMemorySize(2 << 20)
      .withLabels({ l: "v" })
      .withBindMounts([{ source: engine.root, target: "/bound", mode: "ro" }])
      .withDroppedCapabilities("ALL")
      .start();
    const script =
      "hostname; id -u; pwd; ulimit -n; grep -c db.test /etc/hosts; df -k /scratch | tail -1; grep ' /bound ' /proc/mounts";
    const { output } = await container.exec(["sh", "-c", script]);
    const lines = output.split("\n");
    assert.deepEqual(lines.slice(0, 5), ["tc-host", "7", "/tmp", "100", "1"]);
    assert.match(lines[5] ?? "", /^tmpfs +1024 /);
    assert.match(lines[6] ?? "", / \/bound \S+ ro[, ]/);
    assert.equal(container.getLabels().l, "v");
  });
});
