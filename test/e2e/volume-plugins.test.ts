import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { FolderPlugin } from "../../src/volumes/plugin.fixture.ts";
import { TestAuthority } from "../certificates.ts";
import { endChild, findProgram } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

let engine: TestEngine;
let plugin: FolderPlugin;
let folder = "";

before(async () => {
  engine = await startEngine({
    args: (root) => {
      folder = join(root, "plugins");
      mkdirSync(folder);
      return ["--plugin-dir", folder];
    },
  });
  plugin = await FolderPlugin.listen(join(folder, "folders.sock"), join(engine.root, "kept"), { scope: "global" });
});

after(async () => {
  await plugin[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const run = (...args: readonly string[]) => engine.ok("run", "--rm", "--network", "none", ...args);

/** What lets go of a volume comes behind the answer. */
async function unmounted(name: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; plugin.mounted.has(name); ) {
    assert.ok(Date.now() < deadline, `${name} stays mounted`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("volumes of a plugin are made, listed, inspected and removed by both clients", async () => {
  for (const tool of ["docker", "gantry"] as const) {
    if (tool === "docker" && NO_DOCKER) continue;
    const out = async (...args: string[]) => {
      const { code, stdout, stderr } = await engine.tool(tool, args);
      assert.equal(code, 0, stderr);
      return stdout.trim();
    };
    assert.equal(await out("volume", "create", "-d", "folders", "-o", "size=1g", "--label", "a=b", "made"), "made");
    assert.deepEqual(plugin.options.get("made"), { size: "1g" });
    assert.equal(await out("volume", "ls", "--format", "{{.Driver}} {{.Name}} {{.Scope}}"), "folders made global");
    assert.equal(await out("volume", "ls", "-q", "-f", "driver=folders"), "made");
    assert.equal(await out("volume", "ls", "-q", "-f", "driver=local"), "");
    const [shown] = JSON.parse(await out("volume", "inspect", "made"));
    assert.deepEqual(shown, {
      CreatedAt: "2024-01-02T03:04:05Z",
      Driver: "folders",
      Labels: { a: "b" },
      Mountpoint: "",
      Name: "made",
      Options: { size: "1g" },
      Scope: "global",
      Status: { holders: 0 },
    });
    assert.match(await out("system", "info", "--format", "{{.Plugins.Volume}}"), /^\[local folders\]$/);
    assert.equal(await out("system", "info", "--format", "{{.Plugins.Network}}"), "[bridge host ipvlan macvlan null]");
    assert.equal(await out("volume", "rm", "made"), "made");
    assert.equal(plugin.options.size, 0);
  }
});

test("containers use a plugin's volumes, however they ask for them", { skip: NO_DOCKER }, async () => {
  const mount = "type=volume,src=one,dst=/v,volume-driver=folders,volume-opt=kind=fast,volume-opt=n=1";
  await run("--mount", mount, "busybox", "sh", "-c", "echo written >/v/file");
  assert.deepEqual(plugin.options.get("one"), { kind: "fast", n: "1" });
  assert.equal(readFileSync(join(plugin.root, "one/file"), "utf8"), "written\n");
  await unmounted("one");
  assert.equal(await run("--volume-driver", "folders", "-v", "one:/v:ro", "busybox", "cat", "/v/file"), "written");
  assert.equal(await run("-v", "one:/v", "busybox", "cat", "/v/file"), "written");
  // The image's content goes into a plugin's volume as well, and a part of one can be mounted.
  await run("--volume-driver", "folders", "-v", "filled:/bin", "busybox", "true");
  assert.ok(existsSync(join(plugin.root, "filled/busybox")));
  mkdirSync(join(plugin.root, "one/sub"));
  writeFileSync(join(plugin.root, "one/sub/f"), "part\n");
  assert.equal(await run("--mount", "type=volume,src=one,dst=/p,volume-subpath=sub", "busybox", "cat", "/p/f"), "part");
  const id = await engine.ok(
    "run",
    "-d",
    "--network",
    "none",
    "-v",
    "one:/v",
    "--volume-driver",
    "folders",
    "-v",
    "/nameless",
    "busybox",
    "sleep",
    "100",
  );
  const { json } = await engine.request("GET", `/containers/${id}/json`);
  const rows = json.Mounts as { Name: string; Destination: string; Driver: string; Mode: string }[];
  assert.deepEqual(rows.map(({ Destination, Driver, Mode }) => [Destination, Driver, Mode]).sort(), [
    ["/nameless", "folders", ""],
    ["/v", "folders", ""],
  ]);
  const nameless = rows.find(({ Destination }) => Destination === "/nameless")!.Name;
  assert.ok(plugin.mounted.has(nameless) && plugin.mounted.has("one"));
  await engine.ok("cp", `${id}:/v/file`, join(engine.root, "copied"));
  assert.equal(readFileSync(join(engine.root, "copied"), "utf8"), "written\n");
  const refused = await engine.docker("volume", "rm", "one");
  assert.match(refused.stderr, new RegExp(`remove one: volume is in use - \\[${id}\\]`));
  await engine.ok("rm", "-f", "-v", id);
  await unmounted("one");
  for (const deadline = Date.now() + 10_000; plugin.options.has(nameless) && Date.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual([...plugin.options.keys()].sort(), ["filled", "one"]);
  await engine.ok("volume", "rm", "one", "filled");
});

test("a crash leaves no mount at a plugin, and keeps those of containers that go on", { skip: NO_DOCKER }, async () => {
  const id = await engine.ok(
    "run",
    "-d",
    "--network",
    "none",
    "--volume-driver",
    "folders",
    "-v",
    "kept:/k",
    "busybox",
    "sleep",
    "100",
  );
  const [before] = plugin.mounted.get("kept") ?? [];
  await engine.kill();
  await engine.start();
  assert.deepEqual([...(plugin.mounted.get("kept") ?? [])], [before]);
  await engine.ok("rm", "-f", id);
  await unmounted("kept");
  // The engine dies while the plugin mounts: who asked is gone, so it is let go of.
  await engine.ok("create", "--name", "starts", "--network", "none", "-v", "kept:/k", "busybox", "sleep", "100");
  plugin.behaviour = {
    ...plugin.behaviour,
    answer: ({ method, body }, self) => {
      if (method !== "VolumeDriver.Mount") return undefined;
      self.mounted.set(String(body.Name), new Set([String(body.ID)]));
      process.kill(engine.pid, "SIGKILL");
      return "hang";
    },
  };
  await engine.docker("start", "starts");
  assert.ok(plugin.mounted.has("kept"));
  plugin.behaviour = { scope: "global" };
  await engine.kill();
  await engine.start();
  await unmounted("kept");
  await engine.ok("rm", "starts");
  await engine.ok("volume", "rm", "kept");
});

test("a plugin that lies, refuses or hangs is told of by the start, while the engine answers others", {
  skip: NO_DOCKER,
}, async () => {
  await engine.ok("volume", "create", "-d", "folders", "bad");
  await engine.ok(
    "create",
    "--name",
    "wants",
    "--network",
    "none",
    "--mount",
    "type=volume,src=bad,dst=/b,volume-nocopy",
    "busybox",
    "true",
  );
  const answers: readonly [object | string, RegExp][] = [
    [{ Err: "the disk is on fire" }, /error while mounting volume 'bad': the disk is on fire/],
    [
      { Mountpoint: "relative" },
      /failed at VolumeDriver\.Mount: it answered with "relative" for Mountpoint, which is no absolute path/,
    ],
    ["<html>", /failed at VolumeDriver\.Mount: its answer is no JSON object/],
  ];
  for (const [answer, message] of answers) {
    plugin.behaviour = {
      ...plugin.behaviour,
      answer: ({ method }) => (method === "VolumeDriver.Mount" ? answer : undefined),
    };
    const { code, stderr } = await engine.docker("start", "wants");
    assert.notEqual(code, 0);
    assert.match(stderr, message);
    await unmounted("bad");
  }
  let hung: (() => void) | undefined;
  const isHanging = new Promise<void>((resolve) => {
    hung = resolve;
  });
  plugin.behaviour = {
    scope: "global",
    answer: ({ method }) => {
      if (method !== "VolumeDriver.Mount") return undefined;
      hung?.();
      return "hang";
    },
  };
  const start = engine.docker("start", "wants");
  await isHanging;
  assert.equal(await run("-v", "aside:/a", "busybox", "echo", "served"), "served");
  assert.match(await engine.ok("volume", "ls", "-q"), /bad/);
  await plugin.close();
  plugin.behaviour = { scope: "global" };
  await plugin.listen();
  // It came back before the engine lost its patience.
  assert.equal((await start).code, 0);
  await engine.ok("rm", "-f", "wants");
  await unmounted("bad");
  await engine.ok("volume", "rm", "bad", "aside");
});

test("what a plugin mounts by itself is seen by the container, and let go of before the plugin unmounts", {
  skip: NO_DOCKER,
}, async () => {
  plugin.behaviour = {
    scope: "global",
    answer: ({ method, body }, self) => {
      const path = join(self.root, String(body.Name));
      if (method === "VolumeDriver.Mount") {
        execFileSync("mount", ["-t", "tmpfs", "tmpfs", path]);
        writeFileSync(join(path, "fresh"), "mounted just now\n");
      } else if (method === "VolumeDriver.Unmount") execFileSync("umount", [path]);
      return undefined;
    },
  };
  await engine.ok("volume", "create", "-d", "folders", "real");
  const args = [
    "--mount",
    "type=volume,src=real,dst=/r,volume-nocopy",
    "busybox",
    "sh",
    "-c",
    "cat /r/fresh; echo x >/r/y",
  ];
  assert.equal(await run(...args), "mounted just now");
  await unmounted("real");
  plugin.behaviour = { scope: "global" };
  await engine.ok("volume", "rm", "real");
});

test("a plugin elsewhere is spoken to over TLS, each side knowing the other", async () => {
  const authority = new TestAuthority();
  const server = authority.issue({ names: ["127.0.0.1"] });
  const client = authority.issue({ commonName: "the engine", usage: "client" });
  const callers = new Set<string>();
  const options = { cert: server.cert, key: server.key, ca: authority.certificate.cert };
  const front = createServer({ ...options, requestCert: true, rejectUnauthorized: true }, (incoming, outgoing) => {
    const caller = (incoming.socket as TLSSocket).getPeerCertificate().subject?.CN;
    if (typeof caller === "string") callers.add(caller);
    const passed = request({ socketPath: plugin.socket, method: "POST", path: incoming.url }, (answer) =>
      answer.pipe(outgoing),
    );
    incoming.pipe(passed);
  });
  await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
  try {
    const file = (name: string, text: string) => {
      writeFileSync(join(engine.root, name), text);
      return join(engine.root, name);
    };
    const Addr = `tcp://127.0.0.1:${(front.address() as AddressInfo).port}`;
    const CAFile = file("ca.pem", authority.certificate.cert);
    const own = { CertFile: file("cert.pem", client.cert), KeyFile: file("key.pem", client.key) };
    const specs = {
      secure: { CAFile, ...own },
      unknown: { CAFile: file("other.pem", new TestAuthority("another").certificate.cert), ...own },
      unproven: { CAFile },
    };
    for (const [name, TLSConfig] of Object.entries(specs)) {
      writeFileSync(join(folder, `${name}.json`), JSON.stringify({ Name: name, Addr, TLSConfig }));
    }
    const make = async (Driver: string) =>
      (await engine.request("POST", "/volumes/create", { Name: `by-${Driver}`, Driver })).json;
    assert.equal((await make("secure")).Driver, "secure");
    assert.deepEqual([...callers], ["the engine"]);
    for (const name of ["unknown", "unproven"]) {
      assert.match((await make(name)).message, /the volume plugin ".*" failed at Plugin\.Activate: /, name);
      assert.ok(!plugin.options.has(`by-${name}`));
    }
    assert.equal((await engine.request("DELETE", "/volumes/by-secure")).status, 204);
  } finally {
    for (const name of ["secure", "unknown", "unproven"]) rmSync(join(folder, `${name}.json`), { force: true });
    front.closeAllConnections();
    front.close();
  }
});

const RCLONE = findProgram("rclone");
const NO_RCLONE =
  NO_DOCKER ||
  (RCLONE === undefined && "rclone, a plugin by others, is not installed") ||
  (findProgram("fusermount") === undefined && findProgram("fusermount3") === undefined && "rclone needs fusermount");

test("rclone's plugin serves a remote as a volume", { skip: NO_RCLONE }, async () => {
  const [remote, home, base] = ["remote", "home", "base"].map((name) => join(engine.root, name));
  for (const each of [remote!, home!, base!]) mkdirSync(each);
  writeFileSync(join(remote!, "hello"), "from afar\n");
  const socket = join(folder, "rclone.sock");
  const log = openSync(join(engine.root, "rclone.log"), "a");
  const where = ["--base-dir", base!, "--cache-dir", home!, "--config", join(home!, "rclone.conf")];
  const child = spawn(RCLONE!, ["serve", "docker", "--socket-addr", socket, "--no-spec", "--allow-other", ...where], {
    stdio: ["ignore", log, log],
    env: { ...process.env, HOME: home! },
  });
  closeSync(log);
  try {
    for (const deadline = Date.now() + 20_000; !existsSync(socket); ) {
      assert.ok(Date.now() < deadline && child.exitCode === null, "rclone does not listen");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await engine.ok("volume", "create", "-d", "rclone", "-o", "type=local", "-o", `path=${remote}`, "far");
    assert.equal(await run("-v", "far:/r", "busybox", "sh", "-c", "cat /r/hello; echo back >/r/made"), "from afar");
    const refused = await engine.docker("volume", "create", "-d", "rclone", "-o", "bogus=1", "farther");
    assert.match(refused.stderr, /create farther: VolumeDriver\.Create: unsupported backend option "bogus"/);
    await engine.ok("volume", "rm", "far");
    assert.equal(readFileSync(join(remote!, "made"), "utf8"), "back\n");
  } finally {
    await endChild(child, "SIGTERM", 10_000);
  }
});
