import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { spawn as spawnTerminal } from "@lydell/node-pty";
import { FakeEngine, frame } from "./engine.fixture.ts";

/** The source by this runtime, or the compiled tool that the environment names. */
const TOOL = process.env.GANTRY_TOOL ?? process.execPath;
const HEAD = process.env.GANTRY_TOOL === undefined ? [new URL("./main.ts", import.meta.url).pathname] : [];

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function gantry(url: string, args: readonly string[], input?: string): Promise<Outcome> {
  const environment = { ...process.env, GANTRY_HOST: url, DOCKER_CONFIG: "/does/not/exist", TZ: "UTC" };
  const child = spawn(TOOL, [...HEAD, ...args], { env: environment, timeout: 20_000 });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdin.end(input ?? "");
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
}

test("run prints both streams apart and ends with the container's code", async () => {
  await using engine = await new FakeEngine({
    onAttach(socket, ended) {
      socket.write(frame(1, "out"));
      socket.write(frame(2, "err"));
      ended(42);
    },
  }).listen();
  const outcome = await gantry(engine.url, ["run", "--rm", "img"]);
  assert.deepEqual(outcome, { code: 42, stdout: "out", stderr: "err" });
  const order = engine.requests.map((request) => /create|attach|wait|start/.exec(request)?.[0]);
  assert.equal(order[0], "create");
  assert.equal(order.at(-1), "start");
  assert.ok(engine.requests.some((request) => request.includes("wait?condition=removed")));
});

test("the end of standard input reaches the container while its output goes on", async () => {
  await using engine = await new FakeEngine({
    onAttach(socket, ended) {
      let got = "";
      socket.on("data", (chunk: Buffer) => {
        got += chunk.toString();
      });
      socket.on("end", () => {
        socket.write(frame(1, got.toUpperCase()));
        ended(0);
      });
      socket.resume();
    },
  }).listen();
  assert.deepEqual(await gantry(engine.url, ["run", "-i", "img", "cat"], "hello"), {
    code: 0,
    stdout: "HELLO",
    stderr: "",
  });
});

for (const [message, code] of [
  ['exec: "x": executable file not found in $PATH', 127],
  ["exec: permission denied", 126],
  ["something else", 125],
] as const) {
  test(`a start that fails with "${message}" ends with ${code}`, async () => {
    await using engine = await new FakeEngine({ onAttach: () => {}, startError: message }).listen();
    const outcome = await gantry(engine.url, ["run", "img"]);
    assert.equal(outcome.code, code);
    assert.equal(
      outcome.stderr,
      `gantry: Error response from daemon: ${message}\n\nRun 'gantry run --help' for more information\n`,
    );
  });
}

test("run -d prints the id", async () => {
  await using engine = await new FakeEngine({ onAttach: () => {} }).listen();
  assert.deepEqual(await gantry(engine.url, ["run", "-d", "img"]), {
    code: 0,
    stdout: `${"f".repeat(64)}\n`,
    stderr: "",
  });
});

test("exec ends with the command's code", async () => {
  await using engine = await new FakeEngine({
    onAttach(socket, ended) {
      socket.write(frame(1, "x\n"));
      ended(0);
    },
  }).listen();
  assert.deepEqual(await gantry(engine.url, ["exec", "c", "ls"]), { code: 7, stdout: "x\n", stderr: "" });
});

test("what a command needs of the engine may hang on its flags", async () => {
  await using engine = await new FakeEngine().listen();
  engine.answers.set("/_ping", (_, response) => response.setHeader("Api-Version", "1.41").end("OK"));
  engine.answers.set("/gantry/volumes/x/resize", (_, response) => response.end("{}"));
  assert.deepEqual(await gantry(engine.url, ["volume", "update", "x"]), {
    code: 1,
    stdout: "",
    stderr: "gantry volume update requires API version 1.42, but the Gantry daemon API version is 1.41\n",
  });
  assert.equal((await gantry(engine.url, ["volume", "update", "--size", "2G", "x"])).code, 0);
  assert.match(engine.requests.at(-1) ?? "", /^POST .*\/gantry\/volumes\/x\/resize\?size=2G$/);
});

test("networks are removed one after another: one may stand in the next one's way", async () => {
  await using engine = await new FakeEngine().listen();
  let isMade = true;
  engine.answers.set("/networks/made", (_, response) => {
    setTimeout(() => {
      isMade = false;
      response.writeHead(204).end();
    }, 50);
  });
  engine.answers.set("/networks/configuration", (_, response) => {
    response.statusCode = isMade ? 403 : 204;
    response.end(isMade ? JSON.stringify({ message: 'configuration network "configuration" is in use' }) : undefined);
  });
  assert.deepEqual(await gantry(engine.url, ["network", "rm", "made", "configuration"]), {
    code: 0,
    stdout: "made\nconfiguration\n",
    stderr: "",
  });
});

test("an address of network create that can't be read is named", async () => {
  const rows = [
    [["--aux-address", "router"], "invalid aux-address 'router': it must be a key=value pair\n"],
    [["--gateway", "10.1.0.300"], "invalid address: 10.1.0.300\n"],
    [["--aux-address", "router=10.2.0.3"], "no matching subnet for aux-address 10.2.0.3\n"],
  ] as const;
  for (const [flags, stderr] of rows) {
    const args = ["network", "create", "--subnet", "10.1.0.0/24", ...flags, "net"];
    assert.deepEqual(await gantry("unix:///does/not/exist", args), { code: 1, stdout: "", stderr });
  }
});

test("ps prints docker's table", async () => {
  await using engine = await new FakeEngine().listen();
  const created = Math.floor(Date.now() / 1000) - 7200;
  engine.answers.set("/containers/json", (_, response) => {
    const row = {
      Id: "0123456789abcdef".repeat(4),
      Names: ["/web"],
      Image: "nginx",
      ImageID: "sha256:1",
      Command: "nginx -g 'daemon off;' and more",
      Created: created,
      State: "running",
      Status: "Up 2 hours",
      Labels: { a: "b" },
      Mounts: [],
      NetworkSettings: { Networks: { bridge: {} } },
      Ports: [
        { PrivatePort: 80, PublicPort: 8080, Type: "tcp", IP: "0.0.0.0" },
        { PrivatePort: 443, Type: "tcp" },
      ],
    };
    response.end(JSON.stringify([row]));
  });
  const { stdout } = await gantry(engine.url, ["ps"]);
  assert.equal(
    stdout,
    "CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS       PORTS                           NAMES\n" +
      '0123456789ab   nginx     "nginx -g \'daemon of…"   2 hours ago   Up 2 hours   443/tcp, 0.0.0.0:8080->80/tcp   web\n',
  );
  const formatted = await gantry(engine.url, ["ps", "--format", 'table {{.ID}}\\t{{upper .Names}}\\t{{.Label "a"}}']);
  assert.equal(formatted.stdout, "CONTAINER ID   NAMES     a\n0123456789ab   WEB       b\n");
});

test("an older engine is spoken to in its own version", async () => {
  await using engine = await new FakeEngine().listen();
  engine.answers.set("/containers/json", (request, response) => {
    const old = request.url?.startsWith("/v1.41/") === true;
    response.statusCode = old ? 200 : 400;
    response.end(
      old ? "[]" : JSON.stringify({ message: "client version 1.51 is too new. Maximum supported API version is 1.41" }),
    );
  });
  assert.equal((await gantry(engine.url, ["ps", "-q"])).code, 0);
  assert.deepEqual(engine.requests, ["GET /v1.51/containers/json", "GET /v1.41/containers/json"]);
});

test("signals go to the container", async () => {
  let finish: (code: number) => void = () => {};
  await using engine = await new FakeEngine({
    onAttach(socket, ended) {
      finish = ended;
      socket.write(frame(1, "up"));
    },
  }).listen();
  engine.answers.set(`/containers/${"f".repeat(64)}/kill`, (_, response) => {
    response.statusCode = 204;
    response.end();
    finish(143);
  });
  const child = spawn(TOOL, [...HEAD, "run", "img"], {
    env: { ...process.env, GANTRY_HOST: engine.url },
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout.once("data", () => child.kill("SIGTERM"));
  const code = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(code, 143);
  assert.ok(engine.requests.some((request) => request.endsWith("/kill?signal=TERM")));
});

test("on a terminal the bytes pass raw, the size is told, and the keys detach", async () => {
  await using engine = await new FakeEngine({
    onAttach(socket) {
      socket.write("ready");
      socket.on("data", (chunk: Buffer) => socket.write(`<${chunk.toString("hex")}>`));
      socket.resume();
    },
  }).listen();
  const terminal = spawnTerminal(TOOL, [...HEAD, "run", "-it", "img"], {
    cols: 91,
    rows: 31,
    env: { ...process.env, GANTRY_HOST: engine.url },
  });
  let output = "";
  let typed = false;
  terminal.onData((data) => {
    output += data;
    if (!typed && output.includes("ready")) {
      typed = true;
      terminal.write("\x03");
    }
    if (output.includes("<03>")) {
      terminal.write("\x10\x11");
    }
  });
  const exit = await new Promise<{ exitCode: number }>((resolve) => terminal.onExit(resolve));
  assert.equal(exit.exitCode, 0, output);
  assert.match(output, /<03>/);
  assert.ok(engine.requests.some((request) => request.endsWith("/resize?h=31&w=91")));
});

test("a person at a terminal is asked once who they are where the engine answers 401, and only for that registry", async () => {
  await using engine = await new FakeEngine().listen();
  const shown: string[] = [];
  engine.answers.set("/images/create", (request, response) => {
    const header = String(request.headers["x-registry-auth"] ?? "");
    shown.push(Buffer.from(header, "base64").toString());
    response.statusCode = header === "" ? 401 : 200;
    response.end(header === "" ? '{"message":"unauthorized: who are you?"}' : '{"status":"Status: done"}\n');
  });
  const env = { ...process.env, GANTRY_HOST: engine.url, DOCKER_CONFIG: engine.folder };
  const terminal = spawnTerminal(TOOL, [...HEAD, "pull", "registry.example:5000/a:1"], { env });
  let text = "";
  terminal.onData((data) => {
    text += data;
    if (/Username: $/.test(text)) terminal.write("joe\r");
    if (/Password: $/.test(text)) terminal.write("se:cret\r");
  });
  const code = await new Promise<number>((resolve) => terminal.onExit(({ exitCode }) => resolve(exitCode)));
  assert.equal(code, 0, text);
  assert.match(text, /Login to registry\.example:5000 prior to pull:\r\nUsername: joe\r\nPassword: \r\nStatus: done/);
  assert.deepEqual(
    shown.map((header) => (header === "" ? "" : JSON.parse(header))),
    ["", { username: "joe", password: "se:cret", serveraddress: "registry.example:5000" }],
  );
  const piped = await gantry(engine.url, ["pull", "registry.example:5000/a:1"]);
  assert.deepEqual(piped, { code: 1, stdout: "", stderr: "Error response from daemon: unauthorized: who are you?\n" });
});
