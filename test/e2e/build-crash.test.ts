import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { endChild } from "../command.ts";
import { GANTRY, startEngine, type TestEngine } from "../engine.ts";
import { startFaultyRegistry } from "../faulty-registry.ts";
import { mountsBelow, processesOf } from "../leftovers.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const options = { timeout: 90_000 };
const CACHE = "id=kept,target=/cache";
const PLAIN = ["--progress=plain"];
/** What each crash must leave as it is: steps that were acknowledged, an image, a cache mount. */
const KEPT = `FROM busybox
RUN echo kept > /kept
RUN --mount=type=cache,${CACHE} echo kept > /cache/file
`;

let engine: TestEngine;
let registry: TestRegistry | undefined;
let context = "";
/** Told apart, so that nothing of one build is found by the next. */
let number = 0;

before(async () => {
  engine = await startEngine();
  if (registryMissing() === false) registry = await startRegistry();
  context = join(engine.root, "context");
  mkdirSync(context);
  for (let file = 0; file < 50; file++) writeFileSync(join(context, `file-${file}`), `${file}\n`.repeat(2000));
  await built(KEPT, "-t", "kept");
});
after(async () => {
  await registry?.[Symbol.asyncDispose]();
  await engine?.[Symbol.asyncDispose]();
});

function build(dockerfile: string, ...args: readonly string[]) {
  writeFileSync(join(context, "Dockerfile"), dockerfile);
  return engine.gantry("build", ...PLAIN, ...args, context);
}

async function built(dockerfile: string, ...args: readonly string[]): Promise<string> {
  const { code, stderr, stdout } = await build(dockerfile, ...args);
  assert.equal(code, 0, `${stderr}${stdout}${engine.log}`);
  return stderr;
}

const localCache = (name: string) => `type=local,dest=${engine.root}/cache-${name},mode=max`;
/** A step that has the cache mount which is kept. */
const MOUNTED = `RUN --mount=type=cache,${CACHE} cat /cache/file\n`;

const fresh = () => `FROM busybox
RUN echo ${++number} > /number && seq 1 20000 > /many
COPY file-* /files/
RUN echo ${number} > /other
`;

/** Mounts, processes and files of builds that have ended. */
async function assertNothingStray(): Promise<void> {
  const { dataRoot, execRoot } = engine;
  const stray = () => [
    ...mountsBelow(join(execRoot, "build")),
    ...mountsBelow(join(execRoot, "sources")),
    ...filesIn(join(execRoot, "build/roots")),
    ...filesIn(join(execRoot, "build/outputs")),
    ...filesIn(join(execRoot, "sources")),
    ...filesIn(join(dataRoot, "build/sources/temporary")),
    ...filesIn(join(dataRoot, "build/writable")),
    ...(readdirSync(join(dataRoot, "build"), { recursive: true }) as string[]).filter((path) =>
      /(^|\/)(incoming|view|home)-/.test(path),
    ),
  ];
  const deadline = Date.now() + 10_000;
  while (stray().length > 0 && Date.now() < deadline) await delay(20);
  assert.deepEqual(stray(), []);
}

function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
}

/** What was acknowledged before is there, and nobody builds in the history. */
async function assertAllKept(isCached = true): Promise<void> {
  const { json: records } = await engine.request("GET", "/gantry/build/history");
  for (const record of records) assert.ok(isEnded(record), JSON.stringify(record));
  const again = await built(KEPT, "-t", "kept");
  if (isCached) assert.equal(again.match(/^#\d+ CACHED$/gm)?.length, 3, again);
  const mounted = await build(`FROM busybox\nRUN --mount=type=cache,${CACHE} cat /cache/file && : ${++number}\n`);
  assert.match(mounted.stderr, /^#\d+ [\d.]+ (kept|imported)$/m);
}

/** Points that no start and no check comes to: the engine that is checked can be the one that dies there. */
const OF_ITS_OWN: ReadonlySet<string> = new Set([
  "build.squash.applied",
  "build.cache-mount.packed",
  "build.cache-mount.filled",
  "build.cache-mount.exchanged",
  "images.push.uploaded",
]);
/** The point at which the engine that runs dies. */
let armed: string | undefined;

/** `next` is the point of the next test. */
async function crashes(point: string, act: () => Promise<unknown>, { isCached = true, next = "" } = {}): Promise<void> {
  if (armed !== point) {
    await engine.stop();
    await engine.start({ GANTRY_FAILPOINTS: `${point}=kill` });
  }
  armed = undefined;
  await act().catch(() => {});
  const deadline = Date.now() + 30_000;
  // Some points are behind the answer.
  while ((await isThere()) && Date.now() < deadline) await delay(20);
  assert.ok(!(await isThere()), `the engine never came to ${point}`);
  await engine.kill();
  armed = OF_ITS_OWN.has(next) ? next : undefined;
  await engine.start(armed === undefined ? {} : { GANTRY_FAILPOINTS: `${armed}=kill` });
  await assertNothingStray();
  await assertAllKept(isCached);
}

const isThere = () =>
  engine.request("GET", "/_ping").then(
    () => true,
    () => false,
  );

const target = (name: string) => `${registry?.host ?? ""}/${name}`;

describe("the engine is killed, and the next one finds nothing stray and all that was acknowledged", () => {
  const rows: readonly (readonly [what: string, point: string, act: () => Promise<unknown>])[] = [
    ["a step's command runs", "containers.step.started", () => build(fresh())],
    [
      "a cache is being exported to a folder",
      "images.assemble.packed",
      () => build(fresh(), "-o", "type=cacheonly", "--cache-to", localCache("layers")),
    ],
    [
      "cache mounts are being exported",
      "build.cache-mount.packed",
      () => build(fresh() + MOUNTED, "-o", "type=cacheonly", "--cache-to", `${localCache("mounts")},cache-mounts=true`),
    ],
    ["layers are being squashed", "build.squash.applied", () => build(fresh(), "--squash", "-t", "never")],
    ["a cache mount was filled by an archive", "build.cache-mount.filled", () => imports()],
    ["a cache mount was replaced by an archive", "build.cache-mount.exchanged", () => imports()],
  ];
  for (const [at, [what, point, act]] of rows.entries())
    test(`while ${what}`, options, () => crashes(point, act, { next: rows[at + 1]?.[1] }));

  test("while the cache is being pruned", options, () =>
    crashes("snapshots.discard.renamed", prunes, { isCached: false }),
  );

  const remote = { ...options, skip: registryMissing() };
  const uploaded = "images.push.uploaded";
  test("while a build pushes", remote, () =>
    crashes(uploaded, () => build(fresh(), "--push", "-t", target("pushed")), { next: uploaded }),
  );
  test("while a cache is being exported to a registry", remote, () =>
    crashes(uploaded, () =>
      build(fresh(), "-o", "type=cacheonly", "--cache-to", `type=registry,ref=${target("cache")},mode=max`),
    ),
  );
  test("while a cache is being imported", remote, async () => {
    const text = fresh();
    await built(text, "-o", "type=cacheonly", "--cache-to", `type=registry,ref=${target("there")},mode=max`);
    await engine.gantry("builder", "prune", "-af");
    await built(KEPT, "-t", "kept");
    await crashes("layers.unpacked", () =>
      build(text, "--cache-from", `type=registry,ref=${target("there")}`, "-t", "never"),
    );
  });
});

test("a squashed layer that can't be committed leaves nothing and says so", options, async () => {
  await engine.stop();
  await engine.start({ GANTRY_FAILPOINTS: "build.squash.applied=error:ENOSPC" });
  const { code, stderr } = await build(fresh(), "--squash", "-t", "never");
  assert.equal(code, 1);
  assert.match(stderr, /^ERROR: .*failed to solve: no space left on device$/m);
  await engine.restart();
  await assertNothingStray();
  await assertAllKept();
});

describe("a client is killed, and what it began is undone", () => {
  const begin = (...args: readonly string[]): ChildProcess =>
    spawn(GANTRY, args, {
      env: { ...process.env, GANTRY_HOST: `unix://${engine.socket}`, HOME: engine.root },
      stdio: ["pipe", "pipe", "ignore"],
    });
  async function killedWhen(child: ChildProcess, isTime: () => boolean | Promise<boolean>): Promise<void> {
    try {
      const deadline = Date.now() + 30_000;
      while (!(await isTime())) {
        assert.ok(Date.now() < deadline, "what was waited for never came");
        await delay(20);
      }
    } finally {
      await endChild(child, "SIGKILL", 10_000);
    }
    await ended();
    await assertNothingStray();
    await assertAllKept();
  }
  /** No build is under way any more. */
  async function ended(): Promise<void> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const { json } = await engine.request("GET", "/gantry/build/history");
      if (json.every(isEnded)) return;
      assert.ok(Date.now() < deadline, "a build goes on without its client");
      await delay(20);
    }
  }

  test("while its folder is sent", options, async () => {
    const large = join(engine.root, "large");
    mkdirSync(large);
    try {
      for (let file = 0; file < 64; file++) writeFileSync(join(large, `file-${file}`), Buffer.alloc(4 << 20, file));
      writeFileSync(join(large, "Dockerfile"), "FROM scratch\nCOPY . /\n");
      const incoming = () =>
        (readdirSync(join(engine.dataRoot, "build/sources"), { recursive: true }) as string[]).some((path) =>
          /\/incoming-[^/]*\/./.test(path),
        );
      await killedWhen(begin("build", "-q", large), incoming);
    } finally {
      rmSync(large, { recursive: true });
    }
  });

  test("while a step runs", options, async () => {
    const sleeping = () =>
      processesOf(engine.root).length > 0 && mountsBelow(join(engine.execRoot, "build")).length > 0;
    writeFileSync(join(context, "Dockerfile"), `FROM busybox\nRUN sleep 987654 && : ${++number}\n`);
    await killedWhen(begin("build", "-q", context), sleeping);
  });

  test("while it is sent a result that it doesn't take", options, async () => {
    const text = `FROM busybox\nRUN dd if=/dev/urandom of=/noise bs=1M count=64 && : ${++number}\n`;
    await built(text, "-o", "type=cacheonly");
    writeFileSync(join(context, "Dockerfile"), text);
    const child = begin("build", "-q", "-o", "type=tar,dest=-", context);
    let some = false;
    child.stdout?.once("readable", () => (some = true));
    await killedWhen(child, () => some);
  });

  /** What takes some time to be sent. */
  const large = () => {
    writeFileSync(
      join(context, "Dockerfile"),
      `FROM busybox\nRUN dd if=/dev/urandom of=/noise bs=1M count=32 && : ${++number}\n`,
    );
  };
  const hanging = { on: ["upload-chunk", "upload-end"], act: { kind: "hang" } } as const;
  const rows: readonly (readonly [what: string, args: (host: string) => readonly string[]])[] = [
    ["the result of its build is pushed", (host) => ["-o", `type=registry,name=${host}/never,registry.insecure=true`]],
    [
      "its cache is exported to a registry",
      (host) => [
        "-o",
        "type=cacheonly",
        "--cache-to",
        `type=registry,ref=${host}/never,mode=max,registry.insecure=true`,
      ],
    ],
  ];
  for (const [what, args] of rows) {
    test(`while ${what}`, options, async () => {
      await using registry = await startFaultyRegistry({ faults: [hanging] });
      large();
      const child = begin("build", "-q", ...args(registry.host), context);
      await killedWhen(child, () => registry.asked("upload-chunk").length + registry.asked("upload-end").length > 0);
      assert.equal(registry.stock.tags.size, 0);
    });
  }

  test("while its cache is exported to its folder", options, async () => {
    large();
    const folder = join(engine.root, "cache-cut");
    const child = begin("build", "-q", "-o", "type=cacheonly", "--cache-to", localCache("cut"), context);
    const begun = () =>
      existsSync(folder) &&
      (readdirSync(folder, { recursive: true }) as string[]).some(
        (path) => (statSize(join(folder, path)) ?? 0) > 1 << 20,
      );
    await killedWhen(child, begun);
    assert.ok(!existsSync(join(folder, "index.json")), "the export was over before its client was killed");
  });

  test("while it prunes: what it asked for is done", options, async () => {
    for (let count = 0; count < 3; count++) await built(fresh(), "-o", "type=cacheonly");
    const socket = await engine.connection();
    await new Promise((resolve) =>
      socket.write("POST /build/prune?all=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", resolve),
    );
    socket.destroy();
    const deadline = Date.now() + 20_000;
    const inUse = async () =>
      ((await engine.request("GET", "/system/df?type=build-cache")).json.BuildCache ?? []) as readonly unknown[];
    while ((await inUse()).length > 0) {
      assert.ok(Date.now() < deadline, JSON.stringify(await inUse()));
      await delay(20);
    }
    await assertNothingStray();
    // The cache mount went as well.
    await built(KEPT, "-t", "kept");
    await assertAllKept();
  });

  test("while it sends the contents of a cache mount", options, async () => {
    const child = begin("builder", "import-cache", "kept");
    child.stdin?.on("error", () => {});
    // The beginning of a member that never comes.
    const header = Buffer.alloc(512);
    header.write("file", 0);
    header.write("0000644\0", 100);
    header.write("77777777777\0", 124);
    header.write("ustar\u000000", 257);
    header.write("0", 156);
    header.fill(" ", 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    child.stdin?.write(header);
    child.stdin?.write(Buffer.alloc(1 << 20));
    const mounts = join(engine.dataRoot, "build/cache-mounts");
    const before = readdirSync(mounts).length;
    await killedWhen(child, () => readdirSync(mounts).some((id) => (statSize(join(mounts, id, "file")) ?? 0) > 100));
    assert.ok(readdirSync(mounts).length <= before);
  });
});

test("the image is whole, and once all is removed nothing of any of these builds takes up room", options, async () => {
  const { stdout } = await engine.gantry("run", "--rm", "kept", "cat", "/kept");
  assert.equal(stdout, "kept\n");
  await engine.gantry("image", "prune", "-af");
  await engine.gantry("builder", "prune", "-af");
  const { json } = await engine.request("GET", "/system/df");
  assert.deepEqual(json.BuildCache ?? [], []);
  assert.deepEqual(json.Images ?? [], []);
  for (const folder of ["build/cache-mounts", "build/sources/contexts"])
    assert.deepEqual(filesIn(join(engine.dataRoot, folder)), []);
});

function isEnded({ CompletedAt }: { readonly CompletedAt?: string }): boolean {
  return (CompletedAt ?? "") !== "";
}

/** Removes what nobody uses, but for cache mounts. */
async function prunes(): Promise<void> {
  await built(fresh(), "-o", "type=cacheonly");
  await engine.gantry("builder", "prune", "-f", "--filter", "type=regular");
}

async function imports(): Promise<void> {
  const archive = join(engine.root, "kept.tar");
  const tree = join(engine.root, "imported");
  mkdirSync(tree, { recursive: true });
  writeFileSync(join(tree, "file"), "imported\n");
  await engine.run("tar", ["-C", tree, "-cf", archive, "."]);
  await engine.gantry("builder", "import-cache", "kept", "-i", archive);
}

function statSize(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size;
}
