import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

let engine: TestEngine;

before(async () => {
  engine = await startEngine();
});

after(() => engine[Symbol.asyncDispose]());

const mountsOf = (volume: string) => mountsBelow(join(engine.dataRoot, "volumes", volume));

async function eventsOf(volume: string): Promise<string[]> {
  const now = Math.floor(Date.now() / 1000) + 1;
  const filters = encodeURIComponent(JSON.stringify({ type: ["volume"], volume: [volume] }));
  const { text } = await engine.request("GET", `/events?since=1&until=${now}&filters=${filters}`);
  return text
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { Action: string }).Action);
}

test("a tmpfs volume is mounted while a container runs, and no longer", { skip: NO_DOCKER }, async () => {
  const options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,noexec,uid=1234"];
  await engine.ok("volume", "create", ...options, "scratch");
  const df = await engine.ok(
    "run",
    "--rm",
    "-v",
    "scratch:/s",
    "busybox",
    "sh",
    "-c",
    "grep ' /s ' /proc/mounts; stat -c %u /s",
  );
  assert.match(df, /tmpfs \/s tmpfs .*noexec.*size=1024k/);
  assert.match(df, /\n1234$/);
  const id = await engine.ok("run", "-d", "-v", "scratch:/s", "busybox", "sh", "-c", "echo here >/s/file; sleep 100");
  await engine.ok(
    "run",
    "--rm",
    "-v",
    "scratch:/t",
    "busybox",
    "sh",
    "-c",
    "until grep here /t/file; do sleep 0.05; done",
  );
  assert.equal(mountsOf("scratch").length, 1);
  // What holds it is known again after a crash, and the mount is the same one.
  await engine.kill();
  await engine.start();
  assert.equal(await engine.ok("run", "--rm", "-v", "scratch:/t", "busybox", "cat", "/t/file"), "here");
  assert.equal(mountsOf("scratch").length, 1);
  await engine.ok("rm", "-f", id);
  assert.equal(await engine.ok("run", "--rm", "-v", "scratch:/t", "busybox", "ls", "/t"), "");
  await engine.ok("volume", "rm", "scratch");
  assert.deepEqual(mountsOf("scratch"), []);
});

test("removing a bind volume leaves alone what it was bound to", { skip: NO_DOCKER }, async () => {
  const source = join(engine.root, "precious");
  mkdirSync(source);
  writeFileSync(join(source, "file"), "kept\n");
  await engine.ok("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", `device=${source}`, "bound");
  assert.equal(
    await engine.ok("run", "--rm", "-v", "bound:/b", "busybox", "sh", "-c", "cat /b/file; echo more >>/b/file"),
    "kept",
  );
  const id = await engine.ok("run", "-d", "-v", "bound:/b", "busybox", "sleep", "100");
  const refused = await engine.docker("volume", "rm", "bound");
  assert.match(refused.stderr, new RegExp(`remove bound: volume is in use - \\[${id}\\]`));
  await engine.ok("rm", "-f", id);
  await engine.ok("volume", "rm", "bound");
  assert.equal(readFileSync(join(source, "file"), "utf8"), "kept\nmore\n");
  assert.deepEqual(
    (await eventsOf("bound")).filter((action) => action !== "mount" && action !== "unmount"),
    ["create", "destroy"],
  );
});

test("cp reaches what is on a volume's device while nothing runs, and lets go of it", { skip: NO_DOCKER }, async () => {
  const source = join(engine.root, "bound-files");
  mkdirSync(source);
  writeFileSync(join(source, "there"), "from the host");
  await engine.ok("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", `device=${source}`, "files");
  await engine.ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "fleeting");
  await engine.ok("create", "--name", "idle", "-v", "files:/f", "-v", "fleeting:/t", "busybox", "sleep", "100");
  const path = join(engine.root, "copied");
  await engine.ok("cp", "idle:/f/there", path);
  assert.equal(readFileSync(path, "utf8"), "from the host");
  writeFileSync(path, "into the host");
  await engine.ok("cp", path, "idle:/f/back");
  assert.equal(readFileSync(join(source, "back"), "utf8"), "into the host");
  await engine.ok("cp", path, "idle:/t/gone");
  // What lets go of them comes behind the answer.
  for (const deadline = Date.now() + 5000; mountsOf("files").length + mountsOf("fleeting").length > 0; ) {
    assert.ok(Date.now() < deadline, "the devices stay mounted");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.match(
    (await engine.docker("cp", "idle:/t/gone", path)).stderr,
    /Could not find the file \/t\/gone in container idle/,
  );
  await engine.ok("start", "idle");
  await engine.ok("cp", path, "idle:/t/stays");
  assert.equal(await engine.ok("exec", "idle", "cat", "/t/stays"), "into the host");
  await engine.ok("rm", "-f", "idle");
  await engine.ok("volume", "rm", "files", "fleeting");
});

test("a device that can't be mounted is told by the start, which leaves nothing", { skip: NO_DOCKER }, async () => {
  await engine.ok("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/nowhere/at/all", "broken");
  const { code, stderr } = await engine.docker("run", "--name", "wants-broken", "-v", "broken:/b", "busybox", "true");
  assert.notEqual(code, 0);
  const point = join(engine.dataRoot, "volumes/broken/_data");
  const text = `failed to mount local volume: mount /nowhere/at/all:${point}, flags: 0x1000: no such file or directory`;
  assert.ok(stderr.includes(text), stderr);
  await engine.docker("rm", "-f", "wants-broken");
  await engine.ok("volume", "rm", "broken");
  assert.ok(!existsSync(join(engine.dataRoot, "volumes/broken")));
});

test("a share's password is in no error", async () => {
  const DriverOpts = {
    type: "cifs",
    device: "//127.0.0.1/share",
    o: "addr=127.0.0.1,username=u,password=hunter2,port=1",
  };
  await engine.request("POST", "/volumes/create", { Name: "share", DriverOpts });
  const made = await engine.request("POST", "/containers/create", {
    Image: "busybox",
    HostConfig: { Binds: ["share:/s:nocopy"] },
  });
  const { status, json } = await engine.request("POST", `/containers/${made.json.Id}/start`);
  assert.equal(status, 500);
  assert.match(json.message, /error while mounting volume .*password=\*\*\*\*/);
  assert.doesNotMatch(json.message, /hunter2/);
  assert.doesNotMatch(engine.log, /hunter2/);
  await engine.request("DELETE", `/containers/${made.json.Id}`);
});

test("a prune takes named volumes only from clients of before API 1.42, or with all", async () => {
  await engine.request("POST", "/volumes/create", { Name: "named-one" });
  const prune = async (version: string, filters: object) =>
    engine.request("POST", `/v${version}/volumes/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`);
  assert.deepEqual((await prune("1.51", {})).json, { VolumesDeleted: [], SpaceReclaimed: 0 });
  assert.equal((await prune("1.41", { all: ["1"] })).json.message, "invalid filter 'all'");
  assert.deepEqual((await prune("1.41", { label: ["none"] })).json.VolumesDeleted, []);
  assert.deepEqual((await prune("1.41", {})).json.VolumesDeleted, ["named-one"]);
  await engine.request("POST", "/volumes/create", { Name: "named-two" });
  assert.deepEqual((await prune("1.51", { all: ["1"] })).json.VolumesDeleted, ["named-two"]);
});

test("names filter volumes as expressions, and only a swarm's volumes can be changed", async () => {
  for (const Name of ["f-one", "f-two", "f-three"]) await engine.request("POST", "/volumes/create", { Name });
  const names = async (filters: object) => {
    const { json } = await engine.request("GET", `/volumes?filters=${encodeURIComponent(JSON.stringify(filters))}`);
    return (json.Volumes as { Name: string }[]).map(({ Name }) => Name);
  };
  assert.deepEqual(await names({ name: ["^f-t(wo|hree)$"] }), ["f-three", "f-two"]);
  assert.deepEqual(await names({ name: ["f-["] }), []);
  assert.deepEqual(await names({ name: ["f-"], dangling: ["false"] }), []);
  const { status, json } = await engine.request("PUT", "/volumes/f-one?version=1", {});
  assert.deepEqual(
    [status, json.message],
    [503, "volume update only valid for cluster volumes, but swarm is unavailable"],
  );
});
