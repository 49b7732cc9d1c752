import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, connect as netConnect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { hasCode } from "../base/errors.ts";
import { isMountPoint, listMounts, mount, unmount } from "./mount.ts";
import { createNetns, inNetns, removeNetns, unshareMounts } from "./namespace.ts";

const own = () => readlinkSync("/proc/thread-self/ns/net");
let folder = "";
let path = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "netns-test-"));
  path = join(folder, "net");
});
afterEach(() => {
  removeNetns(path);
  rmSync(folder, { recursive: true });
});

test("a network namespace is bound to its path, empty but for its loopback, and the caller is back in its own", () => {
  const before = own();
  createNetns(path);
  assert.equal(own(), before);
  assert.equal(isMountPoint(path), true);
  const rows = inNetns(path, () => {
    assert.notEqual(own(), before);
    return readFileSync("/proc/thread-self/net/dev", "utf8").trim().split("\n").slice(2);
  });
  assert.deepEqual(
    rows.map((row) => row.trim().split(":")[0]).filter((name) => name === "eth0"),
    [],
  );
  assert.equal(own(), before);
});

test("what throws inside a namespace still comes back out", () => {
  const before = own();
  createNetns(path);
  assert.throws(
    () =>
      inNetns(path, () => {
        throw new Error("inside");
      }),
    /inside/,
  );
  assert.equal(own(), before);
});

test("a socket opened inside listens there and nowhere else", async () => {
  createNetns(path);
  const server = createServer();
  try {
    // Without a host Node opens the socket in this very call; with one, a tick later and so outside.
    inNetns(path, () => server.listen(0));
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    const socket = netConnect(address.port, "127.0.0.1");
    const error = await new Promise((resolve) => socket.once("error", resolve).once("connect", resolve));
    socket.destroy();
    assert.ok(hasCode(error, "ECONNREFUSED"));
  } finally {
    server.close();
  }
});

test("a path that is taken is refused and stays as it was", () => {
  writeFileSync(path, "mine");
  assert.throws(
    () => createNetns(path),
    (error) => hasCode(error, "EEXIST"),
  );
  assert.equal(readFileSync(path, "utf8"), "mine");
});

test("removing ends the mount and the file, twice without an error", () => {
  createNetns(path);
  removeNetns(path);
  removeNetns(path);
  assert.equal(existsSync(path), false);
  assert.deepEqual(listMounts(path), []);
});

test("a private mount namespace hides its mounts from the outside", () => {
  const outside = openSync("/proc/1/mountinfo", "r");
  try {
    unshareMounts();
    mount("test", folder, "tmpfs", 0);
    assert.equal(listMounts(folder).length, 1);
    assert.ok(!readFileSync(outside, "utf8").includes(folder));
    unmount(folder);
  } finally {
    closeSync(outside);
  }
});
