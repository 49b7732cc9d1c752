import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { tarOf } from "../archive.ts";
import { build, built, processesWith } from "../builds.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

const options = { skip: NO_DOCKER, timeout: 40_000 };
let engine: TestEngine;
before(async () => {
  if (NO_DOCKER === false) engine = await startEngine();
});
after(() => engine?.[Symbol.asyncDispose]());

/** What is there of steps beside the roots that the engine always has. */
function leftovers(): string[] {
  const { execRoot, dataRoot } = engine;
  const folders = ["bundles", "sources", "netns", "containers", "build/roots", "build/writable"];
  const named = folders.flatMap((name) => {
    const path = join(execRoot, name);
    return existsSync(path) ? readdirSync(path).map((entry) => `${name}/${entry}`) : [];
  });
  const roots = new Set([execRoot, dataRoot]);
  return [...named, ...mountsBelow(engine.root).filter((path) => !roots.has(path))];
}

/** What went well is cleaned up while nobody waits. */
async function nothingStays(): Promise<void> {
  while (leftovers().length > 0) await setTimeout(20);
}

async function layersOf(image: string): Promise<string[]> {
  return JSON.parse(await engine.ok("inspect", "--format", "{{json .RootFS.Layers}}", image));
}

test("a step has the image's user, environment and folder, and a container's limits", options, async () => {
  const output = await built(
    engine,
    `FROM busybox
ARG HELLO=arg
ENV MORE="a b"
WORKDIR /not/there/yet
USER 1000:1001
RUN echo "$HELLO/$MORE/$PWD/$(id -u):$(id -g)/$HTTP_PROXY"; ulimit -n; df -k /dev/shm | tail -1 | cut -c1-40; grep -c . /proc/self/status; cat /etc/hosts
RUN ["/bin/sh", "-c", "echo exec $0 form"]
RUN <<EOF
echo here
grep CapEff /proc/self/status
EOF
`,
    {
      args: ["--build-arg", "HELLO=given", "--build-arg", "HTTP_PROXY=http://192.0.2.1:3128", "--no-cache"].concat([
        "--ulimit",
        "nofile=77:88",
        "--shm-size",
        "8m",
        "--add-host",
        "far.example:192.0.2.7",
      ]),
    },
  );
  assert.match(output, /^given\/a b\/\/not\/there\/yet\/1000:1001\/http:\/\/192\.0\.2\.1:3128$/m);
  assert.match(output, /^77$/m);
  assert.match(output, /8192 /);
  assert.match(output, /^192\.0\.2\.7\tfar\.example$/m);
  assert.match(output, /^exec \/bin\/sh form$/m);
  assert.match(output, /^here\nCapEff:\t0000000000000000$/m);
  await nothingStays();
});

test("a step that fails ends the build with its exit code", options, async () => {
  const { code, stderr, stdout } = await build(engine, "FROM busybox\nRUN echo why >&2; exit 7\n");
  assert.equal(code, 7, stderr);
  assert.match(stderr, /The command '\/bin\/sh -c echo why >&2; exit 7' returned a non-zero code: 7/);
  assert.match(stdout + stderr, /\u001b\[91mwhy$/m);
  assert.match((await build(engine, 'FROM busybox\nRUN ["/none"]\n')).stderr, /\/none.*no such file or directory/);
  assert.match(
    (await build(engine, "FROM busybox\nUSER nobody-here\nRUN id\n")).stderr,
    /unable to find user nobody-here/,
  );
});

test("a step is on the network that the build asks for", options, async () => {
  const text = (how: string) => `FROM busybox\nRUN ${how} ls /sys/class/net; cat /etc/resolv.conf\n`;
  const own = (output: string) => [/^eth0$/m, /^lo$/m, /^gt-/m].map((name) => name.test(output));
  assert.deepEqual(own(await built(engine, text(""), { args: ["--no-cache"] })), [true, true, false]);
  assert.deepEqual(own(await built(engine, text("--network=none"))), [false, true, false]);
  assert.deepEqual(own(await built(engine, text(""), { args: ["--no-cache", "--network=none"] })), [
    false,
    true,
    false,
  ]);
  assert.deepEqual(own(await built(engine, text(""), { args: ["--no-cache", "--network=host"] })).slice(1), [
    true,
    true,
  ]);
  await engine.ok("network", "create", "inside");
  await engine.ok("run", "-d", "--name", "peer", "--network", "inside", "busybox", "sleep", "1000");
  const output = await built(engine, "FROM busybox\nRUN nslookup peer 127.0.0.11\n", { args: ["--network=inside"] });
  assert.match(output, /Name:\s+peer/);
  await engine.ok("rm", "-f", "peer");
  await engine.ok("network", "rm", "inside");
  assert.match(
    (await build(engine, "FROM busybox\nRUN id\n", { args: ["--network=absent"] })).stderr,
    /network absent not found/,
  );
});

test("mounts show what they are told to and leave nothing in the image", options, async () => {
  const output = await built(
    engine,
    `FROM busybox AS other
RUN mkdir /made && echo stage > /made/file
FROM busybox
RUN --mount=type=bind,from=other,source=/made,target=/deep/down cat /deep/down/file; touch /deep/down/x 2>&1 || true
RUN --mount=type=bind,from=other,source=/made,target=/deep/down,rw echo over > /deep/down/file; cat /deep/down/file
RUN --mount=type=bind,source=src,target=/ctx cat /ctx/file
RUN --mount=type=tmpfs,target=/scratch,size=1048576 dd if=/dev/zero of=/scratch/x bs=64k 2>&1 | grep -c 'No space'
RUN --mount=type=bind,from=other,source=/made/file,target=/one/file cat /one/file
`,
    { files: { "src/file": "context\n" }, args: ["-t", "mounted"] },
  );
  assert.match(output, /^stage\ntouch: \/deep\/down\/x: Read-only file system$/m);
  assert.match(output, /^over$/m);
  assert.match(output, /^context$/m);
  assert.match(output, /^1$/m);
  assert.deepEqual(await layersOf("mounted"), await layersOf("busybox"));
  await nothingStays();
});

test("what a step mounts counts by what it reads of it", options, async () => {
  const text = `FROM busybox\nRUN --mount=type=bind,source=src,target=/m cat /m/file\n`;
  const cached = async (files: Readonly<Record<string, string>>) =>
    / ---> Using cache/.test(await built(engine, text, { files }));
  assert.equal(await cached({ "src/file": "one", other: "1" }), false);
  assert.equal(await cached({ "src/file": "one", other: "2" }), true);
  assert.equal(await cached({ "src/file": "two", other: "2" }), false);
});

test("a cache mount lasts over builds, goes out and comes back in", options, async () => {
  const text = (command: string) => `FROM busybox\nRUN --mount=type=cache,id=mine,target=/cache ${command}\n`;
  await built(engine, text("echo kept > /cache/file"));
  assert.match(await built(engine, text("cat /cache/file; rm /cache/file; echo other > /cache/more")), /^kept$/m);
  const out = join(engine.root, "cache.tar");
  const curl = (...args: string[]) =>
    engine.run("curl", ["-sS", "--fail-with-body", "--unix-socket", engine.socket, ...args]);
  const url = "http://engine/gantry/build/cache-mounts";
  assert.equal((await curl("-o", out, `${url}/mine`)).code, 0);
  assert.match((await engine.run("tar", ["tf", out])).stdout, /^\.\/\n\.\/more\n$/);
  await built(engine, text("rm /cache/more; touch /cache/newer"));
  assert.equal((await curl("-T", out, `${url}/mine`)).stderr, "");
  assert.match(await built(engine, text("ls /cache && true")), /^more$/m);
  assert.equal((await curl("-T", out, `${url}/%2Fby%2Ftarget`)).stderr, "");
  assert.match(
    await built(engine, "FROM busybox\nRUN --mount=type=cache,target=/by/target ls /by/target\n"),
    /^more$/m,
  );
  assert.match((await curl(`${url}/absent`)).stdout, /no such cache mount: absent/);
});

test("steps that lock a cache take turns", options, async () => {
  const step =
    "RUN --mount=type=cache,id=turns,sharing=locked,target=/cache mkdir /cache/in && sleep 0.2 && rmdir /cache/in";
  const stages = ["a", "b", "c"];
  const text = stages.map((name) => `FROM busybox AS ${name}\nRUN --network=none touch /${name}\n${step}\n`).join("");
  await built(engine, `${text}FROM scratch\n${stages.map((name) => `COPY --from=${name} /${name} /\n`).join("")}`);
});

test("a build whose client leaves ends its step and all that it started", options, async () => {
  const context = "FROM busybox\nRUN (setsid sleep 4711 &) ; sleep 4712\n";
  const client = spawn("docker", ["build", "-"], {
    env: { ...process.env, DOCKER_HOST: `unix://${engine.socket}`, DOCKER_BUILDKIT: "0" },
    stdio: ["pipe", "ignore", "ignore"],
  });
  client.stdin.end(context);
  while (processesWith("sleep", "4711").length + processesWith("sleep", "4712").length < 2) await setTimeout(20);
  client.kill("SIGKILL");
  while (processesWith("sleep", "4711").length + processesWith("sleep", "4712").length > 0) await setTimeout(20);
  await nothingStays();
});

test("an engine that ends ends its builds' steps first", options, async () => {
  const building = build(engine, "FROM busybox\nRUN (setsid sleep 4716 &) ; sleep 4716\n");
  while (processesWith("sleep", "4716").length < 2) await setTimeout(20);
  await engine.stop();
  assert.notEqual((await building).code, 0);
  assert.deepEqual(processesWith("sleep", "4716"), []);
  assert.deepEqual(leftovers(), []);
  assert.deepEqual(mountsBelow(engine.root), []);
  await engine.start();
});

test("what prints without end waits for a client that doesn't read, and takes no memory", options, async () => {
  const memory = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${engine.pid}/status`, "utf8"))?.[1]) / 1024;
  const before = memory();
  const context = tarOf([
    { name: "Dockerfile", body: "FROM busybox\nRUN --network=none exec yes with a line of some length\n" },
  ]);
  const socket = await engine.connection();
  socket.write(`POST /build HTTP/1.1\r\nHost: engine\r\nContent-Length: ${context.length}\r\n\r\n`);
  socket.write(context);
  for (let times = 0; times < 50; await setTimeout(10)) {
    const [pid] = processesWith("/bin/sh", "-c", "exec yes with a line of some length");
    const waits = pid !== undefined && readFileSync(`/proc/${pid}/wchan`, "utf8").includes("pipe_write");
    times = waits ? times + 1 : 0;
  }
  const more = memory() - before;
  socket.destroy();
  await nothingStays();
  assert.ok(more < 100, `${more} MB more`);
});

test("who builds gets a shell in the step that failed, and nothing of it stays", options, async () => {
  const context = join(engine.root, "failing");
  mkdirSync(context);
  writeFileSync(join(engine.root, "secret"), "hush");
  const step = "RUN --mount=type=secret,id=s --mount=type=cache,target=/c echo begun > state; exit 3";
  writeFileSync(join(context, "Dockerfile"), `FROM busybox\nENV A=mine\nWORKDIR /w\n${step}\n`);
  const secret = `id=s,src=${join(engine.root, "secret")}`;
  await using terminal = engine.terminal("gantry", "build", "--on-failure", "shell", "--secret", secret, context);
  await terminal.shows(/# /);
  terminal.type("cat state /run/secrets/s; echo; echo $A; ls -d /c; exit 5\r");
  await terminal.shows(/begun\r\nhush\r\nmine\r\n\/c\r\n/);
  assert.notEqual(await terminal.exit, 0);
  await nothingStays();
});

for (const point of ["networked", "created", "started"]) {
  test(
    `a crash of the engine at a step that is ${point} leaves nothing of it after the next start`,
    options,
    async () => {
      await engine.restart({ GANTRY_FAILPOINTS: `containers.step.${point}=kill` });
      const text =
        "FROM busybox\nRUN --mount=type=tmpfs,target=/t --mount=type=cache,target=/c touch /c/x; sleep 4713\n";
      const { code } = await build(engine, text);
      assert.notEqual(code, 0);
      await engine.kill();
      await engine.start();
      assert.deepEqual(leftovers(), []);
      assert.deepEqual(processesWith("sleep", "4713"), []);
      assert.deepEqual(JSON.parse(await engine.ok("network", "inspect", "-f", "{{json .Containers}}", "bridge")), {});
      const again = text.replace("sleep 4713", `echo up after ${point}`);
      assert.match(await built(engine, again), /^up after /m);
    },
  );
}
