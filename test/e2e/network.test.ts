import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { hostname } from "node:os";
import { after, before, describe, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

/** All that a TCP peer says until it closes. */
function readAll(port: number, host: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect(port, host);
  let text = "";
  socket.setTimeout(10_000, () => socket.destroy(new Error(`${host}:${port} says nothing`)));
  socket.on("data", (chunk) => {
    text += chunk.toString();
  });
  socket.once("error", reject);
  socket.once("close", () => resolve(text));
  return promise;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const GREETER = ["busybox", "nc", "-ll", "-p", "80", "-e", "echo", "hello"];

describe("networks", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  async function greeter(name: string, ...flags: string[]): Promise<void> {
    await engine.ok("run", "-d", "--name", name, ...flags, ...GREETER);
    await engine.ok("exec", name, "sh", "-c", "until grep -q ':0050 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done");
  }

  test("the default bridge gives an address, a route and names", async () => {
    const seen = await engine.ok(
      "run",
      "--rm",
      "--name",
      "names",
      "-h",
      "me",
      "--add-host",
      "friend:10.9.8.7",
      "busybox",
      "sh",
      "-c",
      "ip -4 -o addr show eth0 | wc -l; ip route | grep -c default; cat /etc/hosts; hostname",
    );
    const [addresses, routes] = seen.split("\n");
    assert.deepEqual([addresses, routes], ["1", "1"]);
    assert.match(seen, /127\.0\.0\.1\tlocalhost/);
    assert.match(seen, /10\.9\.8\.7\tfriend/);
    assert.match(seen, /\d+\.\d+\.\d+\.\d+\tme/);
  });

  test("a published port answers on every address, on loopback and from another container", async () => {
    const port = await freePort();
    await greeter("web", "-p", `${port}:80`);
    assert.equal(await readAll(port, "127.0.0.1"), "hello\n");
    assert.equal(await readAll(port, "::1"), "hello\n");
    const gateway = await engine.ok("inspect", "-f", "{{.NetworkSettings.Gateway}}", "web");
    assert.equal(await readAll(port, gateway), "hello\n");
    const address = await engine.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web");
    assert.equal(await engine.ok("run", "--rm", "busybox", "sh", "-c", `nc ${address} 80 < /dev/null`), "hello");
    assert.match(await engine.ok("port", "web"), new RegExp(`80/tcp -> 0\\.0\\.0\\.0:${port}`));
    await engine.ok("rm", "-f", "web");
    await assert.rejects(readAll(port, "127.0.0.1"), /ECONNREFUSED/);
  });

  test("-p takes an address, no host port, a range; -P takes what is exposed", async () => {
    await greeter("forms", "-p", "127.0.0.1::80", "-p", "81/udp");
    const [, port] = /80\/tcp -> 127\.0\.0\.1:(\d+)/.exec(await engine.ok("port", "forms")) ?? [];
    assert.equal(await readAll(Number(port), "127.0.0.1"), "hello\n");
    assert.match(await engine.ok("port", "forms", "81/udp"), /0\.0\.0\.0:\d+/);
    await engine.ok("rm", "-f", "forms");
    await greeter("all", "-P", "--expose", "80");
    const [, given] = /80\/tcp -> 0\.0\.0\.0:(\d+)/.exec(await engine.ok("port", "all")) ?? [];
    assert.equal(await readAll(Number(given), "127.0.0.1"), "hello\n");
    await engine.ok("rm", "-f", "all");
  });

  test("a port in use is refused, naming who has it, and what was begun is undone", async () => {
    const port = await freePort();
    await greeter("first", "-p", `${port}:80`);
    const second = await engine.docker("run", "-d", "--name", "second", "-p", `${port}:80`, "busybox", "sleep", "600");
    assert.equal(second.code, 125);
    assert.match(second.stderr, /port is already allocated: the container first has it/);
    assert.equal(await engine.ok("inspect", "-f", "{{.State.Status}}", "second"), "created");
    const server = createServer().listen(0, "0.0.0.0");
    await new Promise((resolve) => server.once("listening", resolve));
    const taken = (server.address() as { port: number }).port;
    const third = await engine.docker("run", "--rm", "-p", `${taken}:80`, "busybox", "true");
    server.close();
    assert.equal(third.code, 125);
    assert.match(third.stderr, new RegExp(`address already in use: process ${process.pid} \\(.+\\) has it`));
    await engine.ok("rm", "-f", "first");
    await engine.ok("start", "second");
    await engine.ok("rm", "-f", "second");
  });

  test("host shares the host's network, none has loopback alone", async () => {
    const own = await engine.run("sh", ["-c", "ls /sys/class/net | grep -c ."]);
    assert.ok(Number(own.stdout) >= 1);
    const hostSeen = await engine.ok("run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net");
    assert.equal(hostSeen, (await engine.run("readlink", ["/proc/self/ns/net"])).stdout.trim());
    assert.equal(await engine.ok("run", "--rm", "--network", "host", "busybox", "hostname"), hostname());
    assert.equal(
      await engine.ok(
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "ip -o link | wc -l; ping -c1 -W1 127.0.0.1 > /dev/null && echo lo",
      ),
      "1\nlo",
    );
  });

  test("container:X shares X's network and name", async () => {
    await greeter("shared", "-h", "sharer");
    assert.equal(
      await engine.ok(
        "run",
        "--rm",
        "--network",
        "container:shared",
        "busybox",
        "sh",
        "-c",
        "nc 127.0.0.1 80 < /dev/null; hostname; echo $HOSTNAME",
      ),
      "hello\nsharer\nsharer",
    );
    await engine.ok("rm", "-f", "shared");
    assert.match(
      (await engine.docker("run", "--rm", "--network", "nonsense", "busybox")).stderr,
      /network nonsense not found/,
    );
  });

  test("addresses and links of removed containers are free again", async () => {
    const bridge = await engine.ok(
      "network",
      "inspect",
      "-f",
      '{{index .Options "com.docker.network.bridge.name"}}',
      "bridge",
    );
    // The kernel takes a link down some milliseconds after the namespace that held its peer.
    const ports = (count: number) =>
      engine.run("sh", ["-c", `until [ $(ls /sys/class/net/${bridge}/brif | wc -l) = ${count} ]; do :; done`], {
        timeoutMs: 10_000,
      });
    await ports(0);
    const names = ["free-1", "free-2", "free-3"];
    await Promise.all(names.map((name) => engine.ok("run", "-d", "--name", name, "busybox", "sleep", "600")));
    await ports(3);
    const addresses = await engine.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", ...names);
    assert.equal(new Set(addresses.split("\n")).size, 3);
    await engine.ok("rm", "-f", ...names);
    await ports(0);
  });
});
