import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { WebSocket as Client } from "ws";
import type { HijackedConnection } from "../containers/controller.ts";
import { RawClient, startTestServer } from "./server.fixture.ts";
import { FrameReader } from "./websocket.ts";

const HANDSHAKE = `Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n`;

function frame(kind: number, payload: string): Buffer {
  const header = Buffer.alloc(8);
  header[0] = kind;
  header.writeUInt32BE(Buffer.byteLength(payload), 4);
  return Buffer.concat([header, Buffer.from(payload)]);
}

/** A client's frame as RFC 6455 draws it, of less than 126 bytes. */
function clientFrame(first: number, payload: string): Buffer {
  const bytes = Buffer.from(payload);
  const mask = randomBytes(4);
  return Buffer.concat([
    Buffer.from([first, 0x80 | bytes.length]),
    mask,
    bytes.map((byte, at) => byte ^ (mask[at % 4] ?? 0)),
  ]);
}

test("frames' headers are taken out wherever the stream is cut", () => {
  const whole = Buffer.concat([frame(1, "out"), frame(2, ""), frame(2, "err"), frame(1, "x".repeat(300))]);
  for (let size = 1; size <= 20; size++) {
    const reader = new FrameReader();
    let read = "";
    for (let at = 0; at < whole.length; at += size) read += reader.payload(whole.subarray(at, at + size)).toString();
    assert.equal(read, `outerr${"x".repeat(300)}`);
  }
});

test("Node's own client attaches: bytes by default, text for versions before 1.28", async () => {
  await using server = await startTestServer({}, { tcp: true });
  for (const [version, isText] of [
    ["v1.51", false],
    ["v1.27", true],
  ] as const) {
    const client = new WebSocket(`ws://127.0.0.1:${server.port}/${version}/containers/tty/attach/ws?stream=1&stdin=1`);
    client.binaryType = "arraybuffer";
    await once(client, "open");
    const got: unknown[] = [];
    const answer = once(client, "message");
    client.addEventListener("message", ({ data }) => got.push(data));
    client.send(isText ? "grüße" : Buffer.from("grüße"));
    await answer;
    const [data] = got;
    assert.equal(typeof data, isText ? "string" : "object");
    assert.equal(isText ? data : Buffer.from(data as ArrayBuffer).toString(), "GRÜSSE");
    const closed = once(client, "close");
    client.close(1000);
    await closed;
  }
});

test("which streams are joined is the client's choice since 1.42, and all before", async () => {
  await using server = await startTestServer({}, { tcp: true });
  for (const [version, expected] of [
    ["v1.51", { stdin: false, stdout: true, stderr: false }],
    ["v1.41", { stdin: true, stdout: true, stderr: true }],
  ] as const) {
    const client = new Client(
      `ws://127.0.0.1:${server.port}/${version}/containers/c/attach/ws?stream=1&stdout=1&logs=1`,
    );
    await once(client, "open");
    const { stdin, stdout, stderr, logs, stream } = server.calls.at(-1)!.args[1] as Record<string, boolean>;
    assert.deepEqual({ stdin, stdout, stderr }, expected);
    assert.deepEqual({ logs, stream }, { logs: true, stream: true });
    client.terminate();
  }
});

test("messages come whole from fragments, with pings answered in between, and a close is answered", async () => {
  await using server = await startTestServer();
  const client = new RawClient(server.path);
  client.send(`GET /containers/tty/attach/ws?stream=1&stdin=1 HTTP/1.1\r\n${HANDSHAKE}\r\n`);
  await client.until(/^HTTP\/1\.1 101 Switching Protocols\r\n[\s\S]*\r\n\r\n/);
  client.socket.write(clientFrame(0x02, "frag"));
  client.socket.write(clientFrame(0x89, "ping!"));
  await client.until("\x8a\x05ping!");
  client.socket.write(clientFrame(0x80, "ment"));
  await client.until("\x82\x08FRAGMENT");
  client.socket.write(clientFrame(0x88, "\x03"));
  assert.match(await client.all(), /\x88/);
});

test("a client that doesn't mask, sends too much or makes no handshake is refused and closed", async () => {
  await using server = await startTestServer();
  const join = async () => {
    const client = new RawClient(server.path);
    client.send(`GET /containers/tty/attach/ws?stream=1&stdin=1 HTTP/1.1\r\n${HANDSHAKE}\r\n`);
    await client.until(/^HTTP\/1\.1 101 [\s\S]*\r\n\r\n/);
    return client;
  };
  const bare = await join();
  bare.send("\x82\x05hello");
  assert.ok((await bare.all()).includes("\x88\x02\x03\xea"), "1002, a protocol error");
  const huge = await join();
  huge.socket.write(Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4]));
  assert.ok((await huge.all()).includes("\x88\x02\x03\xf1"), "1009, too big");
  for (const head of [
    "Host: x\r\n",
    HANDSHAKE.replace("Version: 13", "Version: 7"),
    HANDSHAKE.replace(/Key: .*/, "Key: no"),
    HANDSHAKE.replace("Upgrade: websocket", "Upgrade: tcp"),
  ]) {
    const client = new RawClient(server.path);
    client.send(`GET /containers/tty/attach/ws HTTP/1.1\r\n${head}\r\n`);
    assert.match(
      await client.all(),
      /^HTTP\/1\.1 400 Bad Request\r\n[\s\S]*\{"message":"a WebSocket handshake of version 13 is expected here"\}\n$/,
    );
  }
  const missing = new RawClient(server.path);
  missing.send(`GET /containers/missing/attach/ws HTTP/1.1\r\n${HANDSHAKE}\r\n`);
  assert.match(await missing.all(), /^HTTP\/1\.1 404 Not Found[\s\S]*No such container: missing/);
});

test("a client that doesn't read holds up what is printed, and one that leaves ends the session", async () => {
  const session = Promise.withResolvers<HijackedConnection>();
  const over = Promise.withResolvers<void>();
  await using server = await startTestServer({
    attach: async (_id, { hijack }) => {
      const taken = hijack({ multiplexed: false });
      session.resolve(taken);
      taken.socket.on("data", () => undefined);
      await once(taken.socket, "close");
      over.resolve();
    },
  });
  const client = new RawClient(server.path);
  client.socket.pause();
  client.send(`GET /containers/c/attach/ws?stream=1 HTTP/1.1\r\n${HANDSHAKE}\r\n`);
  const { socket } = await session.promise;
  let written = 0;
  while (socket.write(Buffer.alloc(65_536))) {
    written += 65_536;
    assert.ok(written < 8 * 1024 * 1024, "back-pressure reaches the writer");
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.socket.destroy();
  await over.promise;
});
