import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import type { Socket } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { build } from "../builds.ts";
import { endChild } from "../command.ts";
import { GANTRY, startEngine, type TestEngine } from "../engine.ts";

const options = { timeout: 60_000 };
const MiB = 1 << 20;
/** What a client may cost the engine at most; what the collector has not come to yet included. */
const MOST_MEMORY = 200 * MiB;

let engine: TestEngine;
before(async () => {
  engine = await startEngine();
});
after(() => engine?.[Symbol.asyncDispose]());

/** The most memory that the engine has while this is done, beyond what it had; others must go on being served. */
async function costOf(act: () => Promise<void>): Promise<number> {
  const before = engine.residentBytes;
  let most = 0;
  let isDone = false;
  const watching = (async () => {
    while (!isDone) {
      most = Math.max(most, engine.residentBytes - before);
      assert.equal((await engine.request("GET", "/_ping")).status, 200);
      await delay(20);
    }
  })();
  try {
    await act();
  } finally {
    isDone = true;
    await watching;
  }
  const { code, stderr } = await build(engine, "FROM busybox\nRUN true\n", { program: GANTRY });
  assert.equal(code, 0, stderr);
  return most;
}

/** A connection that the engine has handed over. */
async function upgraded(path: string): Promise<Socket> {
  const socket = await engine.connection();
  socket.on("error", () => {});
  const headers = `Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: hostile${path.length}\r\n`;
  socket.write(`POST ${path} HTTP/1.1\r\n${headers}\r\n`);
  const [bytes] = (await once(socket, "data")) as [Buffer];
  // What comes next is for whoever speaks on it.
  socket.pause();
  assert.match(bytes.toString("latin1"), /^HTTP\/1.1 101 /);
  const rest = bytes.subarray(bytes.indexOf("\r\n\r\n") + 4);
  if (rest.length > 0) socket.unshift(rest);
  return socket;
}

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const FRAME = { headers: 1, settings: 4, ping: 6, continuation: 9 } as const;

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Writes a frame over and over, for so many bytes or until the engine has had enough. */
async function flood(socket: Socket, piece: Buffer, bytes: number): Promise<void> {
  const gone = new Promise<boolean>((resolve) => socket.once("close", () => resolve(true)));
  const pieces = Buffer.concat(Array.from({ length: Math.ceil(65_536 / piece.length) }, () => piece));
  for (let sent = 0; sent < bytes && !socket.destroyed; sent += pieces.length) {
    if (socket.write(pieces)) continue;
    // One that isn't read any more is full for ever.
    const isGone = await Promise.race([
      once(socket, "drain").then(
        () => false,
        () => true,
      ),
      gone,
      delay(1000, true),
    ]);
    if (isGone) break;
  }
  socket.destroy();
}

test("headers that never end are not kept", options, async () => {
  const cost = await costOf(async () => {
    const socket = await upgraded("/grpc");
    socket.resume();
    socket.write(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0, Buffer.alloc(0))]));
    socket.write(frame(FRAME.headers, 0, 1, Buffer.alloc(0)));
    // A header of its own each: literal, not indexed, `a: 1000 times b`.
    const header = Buffer.concat([Buffer.from([0, 1, 0x61, 0x7f, 0xe9, 0x06]), Buffer.alloc(1000, "b")]);
    await flood(socket, frame(FRAME.continuation, 0, 1, header), 256 * MiB);
  });
  assert.ok(cost < MOST_MEMORY, `${cost} bytes`);
});

test("a client that asks and never reads the answers is not answered without end", options, async () => {
  const cost = await costOf(async () => {
    const socket = await upgraded("/grpc");
    socket.pause();
    socket.write(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0, Buffer.alloc(0))]));
    await flood(socket, frame(FRAME.ping, 0, 0, Buffer.alloc(8)), 64 * MiB);
  });
  assert.ok(cost < MOST_MEMORY, `${cost} bytes`);
});

test("thousands of calls that never end, and messages that are said to be huge, take no room", options, async () => {
  const cost = await costOf(async () => {
    const socket = await upgraded("/grpc");
    const session = connectHttp2("http://x", { createConnection: () => socket, maxSessionMemory: 1000 });
    session.on("error", () => {});
    const codes = new Map<string, number>();
    const huge = Buffer.alloc(5);
    huge.writeUInt32BE(0xffffffff, 1);
    const calls = Array.from({ length: 3000 }, (_, number) => {
      const path = `/moby.buildkit.v1.Control/${["Solve", "Status", "ListWorkers", "Session"][number % 4]}`;
      const call = session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
      });
      call.on("error", () => {});
      const count = (headers: Record<string, unknown>) => {
        const code = String(headers["grpc-status"] ?? "");
        if (code !== "") codes.set(code, (codes.get(code) ?? 0) + 1);
      };
      call.on("response", count);
      call.on("trailers", count);
      call.resume();
      call.write(Buffer.concat([huge, Buffer.alloc(500)]));
      return call;
    });
    const deadline = Date.now() + 5000;
    while ((codes.get("8") ?? 0) < 500 && Date.now() < deadline && !session.destroyed) await delay(20);
    // RESOURCE_EXHAUSTED: refused by what its beginning says, long before it is there; or the connection is.
    assert.ok(session.destroyed || (codes.get("8") ?? 0) >= 500, JSON.stringify([...codes]));
    for (const call of calls) call.destroy();
    session.destroy();
    socket.destroy();
  });
  assert.ok(cost < MOST_MEMORY, `${cost} bytes`);
});

test("CVE-2024-23650: messages that are none fail their calls and nothing else", options, async () => {
  const socket = await upgraded("/grpc");
  const session = connectHttp2("http://x", { createConnection: () => socket });
  session.on("error", () => {});
  const methods = [
    ...["Solve", "Status", "ListWorkers", "Info", "DiskUsage", "Prune", "ListenBuildHistory", "UpdateBuildHistory"].map(
      (name) => `moby.buildkit.v1.Control/${name}`,
    ),
    ...["Solve", "Return", "ReadFile", "ResolveImageConfig", "Inputs", "Evaluate", "Ping"].map(
      (name) => `moby.buildkit.v1.frontend.LLBBridge/${name}`,
    ),
  ];
  // Tags without what they announce, nesting without end, lengths beyond the message.
  const bodies = [
    Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    Buffer.alloc(4000, 0x0a),
    Buffer.concat([Buffer.from([0x12, 0x80, 0x10]), Buffer.alloc(2048, 0x12)]),
    ...Array.from({ length: 6 }, () => randomBytes(200)),
  ];
  const ask = async (method: string, body: Buffer): Promise<void> => {
    const call = session.request({
      ":method": "POST",
      ":path": `/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    call.on("error", () => {});
    const head = Buffer.alloc(5);
    head.writeUInt32BE(body.length, 1);
    call.end(Buffer.concat([head, body]));
    call.resume();
    const ended = once(call, "close");
    // What random bytes happen to ask for may take its time.
    if ((await Promise.race([ended, delay(500, "late")])) === "late") call.destroy();
  };
  for (const body of bodies) await Promise.all(methods.map((method) => ask(method, body)));
  session.destroy();
  assert.doesNotMatch(engine.log, /"level":"error"/);
  assert.equal((await build(engine, "FROM busybox\nRUN true\n", { program: GANTRY })).code, 0);
});

test("a client that stands still while its folder is asked for holds up nobody else", options, async () => {
  const large = join(engine.root, "large");
  mkdirSync(large);
  for (let file = 0; file < 32; file++) writeFileSync(join(large, `file-${file}`), Buffer.alloc(4 * MiB, file));
  writeFileSync(join(large, "Dockerfile"), "FROM scratch\nCOPY . /\n");
  const env = { ...process.env, GANTRY_HOST: `unix://${engine.socket}`, HOME: engine.root };
  const still: ChildProcess = spawn(GANTRY, ["build", "-q", large], { env, stdio: "ignore" });
  try {
    const sources = join(engine.dataRoot, "build/sources");
    const isUnderWay = () =>
      (readdirSync(sources, { recursive: true }) as string[]).some((path) => /incoming-[^/]*\/./.test(path));
    const deadline = Date.now() + 20_000;
    while (!isUnderWay()) {
      assert.ok(Date.now() < deadline && still.exitCode === null, "its folder was never asked for");
      await delay(2);
    }
    still.kill("SIGSTOP");
    const cost = await costOf(async () => {
      const files = { file: "x" };
      const other = await build(engine, "FROM busybox\nCOPY file /\nRUN cat /file\n", { program: GANTRY, files });
      assert.equal(other.code, 0, other.stderr);
    });
    assert.ok(cost < MOST_MEMORY, `${cost} bytes`);
  } finally {
    await endChild(still, "SIGKILL", 10_000);
  }
});

test("an engine that stops waits for nobody who stays connected", options, async () => {
  const sockets = [await upgraded("/grpc"), await upgraded("/session"), await upgraded("/gantry/build/link")];
  const gone = sockets.map((socket) => once(socket.resume(), "close"));
  const began = Date.now();
  await engine.restart({});
  await Promise.all(gone);
  assert.ok(Date.now() - began < 15_000, `${Date.now() - began} ms`);
});
