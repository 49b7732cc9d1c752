import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import type { ContainerPathStat, FilesystemChange } from "../../src/api/archive.ts";
import { type TarEntry, tarOf } from "../archive.ts";
import { type Answer, NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { mountsBelow } from "../leftovers.ts";

const TAR = { "Content-Type": "application/x-tar" };

function put(engine: TestEngine, name: string, path: string, archive: Uint8Array, more = ""): Promise<Answer> {
  return engine.request("PUT", `/containers/${name}/archive?path=${encodeURIComponent(path)}${more}`, archive, TAR);
}

function statOf(answer: Answer): ContainerPathStat {
  const header = String(answer.headers["x-docker-container-path-stat"]);
  return JSON.parse(Buffer.from(header, "base64").toString()) as ContainerPathStat;
}

async function shell(engine: TestEngine, name: string, script: string): Promise<string> {
  return engine.ok("exec", name, "sh", "-c", script);
}

describe("container files", { skip: NO_DOCKER }, () => {
  let engine: TestEngine;
  let victim: string;
  before(async () => {
    engine = await startEngine();
    victim = join(engine.root, "victim");
    mkdirSync(victim);
    writeFileSync(join(victim, "kept"), "untouched");
    await engine.ok("run", "-d", "--name", "up", "busybox", "sleep", "600");
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const tool of ["docker", "gantry"] as const) {
    const cp = (...args: string[]) => engine.tool(tool, ["cp", ...args]);

    test(`${tool} copies into and out of containers in every state`, async () => {
      const local = join(engine.root, `in-${tool}`);
      mkdirSync(join(local, "sub"), { recursive: true });
      writeFileSync(join(local, "a"), "one", { mode: 0o640 });
      writeFileSync(join(local, "sub/b"), Buffer.alloc(3_000_000, "x"));
      symlinkSync("a", join(local, "l"));
      for (const state of ["created", "running", "paused", "exited"]) {
        const name = `${state}-${tool}`;
        await engine.ok("create", "--name", name, "-v", "/vol", "busybox", "sleep", "600");
        if (state !== "created") await engine.ok("start", name);
        if (state === "paused") await engine.ok("pause", name);
        if (state === "exited") await engine.ok("kill", name);
        for (const place of ["/copied", "/vol/copied"]) {
          assert.deepEqual((await cp(local, `${name}:${place}`)).stderr, "");
          const out = join(engine.root, `out-${name}${place.replaceAll("/", "-")}`);
          assert.deepEqual((await cp(`${name}:${place}`, out)).stderr, "");
          execFileSync("diff", ["-r", "--no-dereference", local, out]);
        }
        if (state === "paused") await engine.ok("unpause", name);
        await engine.ok("rm", "-fv", name);
      }
    });

    test(`${tool} takes and gives archives by standard streams`, async () => {
      const archive = tarOf([{ name: "piped", body: "by pipe" }]);
      const put = await engine.tool(tool, ["cp", "-", "up:/tmp"], { input: archive });
      assert.equal(put.code, 0, put.stderr);
      const { bytes } = await cp("up:/tmp/piped", "-");
      assert.equal(execFileSync("tar", ["xO", "piped"], { input: bytes }).toString(), "by pipe");
      const refused = await engine.tool(tool, ["cp", "-", "up:/etc/passwd"], { input: archive });
      assert.match(refused.stderr, /^destination "up:\/etc\/passwd" must be a directory/);
    });
  }

  test("a path's stat has Go's bits, its own name and what a link leads to in the end", async () => {
    await shell(engine, "up", "mkdir -p /st/d; ln -s /st/d /st/l; ln -s l /st/ll; mkfifo /st/p; chmod 4751 /st/p");
    const stat = async (path: string) => statOf(await engine.request("HEAD", `/containers/up/archive?path=${path}`));
    assert.deepEqual(
      { ...(await stat("/st/ll")), mtime: "" },
      {
        name: "ll",
        size: 1,
        mode: 2 ** 27 + 0o777,
        mtime: "",
        linkTarget: "/st/d",
      },
    );
    assert.equal((await stat("/st/ll/")).mode, 2 ** 31 + 0o755);
    assert.equal((await stat("/st/d/.")).name, ".");
    assert.equal((await stat("/st/p")).mode, 2 ** 25 + 2 ** 23 + 0o751);
    assert.equal((await stat("/")).name, "/");
    assert.match((await stat("/st/p")).mtime, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/);
    assert.equal((await engine.request("HEAD", "/containers/up/archive?path=/nope")).status, 404);
  });

  test("what is read-only refuses an archive, a writable volume in a read-only container takes it", async () => {
    const args = ["--name", "ro", "--read-only", "-v", "/w", "-v", "ro-volume:/r:ro", "busybox", "sleep", "600"];
    await engine.ok("run", "-d", ...args);
    const archive = tarOf([{ name: "f", body: "x" }]);
    const refusal = async (path: string) => {
      const { status, json } = await put(engine, "ro", path, archive);
      return [status, json.message];
    };
    assert.deepEqual(await refusal("/"), [403, "container rootfs is marked read-only"]);
    assert.deepEqual(await refusal("/r"), [403, "mounted volume is marked read-only"]);
    assert.equal((await put(engine, "ro", "/w", archive)).status, 200);
    assert.equal(await shell(engine, "ro", "cat /w/f"), "x");
    await engine.ok("rm", "-fv", "ro");
    await engine.ok("volume", "rm", "ro-volume");
  });

  test("bodies may be compressed, and broken ones are refused", async () => {
    const archive = tarOf([{ name: "packed", body: "the same" }]);
    const by = (program: string) => execFileSync(program, ["-c"], { input: archive });
    for (const body of [gzipSync(archive), by("bzip2"), by("xz"), by("zstd")]) {
      await shell(engine, "up", "rm -f /tmp/packed");
      assert.equal((await put(engine, "up", "/tmp", body)).status, 200);
      assert.equal(await shell(engine, "up", "cat /tmp/packed"), "the same");
    }
    for (const body of [Buffer.from("no archive"), archive.subarray(0, 515), gzipSync(archive).subarray(0, 40)]) {
      assert.equal((await put(engine, "up", "/tmp", body)).status, 400);
    }
    assert.equal((await put(engine, "up", "/tmp", Buffer.alloc(0))).status, 200);
    assert.equal((await put(engine, "up", "/etc/passwd", archive)).json.message, "extraction point is not a directory");
    assert.equal((await put(engine, "up", "/not/there", archive)).status, 404);
  });

  const refused: readonly [string, readonly TarEntry[]][] = [
    ["a name that climbs out", [{ name: "../../escaped", body: "x" }]],
    ["a hard link out of the folder", [{ name: "h", type: "hardlink", link: "../etc/shadow" }]],
    ["a hard link to what isn't there", [{ name: "h", type: "hardlink", link: "missing" }]],
  ];
  for (const [what, entries] of refused) {
    test(`${what} is refused, though the rest of a large body still comes`, async () => {
      const archive = tarOf([...entries, { name: "more", body: Buffer.alloc(4_000_000) }]);
      const { status } = await put(engine, "up", "/tmp", archive);
      assert.ok(status === 400 || status === 409, String(status));
    });
  }

  test("the engine's own files in a container can't be replaced, nor what lies above a mount", async () => {
    for (const name of ["hosts", "hostname"]) {
      const { status, json } = await put(engine, "up", "/etc", tarOf([{ name, body: "x" }]));
      assert.deepEqual([status, /device or resource busy/.test(json.message)], [409, true]);
    }
    assert.equal((await put(engine, "up", "/", tarOf([{ name: "etc", body: "x" }]))).status, 409);
    assert.match(await shell(engine, "up", "cat /etc/hosts"), /localhost/);
  });

  test("names that mean deletions in layers are names, and special files arrive as they are", async () => {
    await shell(engine, "up", "mkdir /sp; echo > /sp/gone");
    const entries: TarEntry[] = [
      { name: ".wh.gone" },
      { name: ".wh..wh..opq" },
      { name: "null", type: "character", device: [1, 3] },
      { name: "pipe", type: "fifo" },
      { name: "su", body: "x", mode: 0o4755 },
      { name: "abs", type: "symlink", link: "/etc/passwd" },
      { name: "abs2", type: "hardlink", link: "su" },
    ];
    assert.equal((await put(engine, "up", "/sp", tarOf(entries))).status, 200);
    assert.equal(await shell(engine, "up", "ls -A /sp"), ".wh..wh..opq\n.wh.gone\nabs\nabs2\ngone\nnull\npipe\nsu");
    assert.equal(
      await shell(engine, "up", "stat -c '%F %a %h' /sp/null /sp/pipe /sp/su"),
      ["character special file 644 1", "fifo 644 1", "regular file 4755 2"].join("\n"),
    );
  });

  test("links are followed in the container only, also while it changes them", async () => {
    await shell(engine, "up", `mkdir -p ${victim} /race; echo in > ${victim}/inside; ln -s ${victim} /race/direct`);
    assert.equal((await put(engine, "up", "/race/direct", tarOf([{ name: "new", body: "x" }]))).status, 200);
    assert.equal((await put(engine, "up", "/race", tarOf([{ name: "direct/new2", body: "x" }]))).status, 200);
    const got = await engine.request("GET", "/containers/up/archive?path=/race/direct/");
    assert.ok(got.text.includes("inside") && !got.text.includes("untouched"));
    const script = `while :; do mkdir -p /race/x; rm -rf /race/x; ln -s ${victim} /race/x; rm /race/x; done`;
    await engine.ok("exec", "-d", "up", "sh", "-c", script);
    const archive = tarOf([
      { name: "x", type: "directory", mode: 0o777 },
      { name: "x/kept", body: "overwritten", mode: 0o777 },
      { name: "x/pipe", type: "fifo", mode: 0o777 },
    ]);
    for (let round = 0; round < 60; round++) await put(engine, "up", "/race", archive);
    assert.deepEqual(readdirSync(victim), ["kept"]);
    assert.equal(readFileSync(join(victim, "kept"), "utf8"), "untouched");
  });

  test("an archive keeps hard links, holes and fractions of seconds, and leaves sockets out", async () => {
    const shared = join(engine.root, "shared");
    mkdirSync(shared);
    await engine.ok("run", "-d", "--name", "kept", "-v", `${shared}:/k`, "busybox", "sleep", "600");
    const listener = createServer().listen(join(shared, "sock"));
    await once(listener, "listening");
    await shell(
      engine,
      "kept",
      "echo hard > /k/a; ln /k/a /k/b; dd if=/dev/zero of=/k/hole bs=1 seek=30000000 count=1 2>/dev/null",
    );
    const { bytes } = await engine.tool("docker", ["cp", "kept:/k", "-"]);
    listener.close();
    assert.ok(bytes.length < 1_000_000, `holes were sent: ${bytes.length}`);
    const rows = execFileSync("tar", ["tv", "--full-time"], { input: bytes }).toString();
    assert.match(rows, /30000001 .* k\/hole/);
    assert.match(rows, /k\/b link to k\/a/);
    assert.match(rows, /:\d\d\.(?!0{9})[\d ]{9} k\/a/);
    assert.ok(!rows.includes("k/sock"));
    const out = join(engine.root, "holes");
    for (const tool of ["docker", "gantry"] as const) {
      const copied = await engine.tool(tool, ["cp", "kept:/k/hole", `${out}-${tool}`]);
      assert.equal(copied.code, 0, copied.stderr);
      assert.equal(readFileSync(`${out}-${tool}`).length, 30_000_001);
    }
    await engine.ok("rm", "-f", "kept");
  });

  test("an archive belongs to whom it says, or with copyUIDGID to the container's own user", async () => {
    await engine.ok("run", "-d", "--name", "user", "-u", "77:88", "busybox", "sleep", "600");
    const archive = tarOf([{ name: "f", body: "x" }]);
    await put(engine, "user", "/tmp", archive);
    assert.equal(await shell(engine, "user", "stat -c %u:%g /tmp/f"), "0:0");
    await put(engine, "user", "/tmp", archive, "&copyUIDGID=1");
    assert.equal(await shell(engine, "user", "stat -c %u:%g /tmp/f"), "77:88");
    await engine.ok("rm", "-f", "user");
  });

  test("an export has the root filesystem with its mount points, and nothing of volumes", async () => {
    await engine.ok("run", "--name", "exp", "-v", "/vol", "busybox", "sh", "-c", "echo > /vol/inside; echo > /made");
    for (const tool of ["docker", "gantry"] as const) {
      const { bytes } = await engine.tool(tool, ["export", "exp"]);
      const names = execFileSync("tar", ["t"], { input: bytes }).toString().split("\n");
      for (const name of [".dockerenv", "dev/console", "proc/", "etc/hosts", "vol/", "made", "bin/sh"]) {
        assert.ok(names.includes(name), name);
      }
      assert.ok(!names.includes("vol/inside"));
    }
    const file = join(engine.root, "exported.tar");
    assert.equal((await engine.gantry("export", "-o", file, "exp")).code, 0);
    assert.ok(existsSync(file));
    await engine.ok("rm", "-v", "exp");
  });

  test("a commit stops the container for its time, and what it makes runs", async () => {
    const since = Math.floor(Date.now() / 1000);
    await shell(engine, "up", "echo changed > /committed; rm /linuxrc");
    const args = [
      "commit",
      "-a",
      "me",
      "-m",
      "why",
      "-c",
      'CMD ["cat", "/committed"]',
      "-c",
      "ENV A=b",
      "up",
      "made:one",
    ];
    const made = await engine.tool("gantry", args);
    assert.match(made.stdout, /^sha256:[0-9a-f]{64}\n$/, made.stderr);
    assert.equal(await engine.ok("run", "--rm", "made:one"), "changed");
    assert.equal(
      await engine.ok("run", "--rm", "made:one", "sh", "-c", "ls /linuxrc 2>&1; echo $A"),
      "ls: /linuxrc: No such file or directory\nb",
    );
    assert.equal(await engine.ok("inspect", "-f", "{{.State.Status}}", "up"), "running");
    const image = JSON.parse(await engine.ok("image", "inspect", "made:one"))[0];
    const base = JSON.parse(await engine.ok("image", "inspect", "busybox"))[0];
    assert.deepEqual([image.Author, image.Comment, image.Parent], ["me", "why", base.Id]);
    assert.equal(image.RootFS.Layers.length, base.RootFS.Layers.length + 1);
    const events = (
      await engine.ok(
        "events",
        "--since",
        String(since),
        "--until",
        String(Math.ceil(Date.now() / 1000)),
        "--filter",
        "event=pause",
        "--filter",
        "event=commit",
        "--filter",
        "event=unpause",
        "--format",
        "{{.Action}}",
      )
    ).split("\n");
    // It goes on as soon as what it changed is read.
    assert.deepEqual(events, ["pause", "unpause", "commit"]);
    assert.equal(
      (await engine.docker("commit", "-c", "FOO x", "up")).stderr.trim(),
      "Error response from daemon: FOO is not a valid change command",
    );
    assert.match((await engine.docker("commit", "up", "Bad")).stderr, /must be lowercase/);
    await engine.ok("create", "--name", "same", "busybox");
    const same = await engine.ok("commit", "same");
    assert.equal(
      JSON.parse(await engine.ok("image", "inspect", same))[0].RootFS.Layers.length,
      base.RootFS.Layers.length,
    );
    await engine.ok("rm", "same");
    await engine.ok("rmi", same, "made:one");
  });

  test("nothing stays mounted after copies, and a container starts while one is read", async () => {
    await engine.ok("create", "--name", "late", "busybox", "sh", "-c", "echo started > /mark; sleep 600");
    await put(engine, "late", "/", tarOf([{ name: "big", body: Buffer.alloc(40_000_000, "b") }]));
    const socket = await engine.connection();
    socket.write("GET /containers/late/archive?path=/big HTTP/1.1\r\nHost: x\r\n\r\n");
    await new Promise((resolve) => socket.once("readable", resolve));
    await engine.ok("start", "late");
    socket.destroy();
    // Its program may not have come to it yet.
    const deadline = Date.now() + 10_000;
    const mark = join(engine.root, "mark");
    const hasStarted = async () =>
      (await engine.docker("cp", "late:/mark", mark)).code === 0 && readFileSync(mark, "utf8") !== "";
    while (!(await hasStarted()) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(readFileSync(mark, "utf8"), "started\n");
    await engine.ok("rm", "-f", "late");
    const views = () => mountsBelow(engine.root).filter((path) => path.includes("/views/"));
    while (views().length > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(views(), []);
  });
});

for (const driver of ["overlay2", "vfs"]) {
  test(`changes are told as Docker tells them, on ${driver}`, { skip: NO_DOCKER }, async () => {
    await using engine = await startEngine({ args: ["--storage-driver", driver] });
    const script =
      "echo z >> /etc/passwd; rm /linuxrc; mkdir -p /new/dir; echo > /new/dir/f; chmod 700 /home; mkdir /etc/x";
    await engine.ok("create", "--name", "still", "busybox");
    assert.equal((await engine.request("GET", "/containers/still/changes")).text, "null\n");
    await engine.ok("run", "--name", "cc", "-v", "/vol", "busybox", "sh", "-c", script);
    const changes = (await engine.request("GET", "/containers/cc/changes")).json as FilesystemChange[];
    assert.deepEqual(
      changes.map(({ Kind, Path }) => `${Kind} ${Path}`),
      [
        "0 /etc",
        "0 /etc/passwd",
        "1 /etc/x",
        "0 /home",
        "2 /linuxrc",
        "1 /new",
        "1 /new/dir",
        "1 /new/dir/f",
        "1 /vol",
      ],
    );
    assert.equal(
      (await engine.gantry("diff", "cc")).stdout,
      await engine.docker("diff", "cc").then(({ stdout }) => stdout),
    );
    const id = await engine.ok("commit", "cc");
    assert.equal(
      await engine.ok("run", "--rm", id, "sh", "-c", "ls -d /new/dir/f /linuxrc 2>/dev/null; true"),
      "/new/dir/f",
    );
  });
}

test("a crash during a commit leaves no image, and the container goes on", { skip: NO_DOCKER }, async () => {
  await using engine = await startEngine();
  await engine.ok(
    "run",
    "-d",
    "--name",
    "cc",
    "busybox",
    "sh",
    "-c",
    "while :; do date +%s%N > /now; sleep 0.02; done",
  );
  for (const point of ["containers.commit.paused", "images.commit.unpacked", "images.commit.stored"]) {
    await engine.restart({ GANTRY_FAILPOINTS: `${point}=kill` });
    assert.notEqual((await engine.docker("commit", "cc", "half")).code, 0, point);
    await engine.stop();
    await engine.start();
    assert.equal(await engine.ok("inspect", "-f", "{{.State.Status}}", "cc"), "running", point);
    const before = await engine.ok("exec", "cc", "cat", "/now");
    const deadline = Date.now() + 5_000;
    while ((await engine.ok("exec", "cc", "cat", "/now")) === before)
      assert.ok(Date.now() < deadline, "it stands still");
    assert.equal(await engine.ok("images", "-aq", "--filter", "reference=half"), "");
    assert.equal((await engine.request("GET", "/images/json?all=1")).json.length, 1);
  }
});
