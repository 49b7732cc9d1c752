import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

const NO_DISKS = ["mkfs.ext4", "resize2fs"].some(
  (name) => !existsSync(`/usr/sbin/${name}`) && !existsSync(`/sbin/${name}`),
)
  ? "e2fsprogs is not installed"
  : false;

let engine: TestEngine;

before(async () => {
  engine = await startEngine();
});

after(() => engine[Symbol.asyncDispose]());

// What a test that fails leaves must fail no other.
afterEach(async () => {
  const listed = (await engine.request("GET", "/containers/json?all=1")).json as { Id: string }[];
  for (const { Id } of listed) await engine.request("DELETE", `/containers/${Id}?force=1&v=1`);
  for (const { Name } of (await engine.request("GET", "/volumes")).json.Volumes) {
    await engine.request("DELETE", `/volumes/${Name}?force=1`);
  }
});

const folder = (...names: readonly string[]) => join(engine.dataRoot, "volumes", ...names);

/** A `gantry` command that must succeed: what it printed, trimmed. */
async function ok(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await engine.gantry(...args);
  assert.equal(code, 0, `gantry ${args.join(" ")}: ${stderr}${stdout}`);
  return stdout.trim();
}

/** One that must fail: its complaint. */
async function fails(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await engine.gantry(...args);
  assert.notEqual(code, 0, `gantry ${args.join(" ")}: ${stdout}`);
  return stderr.trim();
}

/** What a shell in a container with the volume at /v says. */
const inside = (volume: string, script: string) =>
  ok("run", "--rm", "-v", `${volume}:/v`, "busybox", "sh", "-c", script);

test("a volume of limited size is full in the container, and larger after an update", { skip: NO_DISKS }, async () => {
  await ok("volume", "create", "-o", "size=4M", "small");
  const { code, stderr } = await engine.gantry(
    "run",
    "--rm",
    "-v",
    "small:/v",
    "busybox",
    "dd",
    "if=/dev/zero",
    "of=/v/large",
    "bs=1M",
    "count=5",
  );
  assert.notEqual(code, 0);
  assert.match(stderr, /No space left on device/);
  assert.equal(await ok("volume", "update", "--size", "16M", "small"), "");
  await inside("small", "dd if=/dev/zero of=/v/large bs=1M count=5 2>/dev/null");
  assert.match(await ok("volume", "inspect", "-f", "{{.Options.size}} {{.Status.Limit}}", "small"), /^16M 16777216$/);
  assert.match(await ok("volume", "du", "small"), /\nsmall +5MiB +16MiB +31% +- +-$/);
  assert.match(await ok("volume", "ls", "--size", "--filter", "name=small"), /\nlocal +small +5MiB +16MiB$/);
  assert.deepEqual(mountsBelow(folder("small")), []);
  // What holds it is known again after a crash: the disk stays the same one.
  const id = await ok("run", "-d", "-v", "small:/v", "busybox", "sleep", "100");
  await engine.kill();
  await engine.start();
  assert.equal(mountsBelow(folder("small")).length, 1);
  assert.match(await inside("small", "ls -l /v"), /5242880 .* large$/);
  await ok("rm", "-f", id);
  assert.equal(await ok("volume", "rm", "small"), "small");
  assert.ok(!existsSync(folder("small")));
  const made = ["--mount", "type=volume,dst=/v,volume-opt=size=2M"];
  assert.match(await ok("run", "--rm", ...made, "busybox", "sh", "-c", "grep ' /v ' /proc/mounts"), / \/v ext4 /);
  // A container's removal is answered before its volumes of limited size are gone.
  for (const deadline = Date.now() + 10_000; readdirSync(folder()).length > 0; ) {
    assert.ok(Date.now() < deadline, "the anonymous volume stays");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

test("a renamed volume is that of the containers that had it", async () => {
  await inside("before", "echo kept >/v/file");
  await ok("create", "--name", "by-bind", "-v", "before:/v:ro", "busybox", "cat", "/v/file");
  await ok("create", "--name", "by-mount", "--mount", "source=before,target=/v", "busybox", "cat", "/v/file");
  await ok("run", "-d", "--name", "runs", "-v", "before:/v", "busybox", "sleep", "100");
  assert.match(
    await fails("volume", "rename", "before", "after"),
    /cannot rename volume before: runs \([0-9a-f]{12}\) is running with it: stop it first$/,
  );
  await ok("rm", "-f", "runs");
  await ok("volume", "rename", "before", "after");
  for (const name of ["by-bind", "by-mount"]) {
    assert.equal(await ok("start", "-a", name), "kept");
    assert.equal(
      await ok("inspect", "-f", "{{(index .Mounts 0).Name}} {{(index .Mounts 0).Source}}", name),
      `after ${folder("after/_data")}`,
    );
  }
  await engine.kill();
  await engine.start();
  assert.equal(await ok("start", "-a", "by-bind"), "kept");
  assert.match(
    await fails("volume", "rm", "after"),
    /remove after: volume is in use - \[[0-9a-f]{64}, [0-9a-f]{64}\] \((by-bind, by-mount|by-mount, by-bind)\)$/,
  );
  await ok("rm", "by-bind", "by-mount");
  await ok("volume", "rm", "after");
});

test("what runs is refused, or stands still while it is copied, and goes on", async () => {
  const id = await ok(
    "run",
    "-d",
    "--name",
    "writer",
    "-v",
    "busy:/v",
    "busybox",
    "sh",
    "-c",
    "while :; do date >>/v/log; done",
  );
  for (const args of [
    ["snapshot", "busy"],
    ["clone", "busy", "copy"],
    ["export", "busy"],
  ]) {
    assert.match(
      await fails("volume", ...args),
      /cannot \w+ volume busy: writer \([0-9a-f]{12}\) is running with it and may write to it: /,
    );
  }
  assert.equal(await ok("volume", "snapshot", "--pause", "busy", "still"), "still");
  assert.equal(await ok("volume", "clone", "--pause", "busy", "copy"), "copy");
  assert.equal(await ok("volume", "snapshot", "--force", "busy", "live"), "live");
  assert.equal(await ok("inspect", "-f", "{{.State.Paused}}", "writer"), "false");
  assert.equal(await ok("volume", "snapshot", "ls", "-q", "busy"), "still\nlive");
  assert.match(
    await fails("volume", "restore", "busy", "still"),
    /cannot restore volume busy: writer .* is running with it: stop it first$/,
  );
  await ok("rm", "-f", id);
  assert.equal(await ok("volume", "restore", "busy", "still"), "busy");
  const [restored, copied] = ["busy", "copy"].map((name) => readFileSync(folder(name, "_data/log"), "utf8"));
  assert.ok(restored!.length > 0 && copied!.startsWith(restored!));
  assert.match(await fails("volume", "rm", "busy"), /remove busy: volume has the snapshots still, live: /);
  assert.equal(await ok("volume", "snapshot", "rm", "busy", "still", "live"), "still\nlive");
  await ok("volume", "rm", "busy", "copy");
});

test("an archive goes from one volume to another by a pipe, by a file, or not at all", async () => {
  await inside("from", "mkdir /v/in; echo deep >/v/in/file; ln -s /etc/passwd /v/link; chown 12:34 /v");
  const gantry = join(import.meta.dirname, "../../bin/gantry");
  const piped = await engine.run("sh", ["-c", `${gantry} volume export from | gzip | ${gantry} volume import piped`]);
  assert.deepEqual([piped.code, piped.stdout.trim()], [0, "piped"], piped.stderr);
  const file = join(engine.root, "volume.tar");
  await ok("volume", "export", "-o", file, "from");
  await ok("volume", "import", "--label", "a=b", "filed", file);
  assert.equal(await ok("volume", "inspect", "-f", "{{.Labels.a}}", "filed"), "b");
  for (const name of ["piped", "filed"]) {
    assert.equal(await inside(name, "cat /v/in/file; readlink /v/link; stat -c %u:%g /v"), "deep\n/etc/passwd\n12:34");
  }
  assert.match(await fails("volume", "import", "filed", file), /cannot import into volume filed: it is not empty: /);
  writeFileSync(file, readFileSync(file).subarray(0, 700));
  assert.notEqual(await fails("volume", "import", "--replace", "filed", file), "");
  assert.equal(await inside("filed", "cat /v/in/file"), "deep");
  await ok("volume", "rm", "from", "piped", "filed");
  assert.deepEqual(readdirSync(folder()), []);
});

test("a volume of a cluster is refused clearly, and a link in the place of a volume's folder is not followed", async () => {
  for (const flag of ["--group=g", "--sharing=all", "--type=mount"]) {
    assert.match(await fails("volume", "create", flag, "cluster"), /This node is not a swarm manager\./);
  }
  await ok("volume", "create", "linked");
  const outside = join(engine.root, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "secret"), "");
  rmSync(folder("linked/_data"), { recursive: true });
  symlinkSync(outside, folder("linked/_data"));
  for (const args of [
    ["snapshot", "linked"],
    ["clone", "linked", "copy"],
    ["export", "linked"],
  ]) {
    assert.match(await fails("volume", ...args), /cannot use volume linked: .*_data is not a folder$/);
  }
  assert.match(await fails("run", "--rm", "-v", "linked:/v", "busybox", "ls", "/v"), /cannot use volume linked: /);
  await ok("volume", "rm", "linked");
  assert.deepEqual(readdirSync(outside), ["secret"]);
});

test("links that a container puts into a volume are copied as links, and never followed", async () => {
  await inside("hostile", "ln -s /etc/passwd /v/file; ln -s / /v/root; mkfifo /v/pipe; echo own >/v/own");
  await ok("volume", "clone", "hostile", "copy");
  assert.equal(
    await inside("copy", "readlink /v/file; readlink /v/root; cat /v/own; test -p /v/pipe && ls /v | wc -l"),
    "/etc/passwd\n/\nown\n4",
  );
  assert.match(await ok("volume", "du", "copy"), /\ncopy +\d+B /);
  await ok("volume", "rm", "hostile", "copy");
});

interface Crash {
  readonly point: string;
  readonly request: readonly [method: string, path: string];
  /** What the volume is called after the boot, what its file holds, and which snapshots and clones there are. */
  readonly left: Partial<{ name: string; file: string; snapshots: readonly string[]; others: readonly string[] }>;
}

const CRASHES: readonly Crash[] = [
  { point: "volumes.rename.recorded", request: ["POST", "data/rename?name=other"], left: { name: "other" } },
  { point: "volumes.rename.moved", request: ["POST", "data/rename?name=other"], left: { name: "other" } },
  { point: "volumes.clone.copied", request: ["POST", "data/clone?to=copy"], left: {} },
  { point: "volumes.draft.moved", request: ["POST", "data/clone?to=copy"], left: {} },
  { point: "volumes.snapshot.copied", request: ["POST", "data/snapshots?name=second"], left: {} },
  { point: "volumes.snapshot.moved", request: ["POST", "data/snapshots?name=second"], left: {} },
  { point: "volumes.snapshot.forgotten", request: ["DELETE", "data/snapshots/first"], left: { snapshots: [] } },
  { point: "volumes.draft.sealed", request: ["POST", "data/snapshots/first/restore"], left: {} },
  { point: "volumes.draft.replaced", request: ["POST", "data/snapshots/first/restore"], left: { file: "old" } },
  { point: "volumes.copy.paused", request: ["POST", "data/snapshots?name=second&pause=1"], left: {} },
];

describe("an engine that is killed in the midst of what is done to a volume", () => {
  for (const { point, request, left } of CRASHES) {
    const expected = { name: "data", file: "new", snapshots: ["first"], others: [], ...left };
    test(`at ${point} has it whole, before or after`, async () => {
      await ok("volume", "create", "data");
      writeFileSync(folder("data/_data/file"), "old");
      await ok("volume", "snapshot", "data", "first");
      writeFileSync(folder("data/_data/file"), "new");
      await ok("create", "--name", "user", "-v", "data:/v", "busybox", "sleep", "100");
      const pauses = request[1].includes("pause");
      if (pauses) await ok("start", "user");
      await engine.restart({ GANTRY_FAILPOINTS: `${point}=kill` });
      const [method, path] = request;
      // The answer of what takes long has begun before it breaks off.
      await engine.request(method, `/gantry/volumes/${path}`).then(
        ({ text }) => assert.ok(!text.includes('"aux"') && !text.includes("copied"), text),
        () => {},
      );
      await engine.kill();
      await engine.start();
      if (pauses)
        assert.equal(await ok("inspect", "-f", "{{.State.Paused}} {{.State.Status}}", "user"), "false running");
      assert.deepEqual(readdirSync(folder()).sort(), [expected.name, ...expected.others].sort());
      assert.equal(readFileSync(folder(expected.name, "_data/file"), "utf8"), expected.file);
      assert.deepEqual(readdirSync(folder(expected.name)).sort(), ["_data", "snapshots"]);
      assert.deepEqual(readdirSync(folder(expected.name, "snapshots")), expected.snapshots);
      assert.equal(await ok("volume", "snapshot", "ls", "-q", expected.name), expected.snapshots.join("\n"));
      assert.equal(await ok("inspect", "-f", "{{(index .Mounts 0).Name}}", "user"), expected.name);
      if (expected.name === "data" && expected.snapshots.length > 0) {
        const again = await engine.request(method, `/gantry/volumes/${path}`);
        assert.equal(again.status, 200, again.text);
        assert.ok(!again.text.includes('"error"'), again.text);
      }
      await ok("rm", "-f", "user");
      for (const { Name } of (await engine.request("GET", "/volumes")).json.Volumes)
        await ok("volume", "rm", "-f", Name);
      assert.deepEqual(readdirSync(folder()), []);
    });
  }

  test("at volumes.resize.grown has it whole, and larger when it is asked for again", { skip: NO_DISKS }, async () => {
    await ok("volume", "create", "-o", "size=2M", "data");
    await inside("data", "echo kept >/v/file");
    await engine.restart({ GANTRY_FAILPOINTS: "volumes.resize.grown=kill" });
    await assert.rejects(engine.request("POST", "/gantry/volumes/data/resize?size=4M"));
    await engine.kill();
    await engine.start();
    assert.equal(await inside("data", "cat /v/file"), "kept");
    await ok("volume", "update", "--size", "4M", "data");
    assert.equal(await inside("data", "cat /v/file"), "kept");
    await ok("volume", "rm", "data");
  });
});

test("what completes a volume's commands knows volumes and their snapshots", async () => {
  await ok("volume", "create", "completed");
  await ok("volume", "snapshot", "completed", "first");
  const complete = async (...words: readonly string[]) =>
    (await engine.gantry("__complete", "--words", ...words)).stdout;
  assert.match(await complete("volume", "restore", "comp"), /^completed\n/m);
  assert.match(await complete("volume", "restore", "completed", ""), /^first\n/m);
  assert.match(await complete("volume", "snapshot", "rm", "completed", ""), /^first\n/m);
  await ok("volume", "rm", "-f", "completed");
});
