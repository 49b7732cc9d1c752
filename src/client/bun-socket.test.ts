import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { drained } from "../base/drained.ts";
import { type BunSockets, connectUnix, type NativeSocket } from "./bun-socket.ts";

const folder = mkdtempSync(join(tmpdir(), "gantry-bun-socket-"));
const path = join(folder, "socket");
let serve: (socket: Socket) => void = () => {};
const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  serve(socket);
});

before(() => new Promise<void>((resolve) => server.listen(path, resolve)));
after(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Bun's sockets on Node's: each write is taken only in part while the kernel's buffer is full. */
const SOCKETS: BunSockets = {
  connect: (options) =>
    new Promise((resolve, reject) => {
      const socket = connect({ path: options.unix, allowHalfOpen: options.allowHalfOpen });
      const native: NativeSocket = {
        write: (data) => {
          if (socket.destroyed) return -1;
          const taken = socket.writableNeedDrain ? 0 : Math.min(data.length, 100_000);
          if (taken > 0) socket.write(Buffer.from(data.subarray(0, taken)));
          if (taken < data.length && !socket.writableNeedDrain) setImmediate(() => options.socket.drain(native));
          return taken;
        },
        shutdown: () => void socket.end(),
        terminate: () => void socket.destroy(),
        pause: () => void socket.pause(),
        resume: () => void socket.resume(),
      };
      socket.on("data", (chunk) => options.socket.data(native, chunk));
      socket.on("end", () => options.socket.end(native));
      socket.on("drain", () => options.socket.drain(native));
      socket.on("close", () => options.socket.close(native));
      socket.once("error", reject);
      socket.once("connect", () => resolve(native));
    }),
};

test("bytes that come before anybody listens are held, and heard in order before the end", async () => {
  serve = (socket) => {
    socket.write("early ");
    setTimeout(() => socket.end("late"), 5);
  };
  const connection = await connectUnix(SOCKETS, path);
  await new Promise((resolve) => setTimeout(resolve, 30));
  let text = "";
  connection.on("data", (chunk) => {
    text += chunk.toString();
  });
  await new Promise<void>((resolve) => connection.on("end", resolve));
  assert.equal(text, "early late");
  assert.equal(connection.destroyed, false);
  connection.destroy();
});

test("nothing is heard while it is paused, and nothing is lost by that", async () => {
  const size = 3_000_000;
  serve = (socket) => void socket.end(Buffer.alloc(size, 7));
  const connection = await connectUnix(SOCKETS, path);
  let heard = 0;
  connection.on("data", (chunk) => {
    assert.equal(connection.isPaused(), false);
    heard += chunk.length;
    connection.pause();
    setTimeout(() => connection.resume(), 1);
  });
  await new Promise<void>((resolve) => connection.on("end", resolve));
  assert.equal(heard, size);
  connection.destroy();
});

test("what is written is sent whole and in order before the own direction ends, and the answer still comes", async () => {
  const got = Promise.withResolvers<Buffer>();
  serve = (socket) => {
    const pieces: Buffer[] = [];
    socket.on("data", (chunk) => pieces.push(chunk));
    socket.on("end", () => {
      got.resolve(Buffer.concat(pieces));
      socket.end("thanks");
    });
  };
  const connection = await connectUnix(SOCKETS, path);
  const sent: Buffer[] = [];
  for (let n = 0; n < 20; n++) {
    const piece = Buffer.alloc(n % 3 === 0 ? 300_000 : 10, n);
    sent.push(piece);
    if (!connection.write(piece)) await drained(connection);
  }
  assert.equal(connection.writableLength < 300_000, true);
  connection.cork();
  connection.write("a");
  connection.write("b");
  connection.uncork();
  connection.end();
  assert.equal(connection.write("too late"), false);
  const answer = await new Promise<string>((resolve) => {
    let text = "";
    connection.on("data", (chunk) => {
      text += chunk.toString();
    });
    connection.once("end", () => resolve(text));
  });
  assert.equal(answer, "thanks");
  assert.deepEqual(await got.promise, Buffer.concat([...sent, Buffer.from("ab")]));
  connection.destroy();
});

test("destroying tells those that wait, the error first, once, and not before the caller has gone on", async () => {
  serve = () => {};
  const connection = await connectUnix(SOCKETS, path);
  const heard: string[] = [];
  connection.on("error", ({ message }) => heard.push(message));
  connection.on("close", () => heard.push("closed"));
  connection.destroy(new Error("enough"));
  connection.destroy(new Error("again"));
  assert.deepEqual(heard, []);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(heard, ["enough", "closed"]);
  assert.equal(connection.write("x"), false);
});

test("a connection that the other side breaks is closed after what came is heard", async () => {
  serve = (socket) => socket.write("last words", () => socket.destroy());
  const connection = await connectUnix(SOCKETS, path);
  let text = "";
  connection.on("data", (chunk) => {
    text += chunk.toString();
  });
  const closed = new Promise<void>((resolve) => connection.on("close", resolve));
  connection.on("end", () => connection.destroy());
  await closed;
  assert.equal(text, "last words");
});

test("where nobody listens the error is as Node's", async () => {
  await assert.rejects(connectUnix(SOCKETS, join(folder, "nobody")), { code: "ENOENT", message: /^connect ENOENT \// });
});
