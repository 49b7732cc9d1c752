import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import type { FileStat } from "../session.ts";
import { StatIndex } from "./stat-index.ts";
import { type Difference, SyncReceiver } from "./sync-receiver.ts";

const FOLDER = 0o20000000755;
const FILE = 0o644;

const stat = (path: string, mode: number): FileStat => ({
  ...{ path, mode, uid: 0, gid: 0, size: 0, modTime: 5n, linkname: "", devmajor: 0, devminor: 0, xattrs: new Map() },
});

async function differenceOf(former: StatIndex, stats: Iterable<FileStat>): Promise<Difference> {
  const folder = mkdtempSync(join(tmpdir(), "gantry-receiver-"));
  try {
    const receiver = new SyncReceiver(former, join(folder, "staging"));
    try {
      for (const one of stats) await receiver.file(one);
      await receiver.end();
      return receiver.difference;
    } finally {
      receiver.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

it("finds what is gone, however many stand between two files that are not", async () => {
  const many = Array.from({ length: 2500 }, (_, at) => stat(`a/${String(at).padStart(5, "0")}`, FILE));
  const flat = Array.from({ length: 2500 }, (_, at) => stat(`b${String(at).padStart(5, "0")}`, FILE));
  const kept = [stat("c", FOLDER), stat("c/file", FILE)];
  const last = [stat("d", FOLDER), stat("d/x", FILE), stat("d-", FOLDER), stat("d-/x", FILE), stat("e", FILE)];
  const { index } = await differenceOf(new StatIndex(Buffer.alloc(0)), [
    ...[stat("a", FOLDER), ...many, stat("a-", FILE), ...flat],
    ...[...kept, ...last],
  ]);
  const without = await differenceOf(index, kept);
  const removed = without.removed.map((offset) => index.at(offset).path);
  assert.deepEqual(removed, ["a", "a-", ...flat.map(({ path }) => path), "d", "d-", "e"]);
  assert.deepEqual(
    [...without.index].map(({ path }) => path),
    ["c", "c/file"],
  );
  assert.deepEqual(without.put, []);
  const all = await differenceOf(index, []);
  assert.equal(all.removed.length, 2500 + 6);
});

it("replaces a folder by a file, and a file by a folder", async () => {
  const former = await differenceOf(new StatIndex(Buffer.alloc(0)), [
    ...[stat("a", FOLDER), stat("a/b", FILE), stat("c", FILE), stat("d", FILE)],
  ]);
  const { index, put, removed } = await differenceOf(former.index, [
    ...[stat("a", FILE), stat("c", FOLDER), stat("c/e", FILE), stat("d", FILE)],
  ]);
  assert.deepEqual(
    removed.map((offset) => former.index.at(offset).path),
    ["a", "c"],
  );
  assert.deepEqual(
    put.map(({ offset }) => index.at(offset).path),
    ["a", "c", "c/e"],
  );
});
