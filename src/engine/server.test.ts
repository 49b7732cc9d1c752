import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { test } from "node:test";
import { promisify } from "node:util";
import { GantryError } from "../base/errors.ts";
import type { ImageRegistry } from "../images/image.ts";
import { RawClient, startTestServer } from "./server.fixture.ts";

const JSON_HEAD = "Host: x\r\nContent-Type: application/json\r\n";
const UPGRADE = "Host: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n";

test("a ping says what the engine speaks, with and without a version", async () => {
  await using server = await startTestServer();
  for (const path of ["/_ping", "/v1.24/_ping", "/v1.51/_ping"]) {
    const client = new RawClient(server.path);
    client.send(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    const answer = await client.all();
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(answer, /\r\nApi-Version: 1\.51\r\n/);
    assert.match(answer, /\r\nDocker-Experimental: false\r\n/);
    assert.match(answer, /\r\nOstype: linux\r\n/);
    assert.match(answer, /\r\nServer: Gantry\/0\.0\.0 \(linux\)\r\n/);
    assert.match(answer, /\r\nSwarm: inactive\r\n/);
    assert.match(answer, /\r\n\r\nOK$/);
  }
  const head = new RawClient(server.path);
  head.send("HEAD /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.match(await head.all(), /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 0\r\n[\s\S]*\r\n\r\n$/);
});

test("versions outside the range, unknown paths and unknown methods are refused in Docker's words", async () => {
  await using server = await startTestServer();
  const table = [
    ["GET", "/v1.99/version", 400, "client version 1.99 is too new. Maximum supported API version is 1.51"],
    [
      "GET",
      "/v1.10/version",
      400,
      "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
    ],
    ["GET", "/v1.51/nothing", 404, "page not found"],
    ["GET", "/vx/version", 404, "page not found"],
    ["PUT", "/version", 404, "page not found"],
    ["GET", "/containers/%zz/json", 404, "page not found"],
    ["GET", "/networks?filters=%7B", 400, "invalid filter"],
    ["GET", "/volumes/none", 404, "get none: no such volume"],
  ] as const;
  for (const [method, path, status, message] of table) {
    const client = new RawClient(server.path);
    client.send(`${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    const answer = await client.all();
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), path);
    assert.equal(answer.split("\r\n\r\n")[1], `${JSON.stringify({ message })}\n`);
  }
});

test("the versions just before the oldest are answered as that one, and those before are not", async () => {
  await using server = await startTestServer();
  const status = async (version: string): Promise<string | undefined> => {
    const client = new RawClient(server.path);
    client.send(`GET /v${version}/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    return (await client.all()).split(" ")[1];
  };
  assert.deepEqual(await Promise.all(["1.24", "1.23", "1.22", "1.21"].map(status)), ["200", "200", "200", "400"]);
});

test("what fails in the midst of its progress is told to the client and to the log, what a client did wrong only to it", async () => {
  const failures = [new GantryError("internal", "the registry has burnt"), new GantryError("forbidden", "not for you")];
  for (const failure of failures) {
    const pull: ImageRegistry["pull"] = async (_name, _options, { onProgress }) => {
      onProgress?.({ status: "Pulling from a" });
      throw failure;
    };
    await using server = await startTestServer({}, { images: { pull } });
    const client = new RawClient(server.path);
    client.send("POST /v1.51/images/create?fromImage=a&tag=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const { message } = failure;
    assert.ok((await client.all()).includes(JSON.stringify({ errorDetail: { message }, error: message })));
    const said = server.log.map((line) => JSON.parse(line) as Record<string, string>);
    assert.deepEqual(
      said.map(({ level, msg, error }) => ({ level, msg, error })),
      failure.kind === "internal" ? [{ level: "error", msg: "request failed", error: message }] : [],
    );
  }
});

test("OPTIONS is answered, and HTTP/1.0 clients are served and let go", async () => {
  await using server = await startTestServer();
  const options = new RawClient(server.path);
  options.send("OPTIONS /anything HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.match(await options.all(), /^HTTP\/1\.1 200 OK/);
  const old = new RawClient(server.path);
  old.send("GET /volumes HTTP/1.0\r\n\r\n");
  assert.match(await old.all(), /\r\n\r\n\{"Volumes":\[\],"Warnings":null\}\n$/);
});

test("an upgrade hands over the socket, with what came in the same packet", async () => {
  await using server = await startTestServer();
  for (const [id, version, type] of [
    ["plain", "v1.51", "multiplexed-stream"],
    ["plain", "v1.41", "raw-stream"],
    ["tty", "v1.51", "raw-stream"],
  ]) {
    const client = new RawClient(server.path);
    client.send(`POST /${version}/containers/${id}/attach?stream=1&stdin=1 HTTP/1.1\r\n${UPGRADE}\r\nhello`);
    const answer = await client.until("HELLO");
    assert.match(answer, /^HTTP\/1\.1 101 UPGRADED\r\n/);
    assert.ok(
      answer.includes(`Content-Type: application/vnd.docker.${type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n`),
    );
    client.send(" GET / HTTP/1.1\r\n\r\n");
    await client.until(" GET / HTTP/1.1".toUpperCase());
    client.socket.end();
    assert.match(await client.all(), /\nbye$/, "the server's half lives on after the client's end");
  }
});

test("a plain hijack is answered 200 and handed over the same way", async () => {
  await using server = await startTestServer();
  for (const early of ["", "x"]) {
    const client = new RawClient(server.path);
    client.send("GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.until("OK");
    client.send(`POST /containers/tty/attach?stream=1 HTTP/1.1\r\nHost: x\r\n\r\n${early}`);
    await client.until(/HTTP\/1\.1 200 OK\r\nContent-Type: application\/vnd\.docker\.raw-stream\r\n\r\n/);
    client.send("later input\r\n");
    assert.ok((await client.until("LATER INPUT")).endsWith(`\r\n\r\n${early.toUpperCase()}LATER INPUT\r\n`));
    client.socket.end();
    assert.match(await client.all(), /\nbye$/);
  }
});

test("input right behind a plain hijack's request is kept, whatever it looks like and however the body is sent", async () => {
  await using server = await startTestServer();
  const body = '{"Detach":false,"Tty":true}';
  const sized = `Content-Length: ${body.length}\r\n\r\n${body}`;
  const chunked = `Transfer-Encoding: chunked\r\n\r\n4\r\n${body.slice(0, 4)}\r\n${(body.length - 4).toString(16)}\r\n${body.slice(4)}\r\n0\r\n\r\n`;
  for (const framing of [sized, chunked]) {
    for (const input of ["x", "\r\n\r\nx", "GET /_ping HTTP/1.1\r\n\r\n", "PO", "\x00\x01"]) {
      const whole = `POST /exec/e/start HTTP/1.1\r\n${JSON_HEAD}${framing}${input}`;
      for (const cut of [whole.length, whole.length - input.length - 3, whole.length - input.length + 1]) {
        const client = new RawClient(server.path);
        client.socket.setNoDelay(true);
        client.send(whole.slice(0, cut));
        await new Promise((resolve) => setTimeout(resolve, 5));
        client.send(whole.slice(cut));
        const answer = await client.until(input.toUpperCase());
        assert.ok(answer.endsWith(`raw-stream\r\n\r\n${input.toUpperCase()}`), JSON.stringify(answer));
        client.socket.end();
        assert.match(await client.all(), /\nbye$/);
      }
    }
  }
  const asking = new RawClient(server.path);
  asking.send(
    `POST /exec/e/start HTTP/1.1\r\n${JSON_HEAD}Expect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  await asking.until("HTTP/1.1 100 Continue\r\n\r\n");
  asking.send(`${body}abc`);
  await asking.until("ABC");
  asking.socket.destroy();
});

test("a socket for reading serves what reads and refuses the rest in one sentence", async () => {
  await using server = await startTestServer({}, { access: "read" });
  const ask = async (line: string) => {
    const client = new RawClient(server.path);
    client.send(`${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    return client.all();
  };
  for (const line of ["GET /_ping", "HEAD /_ping", "GET /v1.51/containers/json", "GET /volumes", "GET /openapi.json"]) {
    assert.match(await ask(line), /^HTTP\/1\.1 200 /, line);
  }
  for (const line of [
    "POST /containers/create",
    "DELETE /volumes/x",
    "POST /containers/c/wait",
    "GET /containers/c/attach/ws",
    "GET /distribution/example.test/x/json",
    "POST /v1.41/containers/c/attach",
    "POST /exec/e/start",
  ]) {
    const path = (line.split(" ")[1] ?? "").replace(/^\/v1\.41/, "");
    const message = `${line.split(" ")[0]} ${path} is refused: this socket serves only what reads`;
    const answer = await ask(line);
    assert.match(answer, /^HTTP\/1\.1 403 Forbidden\r\n/, line);
    assert.ok(answer.endsWith(`\r\n\r\n${JSON.stringify({ message })}\n`), answer);
  }
  for (const line of [
    "POST //containers/c/kill",
    "POST /v1.41/../containers/c/kill",
    "POST /v1.41//containers/c/kill",
    "POST /containers%2fc%2fkill",
    "POST http://x/containers/c/kill",
    "GET /containers/c/kill",
    "PATCH /containers/c",
    "post /containers/c/kill",
  ]) {
    assert.match(await ask(line), /^HTTP\/1\.1 4\d\d /, line);
  }
  const behind = new RawClient(server.path);
  behind.send(`GET /_ping HTTP/1.1\r\nHost: x\r\n\r\nPOST /containers/c/kill HTTP/1.1\r\nHost: x\r\n`);
  behind.send("X-HTTP-Method-Override: GET\r\nConnection: close\r\n\r\n");
  assert.match(await behind.all(), /^HTTP\/1\.1 200 [\s\S]*HTTP\/1\.1 403 /);
  assert.deepEqual(
    server.calls.filter(({ name }) => name !== "list"),
    [],
  );
});

test("an exec's options are read off an upgraded connection, in pieces, sized or chunked", async () => {
  await using server = await startTestServer();
  const body = '{"Detach":false,"Tty":true,"ConsoleSize":[24,80]}';
  const sized = new RawClient(server.path);
  sized.send(
    `POST /v1.51/exec/e/start HTTP/1.1\r\n${UPGRADE}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  sized.send(body.slice(0, 10));
  sized.send(`${body.slice(10)}abc`);
  await sized.until("ABC");
  const chunked = new RawClient(server.path);
  chunked.send(
    `POST /v1.51/exec/e/start HTTP/1.1\r\n${UPGRADE}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
  );
  chunked.send(`5\r\n${body.slice(0, 5)}\r\n${(body.length - 5).toString(16)}\r\n${body.slice(5)}\r\n0\r\n\r\nabc`);
  await chunked.until("ABC");
  for (const call of server.calls.filter(({ name }) => name === "execStart")) {
    assert.deepEqual((call.args[1] as { consoleSize: unknown }).consoleSize, [24, 80]);
  }
  const broken = new RawClient(server.path);
  broken.send(`POST /exec/e/start HTTP/1.1\r\n${UPGRADE}Transfer-Encoding: chunked\r\n\r\nzz\r\n`);
  assert.match(await broken.all(), /^HTTP\/1\.1 400 Bad Request[\s\S]*malformed chunked encoding/);
  sized.socket.destroy();
  chunked.socket.destroy();
});

test("refusals before a hijack are ordinary answers, and so is that of a detached exec", async () => {
  await using server = await startTestServer();
  const missing = new RawClient(server.path);
  missing.send(`POST /containers/missing/attach HTTP/1.1\r\n${UPGRADE}\r\n`);
  assert.match(await missing.all(), /^HTTP\/1\.1 404 Not Found[\s\S]*\{"message":"No such container: missing"\}\n$/);
  const client = new RawClient(server.path);
  client.send(`POST /exec/e/start HTTP/1.1\r\n${JSON_HEAD}Content-Length: 15\r\n\r\n{"Detach":true}`);
  assert.match(await client.all(), /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\nConnection: close\r\n\r\n$/);
  const stubborn = new RawClient(server.path);
  stubborn.send("POST /containers/missing/attach HTTP/1.1\r\nHost: x\r\n\r\n");
  await stubborn.until("No such container: missing");
  // It neither closes nor stops sending: the server does it.
  const talk = setInterval(() => stubborn.send("x"), 50);
  await new Promise((resolve) => stubborn.socket.once("close", resolve));
  clearInterval(talk);
});

test("an upgrade that no route offers is passed over, and garbage after a refused plain hijack ends it", async () => {
  await using server = await startTestServer();
  const offered = new RawClient(server.path);
  offered.send("GET /_ping HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n");
  await offered.until(/^HTTP\/1\.1 200 OK[\s\S]*OK$/);
  offered.socket.destroy();
  const garbage = new RawClient(server.path);
  garbage.send("POST /containers/missing/attach HTTP/1.1\r\nHost: x\r\n\r\n\x01garbage");
  assert.match(await garbage.all(), /^HTTP\/1\.1 404 Not Found[\s\S]*No such container: missing/);
});

test("clients of older versions get answers and are read as in their time", async () => {
  await using server = await startTestServer({ stop: async () => undefined });
  const ask = async (line: string, rest = "") => {
    const client = new RawClient(server.path);
    client.send(`${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${rest}\r\n`);
    return client.all();
  };
  await ask("POST /v1.41/containers/c/stop?signal=INT&t=3");
  assert.deepEqual(server.calls.at(-1)?.args[1], { signal: undefined, timeoutSeconds: 3 });
  await ask("POST /v1.42/containers/c/stop?signal=INT&t=3");
  assert.deepEqual(server.calls.at(-1)?.args[1], { signal: "INT", timeoutSeconds: 3 });
  assert.match(await ask("POST /v1.24/containers/c/wait?condition=bogus"), /^HTTP\/1\.1 200 /);
  assert.match(await ask("POST /v1.30/containers/c/wait?condition=bogus"), /400[\s\S]*invalid condition: \\"bogus\\"/);
  assert.match(
    await ask("POST /v1.24/containers/c/start", 'Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a": 10}'),
    /400[\s\S]*starting container with non-empty request body was deprecated since API v1\.22 and removed in v1\.24/,
  );
});

test("a body is asked for with 100-continue, its type checked and its size bounded", async () => {
  await using server = await startTestServer();
  const post = (rest: string) => {
    const client = new RawClient(server.path);
    client.send(`POST /containers/create?name=n HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${rest}`);
    return client;
  };
  const patient = post("Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 13\r\n\r\n");
  await patient.until("HTTP/1.1 100 Continue\r\n\r\n");
  patient.send('{"Image":"a"}');
  assert.match(await patient.all(), /HTTP\/1\.1 201 Created/);
  assert.equal(server.calls.at(-1)?.args[0], "n");
  const typed = post("Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
  assert.match(
    await typed.all(),
    /400[\s\S]*unsupported Content-Type header \(text\/plain\): must be 'application\/json'/,
  );
  const empty = post("Content-Length: 0\r\n\r\n");
  assert.match(await empty.all(), /400[\s\S]*invalid JSON: got EOF while reading request body/);
  const huge = post("Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n{");
  assert.match(await huge.all(), /400[\s\S]*request body too large/);
  const unsized = post("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  const megabyte = `100000\r\n${" ".repeat(0x100000)}\r\n`;
  for (let i = 0; i < 17; i++) unsized.send(megabyte);
  assert.match(await unsized.until(/too large/), /400[\s\S]*request body too large/);
  unsized.socket.destroy();
});

test("the headers of a wait leave before its result, and a client that leaves ends it", async () => {
  const gone = Promise.withResolvers<void>();
  await using server = await startTestServer({
    wait: async (_id, _condition, { ready, signal }) => {
      ready();
      await once(signal, "abort");
      gone.resolve();
      throw new GantryError("cancelled", "left");
    },
  });
  const client = new RawClient(server.path);
  client.send("POST /v1.51/containers/c/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n");
  await client.until(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n/);
  client.socket.destroy();
  await gone.promise;
});

test("events are replayed, followed, filtered and ended at their time", async () => {
  await using server = await startTestServer();
  const publish = (id: string) =>
    server.events.publish({ type: "container", action: "start", id, attributes: { name: id } });
  publish("one");
  publish("two");
  const filters = encodeURIComponent('{"container":{"one":true,"three":true}}');
  const live = new RawClient(server.path);
  live.send(`GET /events?since=1&filters=${filters} HTTP/1.1\r\nHost: x\r\n\r\n`);
  await live.until('"id":"one"');
  publish("three");
  assert.ok(!(await live.until('"id":"three"')).includes('"id":"two"'));
  live.socket.destroy();
  const past = new RawClient(server.path);
  past.send(`GET /events?since=1&until=${Date.now() / 1000 + 0.2} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  const rows = (await past.all()).match(/"id":"\w+"/g);
  assert.deepEqual(rows, ['"id":"one"', '"id":"two"', '"id":"three"']);
});

test("no misbehaving client makes the server fail", async () => {
  await using server = await startTestServer({}, { headersTimeoutMs: 200, tcp: true });
  const address = server.port ?? 0;
  const slow = new RawClient(address);
  slow.send("GET /_ping HTTP/1.1\r\nHost: ");
  assert.match(await slow.all(), /^HTTP\/1\.1 408 Request Timeout/);
  const garbage = new RawClient(address);
  garbage.send("\x16\x03\x01 garbage\r\n\r\n");
  assert.match(await garbage.all(), /^HTTP\/1\.1 400 Bad Request/);
  const long = new RawClient(address);
  long.send(`GET /_ping HTTP/1.1\r\nX: ${"x".repeat(300_000)}\r\n\r\n`);
  assert.match(await long.all(), /^HTTP\/1\.1 431/);
  for (const path of ["/containers/tty/attach", "/containers/create", "/exec/e/start"]) {
    const reset = new RawClient(address);
    reset.send(`POST ${path} HTTP/1.1\r\n${UPGRADE}Content-Length: 50\r\n\r\n{`);
    await once(reset.socket, "connect");
    reset.socket.resetAndDestroy();
  }
  const after = new RawClient(address);
  after.send("GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.match(await after.all(), /OK$/);
});

test("a failure inside is a 500 with its sentence", async () => {
  await using server = await startTestServer();
  const client = new RawClient(server.path);
  client.send("POST /containers/c/kill HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  assert.match(await client.all(), /^HTTP\/1\.1 500 [\s\S]*\{"message":"the fake has no kill"\}\n$/);
});

test("a request over a kept connection is cheap", async (t) => {
  await using server = await startTestServer();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const post = (path: string, body?: string) =>
    new Promise<void>((resolve, reject) => {
      const sent = request(
        {
          socketPath: server.path,
          path,
          method: "POST",
          agent,
          headers: body ? { "content-type": "application/json" } : {},
        },
        (answer) => answer.resume().once("end", resolve),
      );
      sent.once("error", reject);
      sent.end(body);
    });
  const rounds = 150;
  const body = JSON.stringify({ Image: "busybox", Cmd: ["true"], HostConfig: { NetworkMode: "default" } });
  let best = Number.POSITIVE_INFINITY;
  for (let batch = 0; batch < 3; batch++) {
    const began = performance.now();
    for (let i = 0; i < rounds; i++) {
      await post("/v1.51/containers/create", body);
      await post("/v1.51/containers/c/start");
      await post("/v1.51/containers/c/wait");
    }
    best = Math.min(best, (performance.now() - began) / (rounds * 3));
  }
  agent.destroy();
  t.diagnostic(`${best.toFixed(3)} ms a request, the client included`);
  assert.ok(best < 2, `${best} ms a request`);
});

test("the stock docker client negotiates and attaches", async (t) => {
  const run = promisify(execFile);
  const version = await run("docker", ["--version"]).catch(() => undefined);
  if (version === undefined) return t.skip("no docker client on the PATH");
  await using server = await startTestServer();
  const docker = (...args: string[]) => run("docker", ["-H", `unix://${server.path}`, ...args], { timeout: 20_000 });
  assert.equal((await docker("version", "--format", "{{.Server.APIVersion}}")).stdout, "1.51\n");
  assert.equal((await docker("volume", "create", "v-one")).stdout, "v-one\n");
  assert.equal((await docker("volume", "ls", "-q")).stdout, "v-one\n");
  await assert.rejects(docker("volume", "inspect", "none"), /no such volume/);
});
