import assert from "node:assert/strict";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { isKind } from "../../base/errors.ts";
import { detachMount, mount } from "../../kernel/mount.ts";
import { BLOCK, BlobCache, NotHereError } from "./blob-cache.ts";

const SIZE = 10 * BLOCK + 77;
const BLOB = Buffer.from(Array.from({ length: SIZE }, (_, index) => (index * 31 + (index >> 9)) & 0xff));

let folder: string;
let asked: [number, number][];
let gate: Promise<void>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "blob-cache-"));
  asked = [];
  gate = Promise.resolve();
});

afterEach(() => rmSync(folder, { recursive: true }));

async function* honest(from: number, to: number): AsyncGenerator<Buffer> {
  await gate;
  for (let at = from; at < to; at += 50_000) yield BLOB.subarray(at, Math.min(to, at + 50_000));
}

function cacheOf(
  fetch: (from: number, to: number, signal: AbortSignal) => AsyncIterable<Buffer> = honest,
  limitMs = 5000,
): BlobCache {
  return new BlobCache({
    size: SIZE,
    path: join(folder, "cache"),
    wholePath: join(folder, "whole"),
    growingPath: join(folder, "growing"),
    limitMs,
    fetch: (from, to, signal) => {
      asked.push([from, to]);
      return fetch(from, to, signal);
    },
    onFetch: () => {},
  });
}

test("a part is fetched once, whoever asks and however often, and those beside it in one request", async () => {
  const cache = cacheOf();
  const parts = await Promise.all([cache.read(10, 20), cache.read(0, 3 * BLOCK), cache.read(SIZE - 5, SIZE)]);
  assert.deepEqual(parts, [BLOB.subarray(10, 20), BLOB.subarray(0, 3 * BLOCK), BLOB.subarray(SIZE - 5)]);
  assert.deepEqual(asked, [
    [0, 2 * BLOCK],
    [2 * BLOCK, 6 * BLOCK],
    [10 * BLOCK, SIZE],
  ]);
  assert.deepEqual(await cache.read(BLOCK, 2 * BLOCK), BLOB.subarray(BLOCK, 2 * BLOCK));
  assert.equal(asked.length, 3);
  cache.close();
});

test("what was fetched is there for the next server, but for what is forgotten", async () => {
  const first = cacheOf();
  await first.read(0, BLOCK);
  first.close();
  const second = cacheOf();
  assert.deepEqual(await second.read(5, BLOCK), BLOB.subarray(5, BLOCK));
  assert.equal(asked.length, 1);
  second.forget(0, 5);
  await second.read(0, 5);
  assert.equal(asked.length, 2);
  second.close();
});

test("what is pulled meanwhile is read where it comes to lie, for as long as it is there", async () => {
  const growing = join(folder, "growing");
  writeFileSync(growing, BLOB.subarray(0, BLOCK));
  const cache = cacheOf();
  assert.deepEqual(await cache.read(0, BLOCK), BLOB.subarray(0, BLOCK));
  assert.deepEqual(asked, []);
  await cache.read(BLOCK - 1, BLOCK + 1);
  assert.equal(asked.length, 1);
  truncateSync(growing);
  await cache.read(5 * BLOCK, 5 * BLOCK + 1);
  assert.equal(asked.length, 2);
  writeFileSync(join(folder, "whole"), BLOB);
  assert.deepEqual(await cache.read(8 * BLOCK, SIZE), BLOB.subarray(8 * BLOCK));
  rmSync(join(folder, "whole"));
  assert.deepEqual(await cache.read(9 * BLOCK, SIZE), BLOB.subarray(9 * BLOCK));
  assert.equal(asked.length, 2);
  cache.close();
});

test("who must not wait is told so, and gets what is here", async () => {
  const cache = cacheOf();
  await assert.rejects(cache.read(0, 1, { local: true }), NotHereError);
  await cache.read(0, 1);
  assert.deepEqual(await cache.read(0, 100, { local: true }), BLOB.subarray(0, 100));
  assert.equal(asked.length, 1);
  cache.close();
});

test("a registry that says nothing is waited for so long and no longer, and asked again by the next", async () => {
  const silent = async function* (_from: number, _to: number, signal: AbortSignal): AsyncGenerator<Buffer> {
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
  };
  let isSilent = true;
  const cache = cacheOf((from, to, signal) => (isSilent ? silent(from, to, signal) : honest(from, to)), 50);
  // Nothing else keeps the process alive: a registry's connection would.
  const alive = setInterval(() => {}, 1000);
  const tries = [cache.read(0, 1), cache.read(BLOCK, BLOCK + 1)];
  for (const one of tries) await assert.rejects(one, (error) => isKind(error, "unavailable"));
  isSilent = false;
  assert.deepEqual(await cache.read(0, 1), BLOB.subarray(0, 1));
  clearInterval(alive);
  cache.close();
});

test("a slow line is waited for as long as block after block comes, and one that drips is not", async () => {
  const slowly = (pause: number) =>
    async function* (from: number, to: number, signal: AbortSignal): AsyncGenerator<Buffer> {
      for (let at = from; at < to; at += BLOCK / 4) {
        await after(pause, undefined, { signal });
        yield BLOB.subarray(at, Math.min(to, at + BLOCK / 4));
      }
    };
  // A request of ten blocks takes longer than each of them may.
  const steady = cacheOf(slowly(30), 1000);
  assert.deepEqual(await steady.read(0, 10 * BLOCK), BLOB.subarray(0, 10 * BLOCK));
  steady.close();
  rmSync(join(folder, "cache"));
  const dripping = cacheOf(slowly(300), 1000);
  await assert.rejects(dripping.read(0, BLOCK), { message: "nothing came within 1 seconds" });
  dripping.close();
});

test("where there is no room for what is fetched it is read nevertheless", async () => {
  mount("tmpfs", folder, "tmpfs", 0, `size=${2 * BLOCK}`);
  try {
    const cache = cacheOf();
    assert.deepEqual(await cache.read(10, 4 * BLOCK), BLOB.subarray(10, 4 * BLOCK));
    assert.deepEqual(await cache.read(SIZE - 5, SIZE), BLOB.subarray(SIZE - 5));
    assert.deepEqual(await cache.read(10, 20), BLOB.subarray(10, 20));
    cache.close();
  } finally {
    await detachMount(folder);
  }
});

test("a registry that ends early gives what came, and an error for the rest", async () => {
  const short = async function* (from: number): AsyncGenerator<Buffer> {
    yield BLOB.subarray(from, from + BLOCK + 5);
  };
  const cache = cacheOf((from) => short(from));
  const both = await Promise.allSettled([cache.read(0, 10), cache.read(BLOCK, BLOCK + 1)]);
  assert.deepEqual(
    both.map(({ status }) => status),
    ["fulfilled", "rejected"],
  );
  cache.close();
});

test("a cache that is closed answers nobody any more, and writes nothing", async () => {
  const opened = Promise.withResolvers<void>();
  gate = opened.promise;
  const cache = cacheOf();
  const reading = cache.read(0, 10);
  cache.close();
  opened.resolve();
  await assert.rejects(reading, (error) => isKind(error, "cancelled"));
  await assert.rejects(cache.read(0, 10), (error) => isKind(error, "cancelled"));
});
