import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { getXattr } from "../../src/kernel/xattr.ts";
import { lazyRefusal } from "../../src/lazy/lazy-layers.ts";
import { sha256, type TarEntry, tarOf } from "../archive.ts";
import { ContainersTools, toolMissing } from "../containers-tools.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { type FaultyRegistry, startFaultyRegistry } from "../faulty-registry.ts";
import { mountsBelow, processesOf } from "../leftovers.ts";
import { imageOf, layerOf, randomBytesOf, type TestLayer } from "../oci-image.ts";
import { RECORDED, type Recorded, recordedLayer, recordedTree, treeBelowRecorded } from "../recorded-layers.ts";
import { registryMissing, startRegistry } from "../registry.ts";
import { annotateLayers, estargzLayerOf, type SeekableLayer, zstdChunkedLayerOf } from "../seekable-layer.ts";

const MB = 1 << 20;
const WAIT_MS = 40_000;
const BUSYBOX = readFileSync("/bin/busybox");
const FORMS: Readonly<Record<string, (entries: readonly TarEntry[]) => SeekableLayer>> = {
  estargz: (entries) => estargzLayerOf(entries, { chunkSize: 512 << 10, prefetched: 3 }),
  "zstd-chunked": (entries) => zstdChunkedLayerOf(entries, { chunkSize: 512 << 10 }),
};

/** A layer that a container can be started from, of some megabytes that it doesn't need. */
function below(seed: string, size = 7 * MB): TarEntry[] {
  return [
    { name: "bin/", type: "directory", mode: 0o755 },
    { name: "bin/busybox", body: BUSYBOX, mode: 0o755 },
    { name: "bin/sh", type: "symlink", link: "busybox" },
    { name: "etc/", type: "directory" },
    { name: "etc/passwd", body: "root:x:0:0::/:/bin/sh\njoe:x:1234:1234::/:/bin/sh\n" },
    { name: "etc/group", body: "root:x:0:\njoe:x:1234:\n" },
    { name: "big", body: randomBytesOf(seed, size) },
    { name: "tree/", type: "directory", mode: 0o1777, uid: 7, gid: 8, mtime: 1_600_000_000 },
    { name: "tree/owned", body: "owned\n", mode: 0o4750, uid: 1000, gid: 1001, mtime: 1_500_000_000 },
    { name: "tree/again", type: "hardlink", link: "tree/owned" },
    { name: "tree/link", type: "symlink", link: "../big" },
    { name: "tree/pipe", type: "fifo", mode: 0o600 },
    { name: "tree/null", type: "character", device: [1, 3], mode: 0o666 },
    { name: "tree/disk", type: "block", device: [259, 70_000], mode: 0o640 },
    { name: "tree/empty", body: "" },
    { name: "tree/gone", body: "of the layer below\n" },
    { name: "hidden/", type: "directory" },
    { name: "hidden/below", body: "hidden\n" },
    { name: "attributes", body: "has some\n", xattrs: { "user.note": "of the archive", "user.empty": "" } },
    { name: "ünï/", type: "directory" },
    { name: `ünï/${"n".repeat(200)}`, body: "long\n" },
  ];
}

function makeFolder(root: string): string {
  const folder = join(root, "podman");
  mkdirSync(folder);
  return folder;
}

const ABOVE: readonly TarEntry[] = [
  { name: "tree/", type: "directory", mode: 0o1777, uid: 7, gid: 8, mtime: 1_600_000_000 },
  { name: "tree/.wh.gone", body: "" },
  { name: "hidden/", type: "directory" },
  { name: "hidden/.wh..wh..opq", body: "" },
  { name: "hidden/above", body: "above\n" },
  { name: "more", body: randomBytesOf("more", 5 * MB) },
];

/** All that a walk shows of files, but for what every container has of its own. */
const WALK = [
  "find / -xdev ! -path / ! -path '/dev*' ! -path '/proc*' ! -path '/sys*' ! -path '/etc*' ! -name .dockerenv ! -name stargz.index.json",
  "sort > /dev/shm/names; while read -r name; do stat -c '%n %F %a %u %g %s %Y %t:%T' \"$name\"",
  '[ ! -h "$name" ] || readlink "$name"; if [ -f "$name" ] && [ ! -h "$name" ]; then stat -c %h "$name"; sha256sum "$name"; fi; done < /dev/shm/names',
  "[ /tree/owned -ef /tree/again ] && echo linked",
]
  .join("; ")
  .replace("; sort", " | sort");

/** An image has nothing but busybox itself. */
const WITH_BUSYBOX =
  'export PATH=/bin; for i in find sort stat readlink sha256sum cat ls; do alias $i="busybox $i"; done';

describe("images that are started before they are whole", { skip: lazyRefusal() ?? NO_DOCKER }, () => {
  let engine: TestEngine;
  let registry: FaultyRegistry;

  before(async () => {
    registry = await startFaultyRegistry();
    engine = await startEngine({
      image: false,
      args: ["--lazy-pull", "--registry-timeout", "2", "--max-download-attempts", "1"],
    });
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const ref = (name: string): string => `${registry.host}/${name}:latest`;

  function put(name: string, layers: readonly TestLayer[], diffIds?: readonly string[]): void {
    const options = diffIds === undefined ? {} : { diffIds };
    registry.add(`${name}:latest`, imageOf({ layers, editManifest: annotateLayers(layers), ...options }));
  }

  /** The rest is on its way until the registry is healed. */
  function slowly(layers: readonly TestLayer[], bytesPerSecond = MB / 2): void {
    registry.misbehave(
      ...layers.map(({ digest }) => ({ on: "blob", of: digest, act: { kind: "slow", bytesPerSecond } }) as const),
    );
  }

  const hang = (layers: readonly TestLayer[]): void =>
    registry.misbehave(...layers.map(({ digest }) => ({ on: "blob", of: digest, act: { kind: "hang" } }) as const));

  async function isUnderWay(name: string): Promise<boolean> {
    const { json } = await engine.request("GET", `/images/${name}/json`);
    return json.GraphDriver?.Data?.UnderWay !== undefined;
  }

  async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = Date.now() + WAIT_MS;
    while (!(await holds())) {
      assert.ok(Date.now() < deadline, `${what} did not come; the engine's log:\n${engine.log.slice(-3000)}`);
      await pause(50);
    }
  }

  const whole = (name: string): Promise<void> => until(`${name} whole`, async () => !(await isUnderWay(name)));

  /** Pids of the helper: the keeper, and the process that answers the kernel. */
  function helpers(role: "keeper" | "server"): number[] {
    return processesOf(engine.root).filter((pid) => {
      const line = existsSync(`/proc/${pid}/cmdline`) ? readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0") : [];
      const at = line.findIndex((word) => /lazy\/helper\/main\.js$/.test(word));
      return at >= 0 && (line[at + 2] === "serve") === (role === "server");
    });
  }

  /** A container that does nothing until it is told to. */
  async function started(name: string): Promise<string> {
    return await engine.ok("run", "--detach", ref(name), "/bin/busybox", "sleep", "1000");
  }

  const exec = (id: string, script: string) => engine.docker("exec", id, "/bin/sh", "-c", `busybox sh -c '${script}'`);

  /** Removes all, and looks that nothing is left of it. */
  async function removed(): Promise<void> {
    registry.heal();
    for (const id of (await engine.ok("ps", "--all", "--quiet")).split("\n").filter(Boolean)) {
      await engine.ok("rm", "--force", id);
    }
    for (const id of (await engine.ok("images", "--all", "--quiet")).split("\n").filter(Boolean)) {
      await engine.docker("rmi", "--force", id);
    }
    await until("the end of the helper", () => helpers("keeper").length + helpers("server").length === 0);
    await until("the end of its mount", () => mountsBelow(join(engine.execRoot, "lazy")).length === 0);
    const kept = join(engine.dataRoot, "lazy");
    await until("the end of what was kept", () => !existsSync(kept) || readdirSync(kept).length === 0);
    const { json } = await engine.request("GET", "/images/json?all=1");
    assert.deepEqual(json, []);
    await until("the end of snapshots", () => readdirSync(join(engine.dataRoot, "snapshots/overlay2/l")).length === 0);
    assert.deepEqual(readdirSync(join(engine.dataRoot, "content/blobs/sha256")), []);
  }

  for (const [form, layerFor] of Object.entries(FORMS)) {
    test(`${form}: a container speaks while most of its image is still at the registry, and shows the same files as later`, async () => {
      const layers = [layerFor(below(form)), layerFor(ABOVE)];
      put(form, layers);
      slowly(layers, MB);
      registry.forget();
      const pulled = await engine.ok("pull", ref(form));
      assert.match(pulled, /Starting lazily/);
      const first = await engine.ok(
        "run",
        "--rm",
        "--user",
        "joe",
        ref(form),
        "/bin/sh",
        "-c",
        "busybox id -u; busybox cat /etc/group",
      );
      assert.match(first, /^1234\n/);
      const sent = registry.asked("blob").reduce((sum, row) => sum + row.sent, 0);
      const total = layers.reduce((sum, { bytes }) => sum + bytes.length, 0);
      assert.ok(sent < total / 2, `${sent} of ${total} bytes were sent when the container had spoken`);
      assert.ok(await isUnderWay(ref(form)));
      // What reads all of it is answered as well, from whatever is here or comes.
      registry.heal();
      const id = await started(form);
      const wrapped = `${WITH_BUSYBOX}; ${WALK}`;
      const lazily = await engine.docker("exec", id, "/bin/busybox", "ash", "-c", `${wrapped}`);
      assert.equal(lazily.code, 0, lazily.stderr);
      await whole(ref(form));
      const later = await started(form);
      const ordinarily = await engine.docker("exec", later, "/bin/busybox", "ash", "-c", `${wrapped}`);
      assert.equal(ordinarily.code, 0, ordinarily.stderr);
      assert.deepEqual(lazily.stdout.split("\n"), ordinarily.stdout.split("\n"));
      assert.match(lazily.stdout, /linked/);
      assert.doesNotMatch(lazily.stdout, /gone|below/);
      // The first still stands on the helper, the second on snapshots; so does the first once it was restarted.
      const mountOf = (container: string): string =>
        readFileSync("/proc/self/mountinfo", "utf8")
          .split("\n")
          .find((line) => line.includes(`/${container}/rootfs `)) ?? "";
      assert.match(mountOf(id), /exec\/lazy\/\d+/);
      assert.doesNotMatch(mountOf(later), /exec\/lazy/);
      assert.equal(
        statSync(join(engine.execRoot, "lazy")).mode & 0o7777,
        0o700,
        "others on the machine get at its files",
      );
      for (const container of [id, later]) {
        const file = join(engine.execRoot, "bundles", container, "rootfs/attributes");
        assert.equal(getXattr(file, "user.note")?.toString(), "of the archive");
        assert.equal(getXattr(file, "user.empty")?.length, 0);
        assert.equal(getXattr(file, "user.other"), undefined);
      }
      await engine.ok("restart", "--time", "0", id);
      assert.doesNotMatch(mountOf(id), /exec\/lazy/);
      await removed();
    });
  }

  test("what podman 5.8 and ctr-remote make starts before it is whole, and shows the same files as its plain form", async () => {
    const forms = Object.keys(RECORDED) as Recorded[];
    const base = zstdChunkedLayerOf([...below("recorded", 6 * MB), ...forms.flatMap(treeBelowRecorded)]);
    const layers = [base, ...forms.map(recordedLayer)];
    put("recorded", layers);
    put("plain", [base, ...forms.map((form) => layerOf(recordedTree(form)))]);
    slowly([base]);
    assert.match(await engine.ok("pull", ref("recorded")), /Starting lazily/);
    const id = await started("recorded");
    assert.ok(await isUnderWay(ref("recorded")));
    // It stands on what is served for as long as it runs.
    const folders = forms.map((form) => `/${form}`).join(" ");
    const walk = `${WITH_BUSYBOX}; ${WALK.replace("find / ", `find ${folders} `)}`;
    const lazily = await engine.docker("exec", id, "/bin/busybox", "ash", "-c", walk);
    assert.equal(lazily.code, 0, lazily.stderr);
    const attributesOf = (container: string) =>
      forms.flatMap((form) => {
        const place = join(engine.execRoot, "bundles", container, "rootfs", form);
        return [
          getXattr(join(place, "attributes"), "user.note")?.toString(),
          getXattr(join(place, "capable"), "security.capability")?.toString("hex"),
        ];
      });
    const attributes = attributesOf(id);
    registry.heal();
    await whole(ref("recorded"));
    await engine.ok("pull", "--quiet", ref("plain"));
    for (const name of ["recorded", "plain"]) {
      const other = await started(name);
      const ordinarily = await engine.docker("exec", other, "/bin/busybox", "ash", "-c", walk);
      assert.deepEqual(lazily.stdout.split("\n"), ordinarily.stdout.split("\n"), name);
      assert.deepEqual(attributes, attributesOf(other), name);
    }
    assert.equal(attributes[0], "of the archive");
    for (const form of forms) {
      assert.match(lazily.stdout, new RegExp(`^/${form}/stays regular file 644 0 0 24 `, "m"));
      assert.doesNotMatch(lazily.stdout, new RegExp(`/${form}/(gone|hidden/below)`));
    }
    await removed();
  });

  test("what is killed is followed by another: a container that reads notices a pause", async () => {
    const seed = randomBytesOf("killed", 7 * MB);
    const layers = [zstdChunkedLayerOf(below("killed"), { chunkSize: 512 << 10 })];
    put("killed", layers);
    slowly(layers);
    await engine.ok("pull", ref("killed"));
    registry.forget();
    const id = await engine.ok("run", "--detach", ref("killed"), "/bin/busybox", "sha256sum", "/big");
    await until("a read", () => registry.asked("blob").length > 0);
    for (const role of ["server", "keeper", "server"] as const) {
      const [pid] = helpers(role);
      assert.ok(pid !== undefined, role);
      process.kill(pid, "SIGKILL");
      await until(
        `another ${role}`,
        () => helpers(role).some((other) => other !== pid) && helpers("keeper").length === 1,
      );
    }
    await engine.kill();
    registry.heal();
    process.kill(helpers("server")[0] ?? 0, "SIGKILL");
    await engine.start();
    assert.equal(await engine.ok("wait", id), "0", await engine.ok("logs", id));
    assert.equal(await engine.ok("logs", id), `${sha256(seed)}  /big`);
    await whole(ref("killed"));
    await removed();
  });

  test("a line that is cut fails reads with a word in the log, keeps nobody else waiting, and is forgotten when it is back", async () => {
    const layers = [estargzLayerOf(below("cut"), { chunkSize: 512 << 10 })];
    put("cut", layers);
    slowly(layers);
    await engine.ok("pull", ref("cut"));
    const id = await started("cut");
    // The program is there; of one that is not, its pages could not be had.
    assert.equal((await engine.docker("exec", id, "/bin/busybox", "sha256sum", "/bin/busybox")).code, 0);
    hang(layers);
    const reading = engine.docker("exec", id, "/bin/busybox", "sha256sum", "/big");
    // What the engine itself would have to read of the image is not there either: it says so, and goes on at once.
    const copying = engine.docker("cp", `${id}:/big`, "-");
    for (let count = 0; count < 20; count++) {
      const asked = performance.now();
      assert.equal((await engine.request("GET", `/containers/${id}/json`)).status, 200);
      assert.ok(performance.now() - asked < 2000, "the engine stood still");
    }
    const read = await reading;
    assert.notEqual(read.code, 0);
    assert.match(read.stderr, /Input\/output error/);
    assert.match(engine.log, /cannot read \/big of layer sha256:[0-9a-f]{64}: nothing came within 2 seconds/);
    const killed = await engine.ok("run", "--detach", ref("cut"), "/bin/busybox", "cat", "/attributes");
    await engine.docker("kill", killed);
    await engine.ok("wait", killed);
    const copied = await copying;
    if (copied.code !== 0) assert.match(copied.stderr, /its image .* is not whole yet: /);
    registry.heal();
    const again = await engine.docker("exec", id, "/bin/busybox", "sha256sum", "/big");
    assert.equal(again.stdout.split(" ")[0], sha256(randomBytesOf("cut", 7 * MB)), again.stderr);
    await removed();
  });

  test("an image that is not what its manifest says loses its names; what runs of it is told of and goes on", async () => {
    const layers = [estargzLayerOf(below("broken"), { chunkSize: 512 << 10 })];
    put("broken", layers, [`sha256:${"0".repeat(64)}`]);
    slowly(layers);
    await engine.ok("pull", ref("broken"));
    const id = await started("broken");
    const { json: before } = await engine.request("GET", `/images/${ref("broken")}/json`);
    const since = String(Math.floor(Date.now() / 1000) - 60);
    registry.heal();
    await until(
      "the end of its name",
      async () => (await engine.request("GET", `/images/${ref("broken")}/json`)).status === 404,
    );
    assert.match(engine.log, new RegExp(`is used no more: layers from manifest don't match.*${id}`));
    const events = await engine.ok(
      "events",
      "--since",
      since,
      "--until",
      String(Math.ceil(Date.now() / 1000)),
      "--filter",
      "type=image",
    );
    assert.match(events, new RegExp(`image broken ${before.Id}.*containers=${id}`));
    assert.equal((await engine.docker("exec", id, "/bin/busybox", "cat", "/tree/gone")).stdout, "of the layer below\n");
    const made = await engine.docker("create", before.Id, "/bin/sh");
    assert.match(made.stderr, /cannot use image .*: layers from manifest don't match image configuration/);
    const committed = await engine.docker("commit", id);
    assert.match(committed.stderr, /cannot commit: its image .* can't be had whole: layers from manifest/);
    const restarted = await engine.docker("restart", "--time", "0", id);
    assert.match(restarted.stderr, /cannot use image .*: layers from manifest don't match/);
    await removed();
  });

  test("chunks are believed by their digests alone: one that lies is an error until the layer is whole", async () => {
    const editToc = (rows: Record<string, unknown>[]) =>
      rows.map((row) =>
        row.name === "attributes"
          ? { ...row, digest: `sha256:${"1".repeat(64)}`, chunkDigest: `sha256:${"1".repeat(64)}` }
          : row,
      );
    const layers = [zstdChunkedLayerOf(below("liar", 6 * MB), { chunkSize: 512 << 10, editToc })];
    put("liar", layers);
    slowly(layers);
    await engine.ok("pull", ref("liar"));
    const id = await started("liar");
    const read = await engine.docker("exec", id, "/bin/busybox", "cat", "/attributes");
    assert.match(read.stderr, /Input\/output error/);
    assert.match(
      engine.log,
      /cannot read \/attributes of layer .*: what the registry sent is not what the layer's table of contents says/,
    );
    registry.heal();
    await whole(ref("liar"));
    assert.equal(await engine.ok("run", "--rm", ref("liar"), "/bin/busybox", "cat", "/attributes"), "has some");
    await removed();
  });

  test("a layer that can't be served is pulled as any other, and the image is what it is", async () => {
    const hostile: Readonly<Record<string, (rows: Record<string, unknown>[]) => unknown[]>> = {
      outside: (rows) => [...rows, { name: "../../etc/shadow", type: "reg", size: 0 }],
      beyond: (rows) => rows.map((row) => (row.name === "big" ? { ...row, offset: 2 ** 50 } : row)),
    };
    for (const [name, editToc] of Object.entries(hostile)) {
      const layers = [estargzLayerOf(below(name, 5 * MB), { editToc })];
      put(name, layers);
      assert.match(
        await engine.ok("pull", ref(name)),
        /Not starting before it is whole: cannot use the layer's table of contents/,
      );
    }
    const honest = estargzLayerOf(below("another", 5 * MB));
    const annotations = {
      ...honest.annotations,
      "containerd.io/snapshot/stargz/toc.digest": `sha256:${"a".repeat(64)}`,
    };
    const lying: SeekableLayer = { ...honest, annotations };
    put("another", [lying]);
    assert.match(await engine.ok("pull", ref("another")), /it is another than the layer's annotation says/);
    const rangeless = [zstdChunkedLayerOf(below("rangeless", 5 * MB))];
    put("rangeless", rangeless);
    registry.misbehave({ on: "blob", of: rangeless[0]!.digest, act: { kind: "no-ranges" } });
    assert.match(await engine.ok("pull", ref("rangeless")), /cannot read a part of .*: all of it came/);
    registry.heal();
    // Below an ordinary layer, and too small to gain anything.
    put("covered", [estargzLayerOf(below("covered", 5 * MB)), layerOf([{ name: "on-top", body: "ordinary\n" }])]);
    put("small", [estargzLayerOf(below("small", 1000))]);
    put("asked", [estargzLayerOf(below("asked", 5 * MB))]);
    for (const name of ["covered", "small"])
      assert.doesNotMatch(await engine.ok("pull", ref(name)), /lazily|Not starting/);
    const asked = await engine.request("POST", `/images/create?fromImage=${encodeURIComponent(ref("asked"))}&lazy=0`);
    assert.doesNotMatch(asked.text, /lazily|error/);
    for (const name of [...Object.keys(hostile), "another", "rangeless", "covered", "small", "asked"]) {
      assert.ok(!(await isUnderWay(ref(name))), name);
      // Of each way that it came.
      if (!["beyond", "another", "rangeless", "covered"].includes(name)) continue;
      assert.equal(
        await engine.ok("run", "--rm", ref(name), "/bin/busybox", "cat", "/tree/gone"),
        "of the layer below",
      );
    }
    await removed();
  });

  test("what one image says that a layer is, no other image is given", async () => {
    const [honest, lying] = ["honest", "lying"].map((name) => estargzLayerOf(below(name, 5 * MB)));
    put("lying", [lying!], [honest!.diffId]);
    put("honest", [honest!, estargzLayerOf(ABOVE)]);
    registry.misbehave({ on: "blob", of: lying!.digest, act: { kind: "slow", bytesPerSecond: 256 << 10 } });
    assert.match(await engine.ok("pull", ref("lying")), /Starting lazily/);
    assert.match(
      await engine.ok("pull", ref("honest")),
      /Not starting before it is whole: layer sha256:[0-9a-f]{64} is served from another blob/,
    );
    assert.ok(await isUnderWay(ref("lying")));
    assert.ok(!(await isUnderWay(ref("honest"))));
    const sum = await engine.ok("run", "--rm", ref("honest"), "/bin/busybox", "sha256sum", "/big");
    assert.equal(sum, `${sha256(randomBytesOf("honest", 5 * MB))}  /big`);
    await removed();
  });

  test("an ordinary layer below is fetched first, and what waits for the whole gets it", async () => {
    const layers = [
      layerOf(below("base", 1000)),
      estargzLayerOf([
        { name: "top", body: randomBytesOf("top", 6 * MB) },
        { name: "data/", type: "directory" },
        { name: "data/file", body: "of the image\n" },
      ]),
    ];
    put("mixed", layers);
    slowly([layers[1]!], 2 * MB);
    assert.match(await engine.ok("pull", ref("mixed")), /Starting lazily/);
    const id = await started("mixed");
    assert.equal(
      (await exec(id, "busybox cat /data/file > /data/copy; busybox cat /data/copy")).stdout,
      "of the image\n",
    );
    const saved = engine.run("bash", ["-c", `docker save ${ref("mixed")} | wc -c`]);
    // A volume takes what the image has there: all of it.
    const filled = engine.ok("run", "--rm", "--volume", "/data", ref("mixed"), "/bin/busybox", "cat", "/data/file");
    assert.match(await engine.ok("diff", id), /A \/data\/copy/);
    assert.equal(await filled, "of the image");
    assert.ok(Number((await saved).stdout) > 6 * MB);
    assert.ok(!(await isUnderWay(ref("mixed"))));
    await engine.ok("tag", ref("mixed"), "kept:1");
    await removed();
  });

  test("what podman pushes as zstd:chunked starts so as well", {
    skip: toolMissing("podman") || registryMissing(),
  }, async () => {
    await using source = await startRegistry();
    const tools = new ContainersTools(makeFolder(source.root));
    const archive = join(source.root, "podman", "image.tar");
    const holes = Buffer.concat([
      randomBytesOf("before", 100_000),
      Buffer.alloc(3 * MB),
      randomBytesOf("behind", 100_000),
    ]);
    writeFileSync(archive, tarOf([...below("podman", 6 * MB), { name: "holes", body: holes }]));
    await tools.ok("podman", "import", "--quiet", archive, "chunked:1");
    const how = ["--tls-verify=false", "--quiet", "--compression-format", "zstd:chunked"];
    await tools.ok("podman", "push", ...how, "chunked:1", `docker://${source.host}/by-podman`);
    const name = `${source.host}/by-podman:latest`;
    assert.match(await engine.ok("pull", name), /Starting lazily/);
    const sums = ["run", "--rm", name, "/bin/busybox", "sha256sum", "/holes", "/big", "/tree/again", "/tree/empty"];
    const lazily = await engine.ok(...sums);
    assert.ok(lazily.includes(sha256(holes)), lazily);
    await whole(name);
    assert.equal(await engine.ok(...sums), lazily);
    await removed();
  });

  test("rmi ends a pull that goes on, unless a container needs the rest of it", async () => {
    const layers = [estargzLayerOf(below("left"))];
    put("left", layers);
    slowly(layers);
    await engine.ok("pull", ref("left"));
    const id = await engine.ok("create", ref("left"), "/bin/sh");
    const { json } = await engine.request("GET", `/images/${ref("left")}/json`);
    const refused = await engine.docker("rmi", "--force", json.Id);
    assert.match(
      refused.stderr,
      /conflict: unable to delete .* \(cannot be forced\) - image is not whole yet, and container/,
    );
    // An engine that ends with nothing running ends the helper as well, and the next begins with what it left.
    await engine.restart();
    assert.ok(await isUnderWay(ref("left")));
    assert.equal(await engine.ok("start", "--attach", id), "");
    await engine.ok("rm", id);
    await engine.ok("pull", ref("left"));
    await engine.ok("rmi", ref("left"));
    await removed();
  });

  test("an engine that is killed anywhere goes on with the pull, by credentials that are on no disk", async () => {
    await using guarded = await startFaultyRegistry({ auth: "basic" });
    const layers = [zstdChunkedLayerOf(below("guarded"), { chunkSize: 512 << 10 })];
    guarded.add("guarded:latest", imageOf({ layers, editManifest: annotateLayers(layers) }));
    guarded.misbehave({ on: "blob", of: layers[0]!.digest, act: { kind: "slow", bytesPerSecond: MB / 2 } });
    const name = `${guarded.host}/guarded:latest`;
    const auth = Buffer.from(JSON.stringify({ username: "joe", password: "secret" })).toString("base64url");
    await engine.restart({ GANTRY_FAILPOINTS: "images.pull.recorded=kill" });
    const wish = `/images/create?fromImage=${encodeURIComponent(name)}`;
    await engine.request("POST", wish, undefined, { "X-Registry-Auth": auth }).catch(() => {});
    await engine.kill();
    await engine.start();
    assert.ok(await isUnderWay(name));
    const id = await engine.ok("run", "--detach", name, "/bin/busybox", "sleep", "1000");
    await engine.kill();
    for (const pid of [...helpers("keeper"), ...helpers("server")]) {
      for (const file of ["cmdline", "environ"])
        assert.doesNotMatch(readFileSync(`/proc/${pid}/${file}`, "utf8"), /secret/);
    }
    const logs = readdirSync(engine.execRoot).filter((file) => file.endsWith(".log"));
    const files = [
      engine.dataRoot,
      ...logs.map((file) => join(engine.execRoot, file)),
      join(engine.root, "engine.log"),
    ];
    const words = [auth, '"secret"', Buffer.from("joe:secret").toString("base64")].flatMap((word) => ["-e", word]);
    const found = await engine.run("grep", [
      "--recursive",
      "--binary-files=text",
      "--files-with-matches",
      "--fixed-strings",
      ...words,
      ...files,
    ]);
    assert.equal(found.stdout, "");
    await engine.start({ GANTRY_FAILPOINTS: "images.lazy.fetched=kill" });
    guarded.heal();
    const { pid } = engine;
    await until("the end of the engine", () => !processesOf(engine.root).includes(pid));
    await engine.kill();
    await engine.start();
    assert.equal((await engine.docker("exec", id, "/bin/busybox", "cat", "/tree/gone")).stdout, "of the layer below\n");
    await whole(name);
    await engine.ok("rm", "--force", id);
    await engine.ok("rmi", name);
    await removed();
  });
});
