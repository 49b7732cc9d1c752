import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { flock, receiveFds, sendFds } from "./descriptor.ts";
import { acceptUnix, connectUnix, endWriting, isHungUp, listenUnix, unixSocketPair } from "./unix-socket.ts";

test("a descriptor goes over a socket with its bytes and is close-on-exec at the other side", () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-fds-"));
  const [near, far] = unixSocketPair();
  try {
    writeFileSync(join(folder, "file"), "content");
    const fd = openSync(join(folder, "file"), "r");
    assert.equal(receiveFds(far), undefined);
    assert.equal(sendFds(near, Buffer.from("hello"), [fd]), 5);
    closeSync(fd);
    const got = receiveFds(far);
    assert.equal(got?.bytes.toString(), "hello");
    assert.equal(got.fds.length, 1);
    assert.equal(readFileSync(got.fds[0]!, "utf8"), "content");
    const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${got.fds[0]}`, "utf8"))?.[1];
    assert.notEqual(Number.parseInt(flags!, 8) & 0o2000000, 0);
    closeSync(got.fds[0]!);
    endWriting(near);
    assert.equal(receiveFds(far)?.bytes.length, 0);
    assert.equal(isHungUp(far), false);
  } finally {
    closeSync(near);
    assert.equal(isHungUp(far), true);
    closeSync(far);
    rmSync(folder, { recursive: true });
  }
});

test("a Unix socket listens at a path, and an open file's lock has one holder", () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-sock-"));
  const path = join(folder, "s");
  const listening = listenUnix(path);
  const client = connectUnix(path);
  const accepted = acceptUnix(listening);
  assert.ok(accepted !== undefined);
  assert.equal(acceptUnix(listening), undefined);
  for (const fd of [listening, client, accepted]) closeSync(fd);
  assert.throws(() => connectUnix(path), { code: "ECONNREFUSED" });
  const first = openSync(join(folder, "lock"), "w");
  const second = openSync(join(folder, "lock"), "w");
  assert.equal(flock(first, "exclusive"), true);
  assert.equal(flock(second, "exclusive"), false);
  closeSync(first);
  assert.equal(flock(second, "exclusive"), true);
  closeSync(second);
  rmSync(folder, { recursive: true });
});
