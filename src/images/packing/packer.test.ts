import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ContentStore } from "../../content/content-store.ts";
import { OverlaySnapshotter } from "../../snapshots/overlay.ts";
import { layerOf } from "../../snapshots/snapshotter.suite.ts";
import { Packer } from "./packer.ts";

const WORKER = fileURLToPath(new URL("worker.ts", import.meta.url));
/** Files enough for threads. */
const BIG = 300;

interface Machine {
  readonly root: string;
  readonly content: ContentStore;
  readonly snapshots: OverlaySnapshotter;
  readonly packer: Packer;
  /** Folders of snapshots and drafts, and what is written of blobs. */
  left(): { readonly folders: number; readonly ingested: number; readonly blobs: number };
}

/** With an image's snapshot `base` and an active one `key` on it, of so many files. */
async function machine(t: TestContext, files: number): Promise<Machine> {
  const root = mkdtempSync(join(tmpdir(), "gantry-packer-"));
  const content = new ContentStore({ root: join(root, "content") });
  const snapshots = new OverlaySnapshotter({ root: join(root, "snapshots") });
  const packer = new Packer({ content, snapshots, workerScript: WORKER });
  t.after(async () => {
    await packer.close();
    rmSync(root, { recursive: true, force: true });
  });
  await snapshots.apply("base", undefined, layerOf([{ name: "a/0", text: "below" }]));
  await snapshots.prepare("key", "base", { bare: true });
  const upper = snapshots.describe("key").UpperDir!;
  for (let n = 0; n < files; n++) {
    if (n % 100 === 0) mkdirSync(join(upper, `d${n / 100}`));
    writeFileSync(join(upper, `d${Math.floor(n / 100)}`, `${n}`), `${n} `.repeat(2000));
  }
  const count = (...path: string[]) => readdirSync(join(root, ...path)).length;
  return {
    root,
    content,
    snapshots,
    packer,
    left: () => ({
      folders: count("snapshots/l"),
      ingested: count("content/ingest"),
      blobs: count("content/blobs/sha256"),
    }),
  };
}

async function bytesOf(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source));
}

for (const files of [3, BIG])
  test(`gives the same blob as the snapshot's own tar, and files of it, of ${files}`, async (t) => {
    const { content, left, packer, snapshots } = await machine(t, files);
    const direct = await bytesOf(snapshots.diff("key"));
    let isRead = false;
    const twin = await packer.packTwin("key", "base", {
      signal: undefined,
      onRead: () => {
        isRead = true;
      },
    });
    assert.ok(isRead);
    assert.ok(direct.equals(await bytesOf(content.open(twin.blob.digest, { verify: true }))));
    assert.equal(twin.blob.size, direct.length);
    const size = await twin.commit("twin");
    assert.equal(size, await snapshots.usage("key"));
    assert.equal(snapshots.info("twin")?.parent, "base");
    assert.ok(direct.equals(await bytesOf(snapshots.diff("twin"))), "what was extracted packs to the same");
    await snapshots.commit("step", "key", { durable: false });
    assert.equal((await packer.pack("step", new AbortController().signal)).digest, twin.blob.digest);
    assert.equal(await snapshots.usage("step"), size);
    assert.deepEqual(left(), { folders: 3, ingested: 0, blobs: 1 });
  });

test("leaves nothing of a layer that is not wanted, or that is there already", async (t) => {
  const { left, packer, snapshots } = await machine(t, BIG);
  const options = { signal: undefined, onRead: () => {} };
  await (await packer.packTwin("key", "base", options)).discard();
  assert.deepEqual(left(), { folders: 2, ingested: 0, blobs: 1 });
  await (await packer.packTwin("key", "base", options)).commit("twin");
  await (await packer.packTwin("key", "base", options)).commit("twin");
  assert.equal(snapshots.list().length, 3);
  assert.deepEqual(left(), { folders: 3, ingested: 0, blobs: 1 });
});

test("ends at an abort, at once or in the midst of it, with nothing left", async (t) => {
  const { left, packer, snapshots } = await machine(t, BIG);
  const early = AbortSignal.abort();
  await assert.rejects(packer.pack("key", early), { kind: "cancelled" });
  await assert.rejects(packer.packTwin("key", "base", { signal: early, onRead: () => {} }), { kind: "cancelled" });
  const late = new AbortController();
  const draft = snapshots.draft.bind(snapshots);
  snapshots.draft = async (parent) => {
    setImmediate(() => late.abort());
    return draft(parent);
  };
  const read: string[] = [];
  await assert.rejects(packer.packTwin("key", "base", { signal: late.signal, onRead: () => void read.push("read") }), {
    kind: "cancelled",
  });
  assert.deepEqual(left(), { folders: 2, ingested: 0, blobs: 0 });
});

test("tells what one of two threads failed of, and leaves nothing of the other's work", async (t) => {
  const { left, packer, snapshots } = await machine(t, BIG);
  const upper = snapshots.describe("key").UpperDir!;
  const options = { signal: undefined, onRead: () => {} };
  const draft = snapshots.draft.bind(snapshots);
  snapshots.draft = async (parent) => {
    const layer = await draft(parent);
    // A file is no place for a layer.
    rmSync(layer.folder, { recursive: true });
    writeFileSync(layer.folder, "");
    return layer;
  };
  await assert.rejects(packer.packTwin("key", "base", options), /ENOTDIR|not a directory/);
  assert.deepEqual(left(), { folders: 2, ingested: 0, blobs: 0 });
  snapshots.draft = draft;
  const packing = snapshots.packing.bind(snapshots);
  snapshots.packing = (key) => ({ ...packing(key), source: { ...packing(key).source, fs: join(upper, "none") } });
  await assert.rejects(packer.packTwin("key", "base", options), { code: "ENOENT" });
  assert.deepEqual(left(), { folders: 2, ingested: 0, blobs: 0 });
});

test("packs several at once", async (t) => {
  const { packer, snapshots } = await machine(t, BIG);
  await snapshots.apply("other", "base", Readable.from([await bytesOf(snapshots.diff("key"))]));
  const options = { signal: undefined, onRead: () => {} };
  const made = await Promise.all([
    packer.packTwin("key", "base", options),
    packer.packTwin("key", "base", options),
    packer.pack("other", new AbortController().signal),
  ]);
  const [one, two, other] = made;
  assert.equal(one.blob.digest, other.digest);
  await Promise.all([one.commit("one"), two.commit("two")]);
  assert.equal(snapshots.list().length, 5);
});
