import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { CONTROL, SolveRequestSchema } from "../../src/buildkit/control.ts";
import { create } from "../../src/buildkit/message.ts";
import { FRAME, type FrameKind, HEAD_BYTES, writeHead } from "../../src/grpc/frames.ts";
import { Link } from "../../src/grpc/link.ts";
import { GrpcServer } from "../../src/grpc/server.ts";
import { processesWith } from "../builds.ts";
import { startEngine, type TestEngine } from "../engine.ts";

const options = { timeout: 60_000 };
const MiB = 1 << 20;
const MOST_MEMORY = 150 * MiB;

let engine: TestEngine;
let count = 0;
before(async () => {
  engine = await startEngine();
});
after(() => engine?.[Symbol.asyncDispose]());

/** A link's connection, and the name of its session. */
async function linked(): Promise<{ readonly socket: Socket; readonly session: string }> {
  const session = `link-${++count}`;
  const socket = await engine.connection();
  socket.on("error", () => {});
  const headers = `Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: ${session}\r\n`;
  socket.write(`POST /gantry/build/link HTTP/1.1\r\n${headers}\r\n`);
  const [bytes] = (await once(socket, "data")) as [Buffer];
  socket.pause();
  assert.match(bytes.toString("latin1"), /^HTTP\/1.1 101 /);
  const rest = bytes.subarray(bytes.indexOf("\r\n\r\n") + 4);
  if (rest.length > 0) socket.unshift(rest);
  return { socket, session };
}

function frame(kind: FrameKind, call: number, text = ""): Buffer {
  const whole = Buffer.alloc(HEAD_BYTES + Buffer.byteLength(text));
  writeHead(whole, 0, kind, call, Buffer.byteLength(text));
  whole.write(text, HEAD_BYTES);
  return whole;
}

/** Writes what `next` gives, for so many bytes or until the engine has had enough; reads nothing. */
async function flood(socket: Socket, next: () => Buffer, bytes: number): Promise<number> {
  const gone = new Promise<"gone">((resolve) => socket.once("close", () => resolve("gone")));
  const before = engine.residentBytes;
  let most = 0;
  for (let sent = 0; sent < bytes && !socket.destroyed; ) {
    const piece = next();
    sent += piece.length;
    most = Math.max(most, engine.residentBytes - before);
    if (socket.write(piece)) continue;
    const drained = once(socket, "drain").then(
      () => "on",
      () => "gone",
    );
    // One that isn't read any more is full for ever.
    if ((await Promise.race([drained, gone, delay(1000, "full")])) !== "on") break;
  }
  socket.destroy();
  return most;
}

test("who asks over a link and reads no answer takes no room", options, async () => {
  const pings = Buffer.concat(Array.from({ length: 8000 }, () => frame(FRAME.ping, 0)));
  const { socket } = await linked();
  assert.ok((await flood(socket, () => pings, 64 * MiB)) < MOST_MEMORY);
  let number = 1;
  const opening = JSON.stringify({ path: `/no.Such/${"x".repeat(400)}`, metadata: {} });
  const openings = () => {
    const from = number;
    number += 400;
    return Buffer.concat(Array.from({ length: 200 }, (_, at) => frame(FRAME.open, from + 2 * at, opening)));
  };
  const other = await linked();
  assert.ok((await flood(other.socket, openings, 64 * MiB)) < MOST_MEMORY);
  assert.equal((await engine.request("GET", "/_ping")).status, 200);
});

for (const how of ["ends", "is cut off in the middle of a frame", "ends one half of it"] as const) {
  test(`a build ends with its link, when that ${how}`, options, async () => {
    const { socket, session } = await linked();
    const link = new Link(socket, { dialled: true, server: new GrpcServer() });
    const seconds = String(7000 + count);
    await using dockerfile = await served(`FROM busybox\nRUN --network=none sleep ${seconds}\n`);
    const solved = link.unary(
      CONTROL.solve,
      create(SolveRequestSchema, {
        Ref: session,
        Session: session,
        Frontend: "dockerfile.v0",
        FrontendAttrs: { context: dockerfile.url },
      }),
    );
    const failed = assert.rejects(solved);
    await until(() => processesWith("sleep", seconds).length > 0);
    if (how === "ends") link.close();
    else if (how === "ends one half of it") socket.end();
    else socket.end(frame(FRAME.message, 1, "x".repeat(100)).subarray(0, 20));
    await failed;
    await until(() => processesWith("sleep", seconds).length === 0);
    assert.equal((await engine.request("GET", "/_ping")).status, 200);
  });
}

/** A text at an address of this machine. */
async function served(text: string): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer((_request, response) => response.end(text));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/Dockerfile`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function until(isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!isSo()) {
    assert.ok(Date.now() < deadline, "it never came to that");
    await delay(20);
  }
}
