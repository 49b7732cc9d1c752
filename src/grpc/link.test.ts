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

test("who sends messages without anything in them is cut off as well", async () => {
  const { dialled, accepted } = await socketPair();
  const server = new GrpcServer().stream(STREAM, (call) => once(call.signal, "abort").then(() => {}));
  const link = new Link(accepted, { dialled: false, server });
  dialled.on("error", () => {}).resume();
  dialled.write(opening(1, { path: STREAM.path, metadata: {} }));
  dialled.write(Buffer.concat(Array.from({ length: 10_000 }, () => frame(FRAME.message, 1, text("")))));
  // Whoever isn't cut off is answered.
  const answered = new Promise((resolve) => dialled.once("data", () => resolve("answered")));
  dialled.write(frame(FRAME.ping, 0, text("")));
  assert.equal(await Promise.race([closed(dialled).then(() => "cut off"), answered]), "cut off");
  link.close();
});

test("nothing begins that comes together with what ends the connection", async () => {
  const { dialled, accepted } = await socketPair();
  const begun: string[] = [];
  const server = new GrpcServer()
    .stream(STREAM, (call) => once(call.signal, "abort").then(() => {}))
    .unary(ECHO, (request) => {
      begun.push(asText(request));
      return request;
    });
  const link = new Link(accepted, { dialled: false, server });
  dialled.on("error", () => {}).resume();
  dialled.write(opening(1, { path: STREAM.path, metadata: {} }));
  dialled.write(frame(FRAME.message, 1, Buffer.alloc(2 << 20)));
  dialled.write(
    Buffer.concat([
      frame(FRAME.message, 1, text("too much")),
      opening(3, OPEN),
      frame(FRAME.message, 3, text("late")),
      frame(FRAME.end, 3, text("")),
    ]),
  );
  await closed(dialled);
  assert.ok(link.closed.aborted);
  assert.deepEqual(begun, []);
});

test("a message in the smallest of pieces takes no more memory than in one", () => {
  const whole = frame(FRAME.message, 1, Buffer.alloc(1 << 20, 7));
  const found: number[] = [];
  const reader = new FrameReader(1 << 20, (_kind, _call, bytes) => found.push(bytes.length));
  const before = process.memoryUsage();
  for (let at = 0; at < whole.length - 1; at++) reader.feed(Buffer.alloc(1, whole[at]));
  const after = process.memoryUsage();
  assert.deepEqual(found, []);
  reader.feed(Buffer.alloc(1, 7));
  assert.deepEqual(found, [1 << 20]);
  const more = after.heapUsed + after.external - before.heapUsed - before.external;
  assert.ok(more < 100 << 20, `${more} bytes`);
});

test("what is asked of a side that never gets rid of its answers piles up no answers", async () => {
  const { dialled, accepted } = await socketPair();
  let most = 0;
  const measure = () => {
    most = Math.max(most, accepted.writableLength);
  };
  const link = new Link(accepted, { dialled: false, server: new GrpcServer() });
  accepted.on("data", measure);
  dialled.on("error", () => {}).pause();
  const pings = Buffer.concat(Array.from({ length: 20_000 }, () => frame(FRAME.ping, 0, text(""))));
  const openings = (from: number) =>
    Buffer.concat(
      Array.from({ length: 2000 }, (_, at) => opening(from + 2 * at, { path: "/no.Such/Method", metadata: {} })),
    );
  for (let at = 0; at < 20; at++) {
    await new Promise((resolve) => dialled.write(pings, resolve));
    await new Promise((resolve) => dialled.write(openings(1 + at * 4000), resolve));
  }
  dialled.destroy();
  await new Promise<void>((resolve) => {
    if (link.closed.aborted) resolve();
    else link.closed.addEventListener("abort", () => resolve());
  });
  assert.ok(most < 1 << 20, `${most} bytes`);
});

test("calls that were given up count until their handlers have ended", async () => {
  const open = Promise.withResolvers<void>();
  let begun = 0;
  using pair = await grpcPair(
    (server) =>
      server
        .stream(STREAM, async () => {
          begun++;
          await open.promise;
        })
        .unary(ECHO, (request) => request),
    { over: "link" },
  );
  for (let at = 0; at < 1500; at++) pair.client.open(STREAM).cancel();
  await assert.rejects(
    pair.client.unary(ECHO, text("")),
    (error: GrpcError) => error.code === STATUS.resourceExhausted,
  );
  assert.equal(begun, 1000);
  open.resolve();
  await open.promise;
  assert.equal(asText(await pair.client.unary(ECHO, text("again"))), "again");
});

test("calls that are all full both ways go on, though only one of them is read at a time", async () => {
  using pair = await grpcPair(
    (server) =>
      server.stream(STREAM, async (call) => {
        for await (const message of call.messages()) await call.send(message);
      }),
    { over: "link" },
  );
  const size = 4 << 20;
  const calls = Array.from({ length: 30 }, () => pair.client.open(STREAM));
  const sending = calls.map(async (call) => {
    for (let sent = 0; sent < size; sent += 64 << 10) await call.send(new Uint8Array(64 << 10));
    call.end();
  });
  for (const call of calls) {
    let total = 0;
    for await (const message of call.messages()) total += message.length;
    assert.equal(total, size);
  }
  await Promise.all(sending);
});

test("answers that nobody reads any more don't count", async () => {
  const message = new Uint8Array(60_000);
  using pair = await grpcPair(
    (server) =>
      server.serverStream(STREAM, async (_request, call) => void call.send(message)).unary(ECHO, (request) => request),
    { over: "link" },
  );
  for (let at = 0; at < 2500; at++) {
    const call = pair.client.open(STREAM);
    void call.send(text(""));
    if (at % 100 === 99) await pair.client.unary(ECHO, text(""));
    call.cancel();
  }
  for (let at = 0; at < 2500; at++) {
    const call = pair.client.open(STREAM);
    void call.send(text(""));
    // The answer has come, and the end of it.
    await pair.client.unary(ECHO, text(""));
    call.cancel();
  }
  assert.equal(pair.clientSocket.isPaused(), false);
  assert.equal(asText(await pair.client.unary(ECHO, text("on"))), "on");
});

test("of two that send, none waits until the other has sent all", async () => {
  const { dialled, accepted } = await socketPair();
  const link = new Link(dialled, { dialled: true, server: new GrpcServer() });
  const calls = [link.open(STREAM), link.open(STREAM)];
  const order: number[] = [];
  const reader = new FrameReader(1 << 20, (kind, call) => {
    if (kind === FRAME.message) order.push(call);
  });
  const lots = Buffer.from([0x7f, 0xff, 0xff, 0xff]);
  accepted.write(Buffer.concat([frame(FRAME.credit, 1, lots), frame(FRAME.credit, 3, lots)]));
  accepted.on("data", (chunk) => reader.feed(chunk));
  await Promise.all(
    calls.map(async (call) => {
      for (let at = 0; at < 100; at++) await call.send(new Uint8Array(256 << 10));
      call.end();
    }),
  );
  const early = order.slice(0, 50);
  for (const call of [1, 3]) assert.ok(early.filter((one) => one === call).length >= 10, early.join(" "));
  link.close();
  accepted.destroy();
});

test("a request that is too large fails, and so does metadata, and the connection goes on", async () => {
  using pair = await grpcPair((server) => server.unary(ECHO, (request) => request), { over: "link" });
  const tooLarge = (error: GrpcError) =>
    error.code === STATUS.resourceExhausted && /larger than max/.test(error.message);
  await assert.rejects(pair.client.unary(ECHO, new Uint8Array((16 << 20) + 1)), tooLarge);
  const metadata = new Map([["patterns", ["x".repeat(1 << 20)]]]);
  await assert.rejects(pair.client.unary(ECHO, text(""), { metadata }), tooLarge);
  assert.equal(asText(await pair.client.unary(ECHO, text("hi"))), "hi");
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
