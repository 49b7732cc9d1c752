import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readdirSync, readSync, statSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { after, before, test } from "node:test";
import { mount, unmount } from "../kernel/mount.ts";
import { unixSocketPair } from "../kernel/unix-socket.ts";
import { readLog } from "./log-reader.ts";
import type { CreateProcess, LogTarget } from "./process.ts";
import { RuntimeFixture, readAll } from "./runtime.fixture.ts";

const MB = 1024 * 1024;
let fixture: RuntimeFixture;
before(async () => {
  fixture = await RuntimeFixture.make();
});
after(() => fixture[Symbol.asyncDispose]());

async function begin(request: CreateProcess): Promise<void> {
  await fixture.client.create(request);
  await fixture.client.start(request.id);
}

async function logged(target: LogTarget): Promise<{ readonly size: number; readonly hash: string }> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const line of readLog(target, { stdout: true, stderr: true, joined: true })) {
    size += line.data.length;
    hash.update(line.data);
  }
  return { size, hash: hash.digest("hex") };
}

test("a hundred megabytes arrive byte by byte at the client and in the log", async () => {
  const log = { path: join(fixture.folder, "log-100"), maxSize: 0, maxFiles: 1 };
  const block = Buffer.from("some line of text\n".repeat(291_272)).subarray(0, 5 * MB);
  writeFileSync(join(fixture.rootfs, "block"), block);
  const request = fixture.request(["sh", "-c", `cat${" /block".repeat(20)}`], { log });
  const { near, done } = await fixture.attach(request.id, { preamble: Buffer.from("begin:") });
  const hash = createHash("sha256");
  let size = 0;
  near.on("data", (part: Buffer) => {
    size += part.length;
    hash.update(part);
  });
  const end = new Promise((resolve) => near.once("end", resolve));
  await begin(request);
  assert.equal(await done, "exited");
  await end;
  near.end();
  const expected = createHash("sha256");
  for (let left = 100 * MB; left > 0; left -= block.length) expected.update(block.subarray(0, left));
  const wanted = expected.copy().digest("hex");
  assert.deepEqual(await logged(log), { size: 100 * MB, hash: wanted });
  const withPreamble = createHash("sha256").update("begin:");
  for (let left = 100 * MB; left > 0; left -= block.length) withPreamble.update(block.subarray(0, left));
  assert.equal(size, 100 * MB + 6);
  assert.equal(hash.digest("hex"), withPreamble.digest("hex"));
  await fixture.client.delete(request.id);
});

test("a client's half-close ends the input, and the output still comes", async () => {
  const request = fixture.request(["sh", "-c", "cat; echo done"], { openStdin: true, stdinOnce: true });
  const { near } = await fixture.attach(request.id, { stdin: true });
  const output = readAll(near);
  const typed = Buffer.alloc(3 * MB, "0123456789abcdef\n");
  // Written before there is a process, more than any pipe holds.
  near.end(typed);
  await begin(request);
  assert.ok((await output).equals(Buffer.concat([typed, Buffer.from("done\n")])));
  await fixture.client.delete(request.id);
});

test("several clients see the same, and input stays open when one that isn't the only one leaves", async () => {
  const request = fixture.request(["sh", "-c", "read a; echo got $a; read b; echo got $b"], { openStdin: true });
  const first = await fixture.attach(request.id, { stdin: true });
  const second = await fixture.attach(request.id, { stdin: true });
  const third = await fixture.attach(request.id);
  const outputs = [readAll(second.near), readAll(third.near)];
  await begin(request);
  first.near.write("one\n");
  await new Promise((resolve) => first.near.once("data", resolve));
  first.near.destroy();
  assert.equal(await first.done, "client-left");
  second.near.write("two\n");
  for (const output of outputs) assert.equal((await output).toString(), "got one\ngot two\n");
  for (const { near } of [second, third]) near.end();
  await fixture.client.delete(request.id);
});

test("a client that stops reading holds up its own container only, and not its end", async () => {
  const log = { path: join(fixture.folder, "log-slow"), maxSize: 0, maxFiles: 1 };
  const slow = fixture.request(["sh", "-c", "yes"], { log });
  const { near } = await fixture.attach(slow.id);
  near.pause();
  await begin(slow);
  assert.equal((await fixture.run(["sh", "-c", "yes | head -c 10000000"])).code, 0);
  assert.ok(statSync(log.path).size < 32 * MB);
  await fixture.client.kill(slow.id, 9);
  assert.equal((await fixture.exitOf(slow.id)).code, 137);
  near.destroy();
  await fixture.client.delete(slow.id);
});

test("a terminal echoes, has its size, and lets go of a client at the detach keys", async () => {
  const request = fixture.request(["sh", "-c", "stty size; read line; stty size; exit 3"], {
    terminal: true,
    openStdin: true,
  });
  const { near, done } = await fixture.attach(request.id, { stdin: true, detachKeys: Buffer.from([16, 17]) });
  const output = readAll(near);
  await fixture.client.create(request);
  await fixture.client.resize(request.id, undefined, 33, 99);
  await fixture.client.start(request.id);
  await new Promise((resolve) => near.once("data", resolve));
  near.write(Buffer.from([16, 17]));
  assert.equal(await done, "detached");
  assert.equal((await output).toString(), "33 99\r\n");
  near.end();
  const again = await fixture.attach(request.id, { stdin: true });
  const rest = readAll(again.near);
  await fixture.client.resize(request.id, undefined, 44, 111);
  again.near.write("hello\n");
  assert.equal((await fixture.exitOf(request.id)).code, 3);
  assert.equal((await rest).toString(), "hello\r\n44 111\r\n");
  again.near.end();

  await fixture.client.delete(request.id);
});

test("an exec can have a terminal of its own", async () => {
  const request = fixture.request(["sleep", "100"]);
  await begin(request);
  // The runtime gives the terminal its size while the process begins already.
  const script = 'until [ "$(stty size 2>/dev/null)" = "20 70" ]; do :; done; stty size; exit 8';
  const exec = fixture.execRequest(request.id, ["sh", "-c", script], { terminal: true, openStdin: true });
  exec.process.consoleSize = { height: 20, width: 70 };
  const { near } = await fixture.attach(request.id, { execId: exec.execId, stdin: true });
  const output = readAll(near);
  await fixture.client.exec(exec);
  assert.equal((await fixture.exitOf(exec.execId)).code, 8);
  assert.match((await output).toString(), /^20 70\r\n$/);
  near.end();
  await fixture.client.delete(request.id);
});

test("a stream that is no plain socket is joined through the engine", async () => {
  const request = fixture.request(["cat"], { openStdin: true, stdinOnce: true });
  const { near, far } = await fixture.sockets();
  const wrapped = Duplex.from({ readable: far, writable: far });
  const { ready, done } = fixture.client.attach({
    ...{ id: request.id, execId: undefined, stdin: true, stdout: true, stderr: true, multiplexed: true },
    ...{ detachKeys: new Uint8Array(), socket: wrapped, head: Buffer.from("he") },
  });
  await ready;
  const output = readAll(near);
  await begin(request);
  near.end("llo");
  assert.equal(await done, "exited");
  const text = (await output).toString("latin1").replaceAll(/\x01\0{6}[\x01-\x05]/g, "");
  assert.equal(text, "hello");
  await fixture.client.delete(request.id);
});

test("a full disk loses lines of the log, not the container or its client's output", async () => {
  const folder = join(fixture.folder, "small");
  mkdirSync(folder);
  mount("tmpfs", folder, "tmpfs", 0, "size=1m");
  try {
    const log = { path: join(folder, "log"), maxSize: 0, maxFiles: 1 };
    const request = fixture.request(["sh", "-c", "yes | head -c 20000000; exit 6"], { log });
    const { near } = await fixture.attach(request.id);
    const output = readAll(near);
    await begin(request);
    assert.equal((await fixture.exitOf(request.id)).code, 6);
    assert.equal((await output).length, 20_000_000);
    near.end();
    assert.ok((await logged(log)).size <= MB);
    await fixture.client.delete(request.id);
  } finally {
    unmount(folder, 2);
  }
});

test("a client that left before it was attached is told of as left, and holds nothing", async () => {
  const request = fixture.request(["sleep", "600"]);
  await begin(request);
  const descriptors = () => readdirSync(`/proc/${fixture.supervisorPid}/fd`).length;
  const before = descriptors();
  for (let round = 0; round < 20; round++) {
    const { near, far } = await fixture.sockets();
    near.destroy();
    await once(near, "close");
    const none = new Uint8Array();
    const streams = { stdin: true, stdout: true, stderr: true, multiplexed: true, detachKeys: none };
    const preamble = Buffer.from("hello");
    const session = fixture.client.attach({
      id: request.id,
      execId: undefined,
      ...streams,
      socket: far,
      head: none,
      preamble,
    });
    await session.ready;
    assert.equal(await session.done, "client-left");
  }
  assert.equal(descriptors(), before);
  await fixture.client.kill(request.id, 9);
  await fixture.exitOf(request.id);
  await fixture.client.delete(request.id);
});

test("output waits until the client has read the answer's head, so that one read never brings both", async () => {
  const request = fixture.request(["yes"]);
  await begin(request);
  // A client that is slow for other reasons is not waited for: any of the tries will do.
  const firstReads: string[] = [];
  for (let tries = 5; tries > 0 && firstReads.at(-1) !== "head:"; tries--) {
    const [mine, theirs] = unixSocketPair();
    const none = new Uint8Array();
    const session = fixture.client.attach({
      ...{ id: request.id, execId: undefined, stdin: false, stdout: true, stderr: true, multiplexed: false },
      ...{ detachKeys: none, socket: new Socket({ fd: theirs }).pause(), head: none },
      preamble: Buffer.from("head:"),
    });
    await session.ready;
    const block = Buffer.alloc(100);
    firstReads.push(block.toString("utf8", 0, readSync(mine, block)));
    const client = new Socket({ fd: mine });
    const [more] = await once(client, "data");
    assert.match(String(more), /y\n/);
    client.destroy();
    await session.done;
  }
  assert.equal(firstReads.at(-1), "head:", firstReads.join(" | "));
  await fixture.client.kill(request.id, 9);
  await fixture.exitOf(request.id);
  await fixture.client.delete(request.id);
});
