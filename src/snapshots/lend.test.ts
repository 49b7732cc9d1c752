import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { OverlaySnapshotter } from "./overlay.ts";
import { VfsSnapshotter } from "./vfs.ts";

const NAME = `sha256:${"a".repeat(64)}`;
let root: string;
let folder: string;
let target: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "lend-"));
  folder = join(root, "elsewhere");
  target = join(root, "target");
  for (const path of [folder, target]) mkdirSync(path);
  chmodSync(folder, 0o1777);
  writeFileSync(join(folder, "file"), "lent");
});

afterEach(() => rmSync(root, { recursive: true }));

async function committed(snapshots: OverlaySnapshotter, text: string): Promise<void> {
  const draft = await snapshots.draft(undefined);
  writeFileSync(join(draft.folder, "file"), text);
  await snapshots.sync();
  await draft.commit(NAME, undefined, { size: 4, hasRoot: true });
}

test("a folder stands for a snapshot that is to come, and that takes its place at the next mount", async () => {
  const snapshots = new OverlaySnapshotter({ root: join(root, "own") });
  await assert.rejects(snapshots.prepare("early", NAME), { kind: "not-found" });
  using _loan = snapshots.lend(NAME, { fs: folder, parent: undefined, hasRoot: true });
  assert.equal(snapshots.has(NAME), false);
  assert.deepEqual(snapshots.list(), []);
  await snapshots.prepare("container", NAME);
  await snapshots.mount("container", target);
  assert.equal(readFileSync(join(target, "file"), "utf8"), "lent");
  assert.equal(statSync(target).mode & 0o7777, 0o1777);
  await committed(snapshots, "real");
  assert.equal(readFileSync(join(target, "file"), "utf8"), "lent");
  await snapshots.unmount(target);
  await snapshots.mount("container", target);
  assert.equal(readFileSync(join(target, "file"), "utf8"), "real");
  await snapshots.unmount(target);
  await assert.rejects(snapshots.remove(NAME), { kind: "conflict" });
  await snapshots.remove("container");
  await snapshots.remove(NAME);
});

test("layers stand on snapshots alone, and what is lent keeps what stands on it over a restart", async () => {
  const first = new OverlaySnapshotter({ root: join(root, "own") });
  using _loan = first.lend(NAME, { fs: folder, parent: undefined, hasRoot: true });
  await assert.rejects(first.prepare("build", NAME, { bare: true }), { kind: "not-found" });
  await first.prepare("container", NAME);
  const second = new OverlaySnapshotter({ root: join(root, "own") });
  const why = "it is not whole yet";
  const loan = second.lend(NAME, { fs: folder, parent: undefined, hasRoot: true, refusal: why });
  await second.recover(new Set(["container"]));
  assert.equal(second.has("container"), true);
  await assert.rejects(second.mount("container", target), { kind: "unavailable", message: why });
  loan[Symbol.dispose]();
  await second.recover(new Set(["container"]));
  assert.equal(second.has("container"), false);
  assert.ok(existsSync(folder));
});

test("a driver of whole copies has no use for it", () => {
  const snapshots = new VfsSnapshotter({ root: join(root, "vfs") });
  assert.throws(() => snapshots.lend(NAME, { fs: folder, parent: undefined, hasRoot: true }), { kind: "unsupported" });
});
