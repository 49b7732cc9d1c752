import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { isKind } from "../base/errors.ts";
import type { Endpoint } from "./endpoint.ts";
import { exchange } from "./wire.ts";

const folder = mkdtempSync(join(tmpdir(), "gantry-wire-"));
const path = join(folder, "socket");
const endpoint: Endpoint = { kind: "unix", path, url: `unix://${path}` };
let answer: (socket: Socket, request: string) => void = () => {};
const server = createServer((socket) => {
  socket.on("error", () => {});
  socket.once("data", (request) => answer(socket, request.toString()));
});

before(() => new Promise<void>((resolve) => server.listen(path, resolve)));
after(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function get(): Promise<string> {
  const { body } = await exchange(endpoint, { method: "GET", path: "/x" });
  return body.text();
}

const ANSWERS = {
  length: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
  chunked: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: 1\r\n\r\n",
};

for (const [framing, whole] of Object.entries(ANSWERS)) {
  test(`an answer by ${framing} is read however it is split`, async () => {
    for (let at = 1; at < whole.length; at++) {
      answer = (socket) => {
        socket.write(whole.slice(0, at));
        setImmediate(() => socket.write(whole.slice(at)));
      };
      assert.equal(await get(), "hello", `split at ${at}`);
    }
  });

  test(`an answer by ${framing} that is cut anywhere is an error, never a shorter body`, async () => {
    for (let at = 0; at < whole.length; at++) {
      answer = (socket) => void socket.end(whole.slice(0, at));
      await assert.rejects(get(), (error) => isKind(error, "unavailable"), `cut at ${at}`);
    }
  });
}

test("what is no HTTP, or lies about its length, is refused", async () => {
  for (const text of [
    "SSH-2.0-OpenSSH\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    `HTTP/1.1 200 OK\r\nX: ${"x".repeat(70_000)}`,
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
  ]) {
    answer = (socket) => void socket.write(text);
    await assert.rejects(get(), (error) => isKind(error, "unavailable"), text.slice(0, 40));
  }
});

test("an interim answer is passed over, and a body without a length ends with the connection", async () => {
  answer = (socket) => void socket.end("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello");
  assert.equal(await get(), "hello");
});

test("a granted hijack gives the socket with what came behind the head, and either side may end first", async () => {
  answer = (socket, request) => {
    assert.match(request, /\r\nUpgrade: tcp\r\n/);
    socket.end("HTTP/1.1 101 UPGRADED\r\n\r\nearly");
  };
  const { stream } = await exchange(endpoint, { method: "POST", path: "/x", hijack: "tcp" });
  assert.ok(stream);
  assert.equal(stream.head.toString(), "early");
  assert.equal(stream.socket.destroyed, false);
  stream.socket.destroy();
});

test("a refusal is heard while the body is still being sent", async () => {
  answer = (socket) => void socket.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno");
  const stopped = Promise.withResolvers<void>();
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.alloc(1 << 16);
    } finally {
      stopped.resolve();
    }
  }
  const { status, body } = await exchange(endpoint, { method: "POST", path: "/x", body: endless() });
  assert.equal(status, 400);
  assert.equal(await body.text(), "no");
  await stopped.promise;
});

test("an abort ends the wait for an answer", async () => {
  const abort = new AbortController();
  answer = () => abort.abort();
  await assert.rejects(exchange(endpoint, { method: "GET", path: "/x", signal: abort.signal }), { kind: "cancelled" });
});
