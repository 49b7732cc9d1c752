import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { replaceUnchanged, setHosts } from "./hosts-file.ts";
import { linkEnvironment, parseLink } from "./link.ts";
import type { ContainerRecord } from "./record.ts";

test("every form of a link is read", () => {
  assert.deepEqual(parseLink("db"), { target: "db", alias: "db" });
  assert.deepEqual(parseLink("db:my"), { target: "db", alias: "my" });
  assert.deepEqual(parseLink("/db:/app/my"), { target: "db", alias: "my" });
  for (const bad of ["", ":", "db:", ":x", "a:b:c"]) assert.throws(() => parseLink(bad), { kind: "invalid" }, bad);
});

test("variables tell the lowest port, runs of ports, each port, the name and the environment", () => {
  const ports = ["80/tcp", "8001/tcp", "8000/tcp", "53/udp", "8000/udp"];
  const other = {
    config: {
      ExposedPorts: Object.fromEntries(ports.map((port) => [port, {}])),
      Env: ["A=1=2", "EMPTY=", "BARE", "PATH=/bin", "HOME=/"],
    },
  } as unknown as ContainerRecord;
  const lines = linkEnvironment("app", "my-db", other, "10.0.0.2");
  assert.deepEqual(lines.slice(0, 5), [
    "MY_DB_PORT=udp://10.0.0.2:53",
    "MY_DB_PORT_8000_TCP_START=tcp://10.0.0.2:8000",
    "MY_DB_PORT_8000_TCP_PORT_START=8000",
    "MY_DB_PORT_8000_TCP_END=tcp://10.0.0.2:8001",
    "MY_DB_PORT_8000_TCP_PORT_END=8001",
  ]);
  assert.deepEqual(lines.slice(-3), ["MY_DB_NAME=/app/my-db", "MY_DB_ENV_A=1=2", "MY_DB_ENV_EMPTY="]);
  assert.equal(lines.filter((line) => /_(ADDR|PROTO)=/.test(line)).length, 10);
});

test("a hosts file gets and loses its lines in place, and keeps what the container wrote", () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-hosts-"));
  try {
    const path = join(folder, "hosts");
    writeFileSync(path, "127.0.0.1\tlocalhost\n10.0.0.2\tme\n10.9.9.9\tme too\nlast");
    setHosts(path, "me", ["10.0.0.3", "fd00::3"]);
    assert.equal(
      readFileSync(path, "utf8"),
      "127.0.0.1\tlocalhost\n10.9.9.9\tme too\nlast\n10.0.0.3\tme\nfd00::3\tme\n",
    );
    const settled = readFileSync(path, "utf8");
    setHosts(path, "me", ["10.0.0.3", "fd00::3"]);
    assert.equal(readFileSync(path, "utf8"), settled);
    setHosts(path, "me", []);
    assert.equal(readFileSync(path, "utf8"), "127.0.0.1\tlocalhost\n10.9.9.9\tme too\nlast\n");
    writeFileSync(path, "x".repeat((1 << 20) + 1));
    setHosts(path, "me", ["10.0.0.3"]);
    assert.equal(readFileSync(path).length, (1 << 20) + 1);
    setHosts(join(folder, "gone"), "me", ["10.0.0.3"]);
    writeFileSync(path, "before");
    replaceUnchanged(path, "else", "after");
    assert.equal(readFileSync(path, "utf8"), "before");
    replaceUnchanged(path, "before", "after");
    assert.equal(readFileSync(path, "utf8"), "after");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
