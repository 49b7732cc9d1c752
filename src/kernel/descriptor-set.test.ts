import assert from "node:assert/strict";
import { closeSync, readdirSync } from "node:fs";
import { connect } from "node:net";
import { test } from "node:test";
import { acceptSocket, bindSocket, boundPort } from "./bound-socket.ts";
import { DescriptorSet } from "./descriptor-set.ts";

function listener(): { readonly fd: number; readonly port: number } {
  const fd = bindSocket("tcp", "127.0.0.1", 0);
  return { fd, port: boundPort(fd) };
}

test("tells which of many can be read, again and again, and no more of one that was taken out", async () => {
  const set = new DescriptorSet();
  const listeners = Array.from({ length: 200 }, listener);
  const calls: number[] = [];
  const called = new Map<number, () => void>();
  for (const { fd, port } of listeners) {
    set.add(fd, () => {
      const accepted = acceptSocket(fd);
      if (accepted !== undefined) closeSync(accepted);
      calls.push(port);
      called.get(port)?.();
    });
  }
  const dial = async (port: number) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    called.set(port, resolve);
    connect(port, "127.0.0.1")
      .on("error", () => {})
      .unref();
    await promise;
  };
  const [first, second] = [listeners[7]!, listeners[150]!];
  await dial(first.port);
  await dial(second.port);
  await dial(first.port);
  set.remove(first.fd);
  connect(first.port, "127.0.0.1")
    .on("error", () => {})
    .unref();
  await dial(second.port);
  assert.deepEqual(calls, [first.port, second.port, first.port, second.port]);
  for (const { fd } of listeners) {
    set.remove(fd);
    closeSync(fd);
  }
});

test("leaves nothing open when the last one is taken out, and can be used again", () => {
  const open = () => readdirSync("/proc/self/fd").length;
  const before = open();
  const set = new DescriptorSet();
  for (let round = 0; round < 2; round++) {
    const { fd } = listener();
    set.add(fd, () => {});
    assert.equal(open(), before + 2);
    set.remove(fd);
    set.remove(fd);
    closeSync(fd);
    assert.equal(open(), before);
  }
});
