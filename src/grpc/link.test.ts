import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { test } from "node:test";
import { FRAME, type FrameKind, FrameReader, HEAD_BYTES, writeHead } from "./frames.ts";
import { Link } from "./link.ts";
import { asText, bytesMethod, grpcPair, socketPair, text } from "./pair.fixture.ts";
import { GrpcServer } from "./server.ts";
import { GrpcError, STATUS } from "./status.ts";

const ECHO = bytesMethod("/t.T/Echo");
const STREAM = bytesMethod("/t.T/Stream");

function frame(kind: number, call: number, bytes: Uint8Array, length = bytes.length): Buffer {
  const whole = Buffer.alloc(HEAD_BYTES + bytes.length);
  writeHead(whole, 0, kind as FrameKind, call, length);
  whole.set(bytes, HEAD_BYTES);
  return whole;
}

/** An error before it is no matter. */
const closed = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once("close", () => resolve()));

const opening = (call: number, what: unknown) => frame(FRAME.open, call, text(JSON.stringify(what)));
const OPEN = { path: ECHO.path, metadata: {} };

test("frames are cut the same wherever the pieces end", () => {
  const all = Buffer.concat([
    frame(FRAME.ping, 0, text("")),
    frame(FRAME.message, 1, text("abc")),
    frame(FRAME.message, 3, Buffer.alloc(70, 7)),
    frame(FRAME.end, 1, text("")),
  ]);
  for (let size = 1; size <= all.length; size++) {
    const found: string[] = [];
    const reader = new FrameReader(100, (kind, call, bytes) =>
      found.push(`${kind} ${call} ${bytes.length} ${bytes[0]}`),
    );
    for (let at = 0; at < all.length; at += size) reader.feed(all.subarray(at, at + size));
    assert.deepEqual(found, ["7 0 0 undefined", "2 1 3 97", "2 3 70 7", "3 1 0 undefined"], `in pieces of ${size}`);
  }
});

test("whatever is no frame ends the connection, and the process goes on", async () => {
  const hostile: Readonly<Record<string, Buffer>> = {
    "a kind that is none": frame(99, 1, text("")),
    "a kind of zero": frame(0, 1, text("")),
    "a frame of 4 GB": frame(FRAME.message, 1, text(""), 0xffffffff),
    "an opening of 2 MB": frame(FRAME.open, 1, text(""), 2 << 20),
    "an opening that is no JSON": frame(FRAME.open, 1, text("{")),
    "an opening without a path": opening(1, { metadata: {} }),
    "an opening of null": opening(1, null),
    "metadata that is no list": opening(1, { path: "/t.T/Echo", metadata: { a: "b" } }),
    "a number of the other side's": opening(2, OPEN),
    "a number twice": Buffer.concat([opening(3, OPEN), opening(3, OPEN)]),
    "numbers that go down": Buffer.concat([opening(5, OPEN), opening(1, OPEN)]),
  };
  for (const [what, bytes] of Object.entries(hostile)) {
    const { dialled, accepted } = await socketPair();
    const link = new Link(accepted, { dialled: false, server: new GrpcServer().unary(ECHO, (request) => request) });
    dialled.on("error", () => {}).resume();
    dialled.write(bytes);
    await closed(dialled);
    assert.ok(link.closed.aborted, what);
  }
});

test("what is said of a call that is over, or never was, is passed over", async () => {
  const { dialled, accepted } = await socketPair();
  const link = new Link(accepted, { dialled: false, server: new GrpcServer().unary(ECHO, (request) => request) });
  const found: string[] = [];
  const reader = new FrameReader(1 << 20, (kind, call, bytes) => {
    found.push(`${kind} ${call} ${asText(bytes)}`);
    if (kind === FRAME.pong) dialled.destroy();
  });
  dialled.on("data", (chunk) => reader.feed(chunk));
  for (const kind of [FRAME.message, FRAME.end, FRAME.status, FRAME.cancel, FRAME.credit]) {
    dialled.write(frame(kind, 7, text("x")));
    dialled.write(frame(kind, 8, text("x")));
  }
  dialled.write(
    Buffer.concat([opening(9, OPEN), frame(FRAME.message, 9, text("hi")), frame(FRAME.message, 9, text("more"))]),
  );
  dialled.write(frame(FRAME.ping, 0, text("")));
  await closed(dialled);
  assert.deepEqual(found.sort(), [`${FRAME.message} 9 hi`, `${FRAME.status} 9 `, `${FRAME.pong} 0 `].sort());
  link.close();
});

test("who sends more than was granted is cut off, and what waits in memory is bounded", async () => {
  const { dialled, accepted } = await socketPair();
  // It never reads.
  const server = new GrpcServer().stream(STREAM, (call) => once(call.signal, "abort").then(() => {}));
  const link = new Link(accepted, { dialled: false, server });
  dialled.on("error", () => {}).resume();
  dialled.write(opening(1, { path: STREAM.path, metadata: {} }));
  for (let at = 0; at < 40; at++) dialled.write(frame(FRAME.message, 1, Buffer.alloc(32 << 10)));
  await closed(dialled);
  assert.ok(link.closed.aborted);
});

test("more calls at once than anybody needs are refused, and those before them are answered", async () => {
  const open = Promise.withResolvers<void>();
  using pair = await grpcPair(
    (server) =>
      server.unary(ECHO, async (request) => {
        await open.promise;
        return request;
      }),
    { over: "link" },
  );
  const calls = Array.from({ length: 1001 }, (_, at) => pair.client.unary(ECHO, text(String(at))));
  await assert.rejects(calls.at(-1)!, (error: GrpcError) => error.code === STATUS.resourceExhausted);
  open.resolve();
  assert.deepEqual(
    (await Promise.all(calls.slice(0, 1000))).map(asText),
    calls.slice(0, 1000).map((_, at) => String(at)),
  );
});

test("a message that no side takes is not sent, and the connection goes on", async () => {
  using pair = await grpcPair((server) => server.unary(ECHO, (request) => request), { over: "link" });
  const call = pair.client.open(ECHO);
  assert.throws(() => call.send(new Uint8Array((16 << 20) + 1)), /trying to send message larger than max/);
  call.cancel();
  assert.equal((await pair.client.unary(ECHO, new Uint8Array(16 << 20))).length, 16 << 20);
});

test("what is sent without waiting comes in order, before the end", async () => {
  using pair = await grpcPair(
    (server) =>
      server.stream(STREAM, async (call) => {
        let next = 0;
        for await (const message of call.messages()) {
          assert.equal(new DataView(message.buffer).getUint32(0), next++);
          void call.send(message);
        }
      }),
    { over: "link" },
  );
  const call = pair.client.open(STREAM);
  for (let at = 0; at < 300; at++) {
    const message = new Uint8Array(20_000);
    new DataView(message.buffer).setUint32(0, at);
    void call.send(message);
  }
  call.end();
  let next = 0;
  for await (const message of call.messages()) assert.equal(new DataView(message.buffer).getUint32(0), next++);
  assert.equal(next, 300);
});

test("a side that says nothing and answers no ping is given up", async () => {
  const { dialled, accepted } = await socketPair();
  accepted.on("error", () => {});
  const link = new Link(dialled, {
    dialled: true,
    server: new GrpcServer(),
    keepAlive: { everyMs: 20, withinMs: 50 },
  });
  const call = link.unary(ECHO, text(""));
  await assert.rejects(call, (error: unknown) => error instanceof GrpcError && error.code === STATUS.unavailable);
  accepted.destroy();
});

test("bytes that came with the answer that opened it go first", async () => {
  const { dialled, accepted } = await socketPair();
  const head = Buffer.concat([opening(1, OPEN), frame(FRAME.message, 1, text("first")), frame(FRAME.end, 1, text(""))]);
  const link = new Link(accepted, {
    dialled: false,
    head,
    server: new GrpcServer().unary(ECHO, (request) => request),
  });
  const found: string[] = [];
  const reader = new FrameReader(1 << 20, (kind, _call, bytes) => {
    found.push(`${kind} ${asText(bytes)}`);
    if (kind === FRAME.status) dialled.destroy();
  });
  dialled.on("data", (chunk) => reader.feed(chunk));
  await closed(dialled);
  assert.deepEqual(found, [`${FRAME.message} first`, `${FRAME.status} `]);
  link.close();
});
