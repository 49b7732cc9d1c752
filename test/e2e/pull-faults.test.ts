import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { startEngine, type TestEngine } from "../engine.ts";
import { startFaultyRegistry } from "../faulty-registry.ts";
import { imageOf, indexOf, randomImage, type TestImage } from "../oci-image.ts";
import { linesOf, type ProgressLine } from "../progress-lines.ts";
import { followPull, pull, pullWell, rowsOf } from "../pulling.ts";

const LAYER = 12 << 20;

/** What of images lies on the disk: names of blobs, of partial downloads and the count of snapshots. */
function stored(engine: TestEngine): { blobs: string[]; partials: string[]; ingests: string[]; snapshots: number } {
  const content = join(engine.dataRoot, "content");
  const ingests = readdirSync(join(content, "ingest"));
  const [driver = ""] = readdirSync(join(engine.dataRoot, "snapshots"));
  return {
    blobs: readdirSync(join(content, "blobs/sha256")).sort(),
    partials: ingests.filter((name) => name.endsWith(".part")),
    ingests: ingests.filter((name) => !name.endsWith(".part")),
    snapshots: readdirSync(join(engine.dataRoot, "snapshots", driver, "l")).length,
  };
}

async function names(engine: TestEngine): Promise<string[]> {
  const rows = (await engine.request("GET", "/images/json?all=1")).json as {
    RepoTags: string[];
    RepoDigests: string[];
  }[];
  return rows.flatMap(({ RepoDigests, RepoTags }) => [...RepoTags, ...RepoDigests]);
}

/** Resolves when a layer is so far. */
function reached(bytes: number): { readonly met: Promise<void>; onLine(line: ProgressLine): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const onLine = ({ progressDetail, status }: ProgressLine): void => {
    if (status === "Downloading" && (progressDetail?.current ?? 0) >= bytes) resolve();
  };
  return { met: promise, onLine };
}

const sizeOf = (image: TestImage): number => image.layers.reduce((sum, { bytes }) => sum + bytes.length, 0);

describe("an engine that is killed in the middle of a pull", () => {
  test("boots clean, and the next pulls are one download of what was missing", async () => {
    await using registry = await startFaultyRegistry();
    await using engine = await startEngine({ image: false });
    const made = randomImage("killed", { layers: 3, size: LAYER });
    registry.add("killed:1", made);
    const first = made.layers[0]!;
    // The others come so slowly that the kill finds the first whole and them in the middle.
    const slow = { kind: "slow", bytesPerSecond: LAYER / 4 } as const;
    registry.misbehave(...made.layers.slice(1).map(({ digest }) => ({ on: "blob", of: digest, act: slow }) as const));
    const halfway = new Map(made.layers.slice(1).map(({ digest }) => [digest.slice(7, 19), reached(LAYER / 3)]));
    const done = Promise.withResolvers<void>();
    const watched = followPull(engine, `${registry.host}/killed`, "1", (line) => {
      halfway.get(line.id ?? "")?.onLine(line);
      if (line.id === first.digest.slice(7, 19) && line.status === "Pull complete") done.resolve();
    });
    await Promise.all([done.promise, ...[...halfway.values()].map(({ met }) => met)]);
    await engine.kill();
    await assert.rejects(watched.ended);
    registry.heal();
    registry.forget();
    await engine.start();
    const left = stored(engine);
    assert.deepEqual(await names(engine), []);
    assert.ok(left.blobs.includes(first.digest.slice(7)), "a layer that was whole stays");
    assert.equal(left.partials.length, 2, "and so does what was there of the others");
    assert.deepEqual(left.ingests, []);
    assert.equal(left.snapshots, 1, "of the snapshots only the whole one");

    const pulls = await Promise.all([1, 2, 3].map(() => pullWell(engine, `${registry.host}/killed`, { tag: "1" })));
    for (const { lines } of pulls) {
      const rows = [...rowsOf(lines).values()];
      // One that is slow to be looked at again may say so on its way.
      assert.equal(rows[0]?.at(-1), "Already exists");
      assert.ok(!rows[0]?.includes("Downloading"));
      assert.deepEqual(rows[1]?.at(-1), "Pull complete");
    }
    const blobs = registry.asked("blob", "GET").filter(({ path }) => !path.endsWith(made.config.digest));
    assert.equal(blobs.length, 2, "each missing layer once");
    const served = blobs.reduce((sum, { sent }) => sum + sent, 0);
    assert.ok(served < sizeOf(made) - first.bytes.length - LAYER / 3, `${served} bytes were fetched again`);
    for (const { headers } of blobs) assert.match(String(headers.range), /^bytes=\d+-/);
    assert.deepEqual(stored(engine).partials, []);
    assert.equal((await engine.request("GET", `/images/${registry.host}/killed:1/json`)).json.Id, made.config.digest);
  });

  for (const [point, isThere] of [
    ["images.pull.fetched", false],
    ["images.pull.recorded", true],
    ["content.partial.append", false],
    ["snapshots.commit.synced", false],
    ["snapshots.commit.renamed", false],
  ] as const) {
    test(`has ${isThere ? "the whole image" : "no image"} after ${point}, and the next pull succeeds`, async () => {
      await using registry = await startFaultyRegistry();
      await using engine = await startEngine({ image: false });
      const made = randomImage(point, { layers: 2, size: 1 << 20 });
      const digest = registry.add("point:1", made);
      await engine.restart({ GANTRY_FAILPOINTS: `${point}=kill` });
      await assert.rejects(pull(engine, `${registry.host}/point`, { tag: "1" }));
      await engine.kill();
      await engine.start();
      const name = `${registry.host}/point`;
      assert.deepEqual((await names(engine)).sort(), isThere ? [`${name}:1`, `${name}@${made.manifest.digest}`] : []);
      await pullWell(engine, name, { tag: "1" });
      assert.deepEqual((await names(engine)).sort(), [`${name}:1`, `${name}@${made.manifest.digest}`], String(digest));
      assert.equal(stored(engine).snapshots, 2);
      await engine.request("DELETE", `/images/${name}:1`);
      assert.deepEqual(stored(engine), { blobs: [], partials: [], ingests: [], snapshots: 0 });
    });
  }
});

describe("a pull that fails", () => {
  let engine: TestEngine;
  const shared = async (): Promise<TestEngine> => (engine ??= await startEngine({ image: false }));

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
  });

  test("shows nothing, keeps what is whole for the next, and that goes on from there", async () => {
    await using registry = await startFaultyRegistry();
    const own = await shared();
    const made = randomImage("fails", { layers: 3, size: 2 << 20 });
    registry.add("fails:1", made);
    const last = made.layers[2]!;
    registry.misbehave({ on: "blob", of: last.digest, act: { kind: "status", status: 404 } });
    const failed = await pull(own, `${registry.host}/fails`, { tag: "1" });
    assert.notEqual(failed.error, "");
    assert.deepEqual(await names(own), []);
    registry.heal();
    registry.forget();
    const { lines } = await pullWell(own, `${registry.host}/fails`, { tag: "1" });
    const asked = registry.asked("blob", "GET").filter(({ path }) => !path.endsWith(made.config.digest));
    assert.ok(asked.some(({ path }) => path.endsWith(last.digest)));
    assert.ok(asked.length <= 3);
    assert.match(lines.at(-1)?.status ?? "", /Downloaded newer image/);
    await own.request("DELETE", `/images/${registry.host}/fails:1`);
    assert.deepEqual(stored(own), { blobs: [], partials: [], ingests: [], snapshots: 0 });
  });

  test("leaves what a prune removes, and says how much that was", async () => {
    await using registry = await startFaultyRegistry();
    const own = await shared();
    const made = randomImage("pruned", { layers: 2, size: 6 << 20 });
    registry.add("pruned:1", made);
    const [whole, cut] = made.layers;
    registry.misbehave({ on: "blob", of: cut!.digest, act: { kind: "slow", bytesPerSecond: 2 << 20 } });
    const whole12 = whole!.digest.slice(7, 19);
    const done = Promise.withResolvers<void>();
    const halfway = reached(1 << 20);
    const watched = followPull(own, `${registry.host}/pruned`, "1", (line) => {
      if (line.id !== whole12) halfway.onLine(line);
      else if (line.status === "Pull complete") done.resolve();
    });
    await Promise.all([done.promise, halfway.met]);
    const busy = await own.request("POST", "/images/prune");
    assert.equal(busy.json.SpaceReclaimed, 0, "a pull under way keeps what it has");
    watched.leave();
    await assert.rejects(watched.ended);
    // The pull is given up by and by: what it keeps can be pruned from then on.
    const isEmpty = (): boolean =>
      Object.values(stored(own)).every((part) => part === 0 || (part as string[]).length === 0);
    let reclaimed = 0;
    for (const end = Date.now() + 10_000; !isEmpty() && Date.now() < end; ) {
      reclaimed += (await own.request("POST", "/images/prune")).json.SpaceReclaimed;
    }
    assert.ok(reclaimed >= whole!.bytes.length, String(reclaimed));
    assert.deepEqual(stored(own), { blobs: [], partials: [], ingests: [], snapshots: 0 });
  });

  test("is not one where another client removes images and prunes all the while", async () => {
    await using registry = await startFaultyRegistry();
    const own = await shared();
    const made = randomImage("raced", { layers: 2, size: 1 << 18 });
    const other = imageOf({ layers: made.layers, process: { Cmd: ["/other"] } });
    registry.add("raced:1", made);
    registry.add("raced:2", other);
    let isOver = false;
    const sweeper = (async () => {
      while (!isOver) {
        await own.request("DELETE", `/images/${registry.host}/raced:1?force=1`);
        await own.request("POST", `/images/prune?filters=${encodeURIComponent('{"dangling":["false"]}')}`);
      }
    })();
    try {
      for (let round = 0; round < 12; round++) {
        await Promise.all(["1", "2"].map((tag) => pullWell(own, `${registry.host}/raced`, { tag })));
      }
    } finally {
      isOver = true;
      await sweeper;
    }
    for (const tag of ["1", "2"]) {
      await pullWell(own, `${registry.host}/raced`, { tag });
      const name = `${registry.host}/raced:${tag}`;
      // Whole: its layers can be read and stood upon.
      const saved = await own.request("GET", `/images/${name}/get`);
      assert.equal(saved.status, 200, saved.text.slice(0, 200));
      const made = await own.request("POST", "/containers/create", { Image: name, Cmd: ["x"] });
      assert.equal(made.status, 201, made.text);
      await own.request("DELETE", `/containers/${made.json.Id}`);
      await own.request("DELETE", `/images/${name}`);
    }
    assert.deepEqual(stored(own), { blobs: [], partials: [], ingests: [], snapshots: 0 });
  });

  test("because an index is nested without end, or says another type or size, does so in one sentence", async () => {
    await using registry = await startFaultyRegistry();
    const own = await shared();
    let nested = indexOf([imageOf()]);
    for (let depth = 0; depth < 6; depth++) nested = indexOf([nested]);
    registry.add("nested:1", nested);
    assert.match((await pull(own, `${registry.host}/nested`, { tag: "1" })).error, /nested too deeply/);
    const lies: Record<string, (row: Record<string, unknown>) => unknown> = {
      size: (row) => ({ ...row, size: Number(row.size) + 1 }),
      type: (row) => ({ ...row, mediaType: "application/vnd.oci.image.index.v1+json" }),
    };
    for (const [name, lie] of Object.entries(lies)) {
      const editIndex = (index: Record<string, unknown>) => ({
        ...index,
        manifests: (index.manifests as Record<string, unknown>[]).map(lie),
      });
      registry.add(`${name}:1`, indexOf([imageOf({ process: { Cmd: [name] } })], { editIndex }));
      const { error } = await pull(own, `${registry.host}/${name}`, { tag: "1" });
      assert.match(error, name === "size" ? /unexpected size of sha256:/ : /its index says/);
    }
    assert.deepEqual(await names(own), []);
    assert.deepEqual(stored(own), { blobs: [], partials: [], ingests: [], snapshots: 0 });
  });

  test("may be retried while the registry asks to wait, and says so", async () => {
    await using registry = await startFaultyRegistry();
    const own = await shared();
    const made = randomImage("limited", { layers: 1, size: 1 << 16 });
    registry.add("limited:1", made);
    const act = { kind: "status", status: 429, headers: { "Retry-After": "1" } } as const;
    registry.misbehave({ on: "blob", of: made.layers[0]!.digest, act, times: 1 });
    const { lines } = await pullWell(own, `${registry.host}/limited`, { tag: "1" });
    assert.ok(
      lines.some(({ status }) => status === "Retrying in 1 second"),
      JSON.stringify(lines),
    );
    await own.request("DELETE", `/images/${registry.host}/limited:1`);
  });
});

describe("a disk that is full", () => {
  test("is told of, cleaned up after, and no longer in the way when there is room", async () => {
    await using registry = await startFaultyRegistry();
    await using engine = await startEngine({ image: false });
    const made = randomImage("full", { layers: 3, size: 5 << 20 });
    registry.add("full:1", made);
    await engine.stop();
    const resize = (size: string, how: string): unknown =>
      execFileSync("mount", ["-t", "tmpfs", "-o", `${how}size=${size}`, "tmpfs", engine.dataRoot]);
    resize("16m", "");
    try {
      await engine.start();
      const free = freeOf(engine);
      const failed = await pull(engine, `${registry.host}/full`, { tag: "1" });
      assert.match(failed.error, /no space left on device/);
      assert.doesNotMatch(failed.error, /\n/);
      assert.deepEqual(await names(engine), []);
      assert.deepEqual(stored(engine), { blobs: [], partials: [], ingests: [], snapshots: 0 });
      assert.ok(freeOf(engine) > free - (1 << 20), "the room is there again");
      assert.deepEqual(linesOf(failed.text).at(-1)?.errorDetail, { message: failed.error });
      resize("128m", "remount,");
      await pullWell(engine, `${registry.host}/full`, { tag: "1" });
      await engine.stop();
    } finally {
      execFileSync("umount", ["-l", engine.dataRoot], { stdio: "ignore" });
    }
  });
});

function freeOf(engine: TestEngine): number {
  const rows = execFileSync("df", ["-B1", "--output=avail", engine.dataRoot], { encoding: "utf8" }).trim().split("\n");
  assert.ok(statSync(engine.dataRoot).isDirectory());
  return Number(rows[1]);
}
