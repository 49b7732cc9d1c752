import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, openSync, readdirSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startEngine, type TestEngine } from "../engine.ts";
import { type FaultyRegistry, startFaultyRegistry } from "../faulty-registry.ts";
import { imageOf, layerOf, randomImage, type TestImage } from "../oci-image.ts";
import { pull, pullWell } from "../pulling.ts";
import { copyWell, importRandom, pushWell } from "../pushing.ts";

const MB = 1 << 20;
/** Of the disk at first, in MiB. */
const SIZE = 24;

/** Pulls, pushes and copies where the disk or its inodes come to their end. */
describe("a disk that has no more", () => {
  let engine: TestEngine;
  let registry: FaultyRegistry;
  before(async () => {
    registry = await startFaultyRegistry();
    engine = await startEngine({ image: false });
    await engine.stop();
    disk(`size=${SIZE}m,nr_inodes=3000`);
    await engine.start();
  });
  after(async () => {
    await engine?.stop();
    execFileSync("umount", ["-l", engine.dataRoot], { stdio: "ignore" });
    await engine?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const disk = (options: string): unknown =>
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", engine.dataRoot]);
  /** Writes until so many bytes are left; disposal makes room again. */
  function filled(left: number): Disposable {
    const path = join(engine.dataRoot, "filler");
    const fd = openSync(path, "w");
    const piece = Buffer.alloc(4096);
    const { bavail, bsize } = statfsSync(engine.dataRoot);
    try {
      for (let bytes = bavail * bsize - left; bytes > 0; bytes -= piece.length) writeSync(fd, piece);
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
    } finally {
      closeSync(fd);
    }
    return { [Symbol.dispose]: () => rmSync(path, { force: true }) };
  }

  function left(): string[] {
    const [driver = ""] = readdirSync(join(engine.dataRoot, "snapshots"));
    const folders = ["content/blobs/sha256", "content/ingest", `snapshots/${driver}/l`, `snapshots/${driver}/trash`];
    return folders.flatMap((folder) => readdirSync(join(engine.dataRoot, folder)).map((name) => `${folder}/${name}`));
  }

  async function assertNothing(): Promise<void> {
    assert.deepEqual((await engine.request("GET", "/images/json?all=1")).json, []);
    assert.deepEqual(left(), []);
  }

  /** Fails in one sentence, leaves nothing, and is no longer in the way when there is room. */
  async function failsWell(image: TestImage, says: RegExp, ends: () => void): Promise<void> {
    registry.add("full:1", image);
    const { error } = await pull(engine, `${registry.host}/full`, { tag: "1" });
    assert.match(error, says);
    assert.doesNotMatch(error, /\n/);
    ends();
    await assertNothing();
    assert.equal((await engine.request("GET", "/_ping")).status, 200);
  }

  async function goesWell(image: TestImage): Promise<void> {
    registry.add("full:1", image);
    await pullWell(engine, `${registry.host}/full`, { tag: "1" });
    const removed = await engine.request("DELETE", `/images/${registry.host}/full:1`);
    assert.equal(removed.status, 200, removed.text);
    await assertNothing();
  }

  const zeros = (seed: string, size: number, compression: "gzip" | "zstd"): TestImage =>
    imageOf({ layers: [layerOf([{ name: seed, body: Buffer.alloc(size) }], { compression })] });
  const many = (count: number): TestImage =>
    imageOf({ layers: [layerOf(Array.from({ length: count }, (_, at) => ({ name: `file-${at}`, body: "" })))] });
  const SPACE = /no space left on device/;

  for (const compression of ["gzip", "zstd"] as const) {
    test(`for the files of a ${compression} layer that itself has room`, async () => {
      await failsWell(zeros("zeros", (SIZE + 6) * MB, compression), SPACE, () => {});
      await goesWell(zeros("few", MB, compression));
    });
  }

  test("for the inodes of a layer", async () => {
    await failsWell(many(5000), SPACE, () => {});
    await goesWell(many(500));
  });

  for (const bytes of [0, 16 << 10, 300 << 10, 2 * MB]) {
    test(`but ${bytes >> 10} KiB for a pull, wherever in it that is noticed`, async () => {
      const room = filled(bytes);
      await failsWell(
        randomImage("last", { layers: 3, size: 900_000, files: 20 }),
        /no space left on device|database or disk is full/,
        () => room[Symbol.dispose](),
      );
      await goesWell(randomImage("last", { layers: 3, size: 900_000, files: 20 }));
    });
  }

  test("but what is kept for containers that run, of which a pull that it would do for takes nothing", async () => {
    const small = randomImage("small", { layers: 1, size: 20_000 });
    const room = filled(200 << 10);
    const kept =
      /^cannot download layer sha256:[0-9a-f]{64}: no space left .* \(the last 1 MiB are kept for what runs\)$/;
    await failsWell(small, kept, () => room[Symbol.dispose]());
    await goesWell(small);
  });

  test("is none of a push's or a copy's business: they keep nothing here", async () => {
    await using target = await startFaultyRegistry();
    await importRandom(engine, `${target.host}/made:1`, "made", 3 * MB);
    const image = randomImage("copied", { layers: 2, size: 3 * MB });
    registry.add("copied:1", image);
    {
      using _room = filled(0);
      await pushWell(engine, `${target.host}/made`, "1");
      await copyWell(engine, { from: `${registry.host}/copied:1`, to: `${target.host}/copied` });
    }
    const removed = await engine.request("DELETE", `/images/${target.host}/made:1?force=1`);
    assert.equal(removed.status, 200, removed.text);
    assert.equal(target.stock.tags.get("copied:1"), image.manifest.digest);
    assert.equal(target.stock.uploads.size, 0);
    await assertNothing();
  });

  test("while an engine starts is no reason not to, and it makes room when it is asked", async () => {
    const image = randomImage("starts", { layers: 1, size: MB });
    registry.add("full:1", image);
    await pullWell(engine, `${registry.host}/full`, { tag: "1" });
    {
      using _room = filled(0);
      await engine.restart();
      const removed = await engine.request("DELETE", `/images/${registry.host}/full:1`);
      assert.equal(removed.status, 200, removed.text);
    }
    await goesWell(image);
  });
});
