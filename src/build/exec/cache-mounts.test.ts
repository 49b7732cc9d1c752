import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { Logger } from "../../base/log.ts";
import { openat } from "../../kernel/path.ts";
import { openMemory } from "../../state/memory.ts";
import { CacheMounts, type CacheWish } from "./cache-mounts.ts";

const never = new AbortController().signal;
let folder = "";
let store = openMemory();
let caches: CacheMounts;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "gantry-caches-"));
  store = openMemory();
  caches = await open();
});
afterEach(() => rmSync(folder, { recursive: true }));

async function open(): Promise<CacheMounts> {
  const made = new CacheMounts({ store, folder: join(folder, "mounts"), log: new Logger("fatal") });
  await made.recover();
  return made;
}

function wish(sharing: CacheWish["sharing"], change: Partial<CacheWish> = {}): CacheWish {
  const rest = { from: undefined, mode: 0o755, uid: 0, gid: 0, description: "cached mount /c from exec make" };
  return { id: "/c", sharing, ...rest, ...change };
}

test("who shares gets the same, also one after the other", async () => {
  const first = await caches.acquire(wish("shared"), undefined, never);
  const second = await caches.acquire(wish("shared"), undefined, never);
  assert.equal(second.path, first.path);
  first[Symbol.dispose]();
  second[Symbol.dispose]();
  using third = await caches.acquire(wish("private"), undefined, never);
  assert.equal(third.path, first.path);
});

test("who wants one in private gets another while the first is in use", async () => {
  using first = await caches.acquire(wish("private"), undefined, never);
  using second = await caches.acquire(wish("private"), undefined, never);
  using third = await caches.acquire(wish("shared"), undefined, never);
  assert.equal(new Set([first.path, second.path, third.path]).size, 3);
});

test("who locks one waits for it, in turn, and gives up when told to", async () => {
  const first = await caches.acquire(wish("locked"), undefined, never);
  let got = 0;
  const waiting = [1, 2, 3].map(async () => {
    using held = await caches.acquire(wish("locked"), undefined, never);
    assert.equal(held.path, first.path);
    assert.equal(++got, 1);
    await Promise.resolve();
    got--;
  });
  const abort = new AbortController();
  const late = caches.acquire(wish("locked"), undefined, abort.signal);
  abort.abort();
  await assert.rejects(late, (error) => isKind(error, "cancelled"));
  assert.equal(got, 0);
  first[Symbol.dispose]();
  await Promise.all(waiting);
});

test("another id, owner, mode or beginning is another cache", async () => {
  const changes: Partial<CacheWish>[] = [
    {},
    { id: "other" },
    { uid: 7 },
    { mode: 0o700 },
    { from: { vertex: "a", source: "/" } },
    { from: { vertex: "b", source: "/" } },
  ];
  const paths = new Set<string>();
  for (const change of changes) {
    using held = await caches.acquire(wish("shared", change), undefined, never);
    paths.add(held.path);
  }
  assert.equal(paths.size, changes.length);
});

test("a new one belongs to whom it was asked for, and begins with what it is given, once", async () => {
  let fills = 0;
  const fill = async (fd: number) => {
    fills++;
    closeSync(openat(fd, "begun", 0o101, 0o644));
  };
  for (const _ of [1, 2]) {
    using held = await caches.acquire(wish("shared", { mode: 0o1770, uid: 12, gid: 34 }), fill, never);
    const { mode, uid, gid } = statSync(held.path);
    assert.deepEqual([mode & 0o7777, uid, gid, readdirSync(held.path)], [0o1770, 12, 34, ["begun"]]);
  }
  assert.equal(fills, 1);
  const failing = caches.acquire(wish("shared", { id: "bad" }), () => Promise.reject(new Error("no room")), never);
  await assert.rejects(failing, /no room/);
  assert.equal(caches.has("bad"), false);
  assert.equal(readdirSync(join(folder, "mounts")).length, 1);
});

test("what there is survives a restart, what a crash left half made doesn't", async () => {
  const held = await caches.acquire(wish("shared"), undefined, never);
  writeFileSync(join(held.path, "kept"), "0123456789");
  mkdirSync(join(folder, "mounts/half"));
  caches = await open();
  assert.deepEqual(readdirSync(join(folder, "mounts")), [held.path.split("/").at(-1)]);
  const [row] = await caches.usage();
  assert.deepEqual(
    { type: row?.type, size: row?.size, inUse: row?.inUse, usageCount: row?.usageCount, description: row?.description },
    { type: "exec.cachemount", size: 10, inUse: false, usageCount: 1, description: "cached mount /c from exec make" },
  );
  using again = await caches.acquire(wish("locked"), undefined, never);
  assert.equal(readFileSync(join(again.path, "kept"), "utf8"), "0123456789");
});

test("one in use can't be removed, one that isn't goes with all it holds", async () => {
  const held = await caches.acquire(wish("shared"), undefined, never);
  mkdirSync(join(held.path, "deep/er"), { recursive: true });
  writeFileSync(join(held.path, "deep/er/file"), "12345");
  const [row] = await caches.usage();
  assert.equal(await caches.remove(row!.id), undefined);
  held[Symbol.dispose]();
  assert.equal(await caches.remove(row!.id), 5);
  assert.equal(await caches.remove(row!.id), undefined);
  assert.equal(existsSync(held.path), false);
  assert.deepEqual(await (await open()).usage(), []);
});

test("contents are replaced as a whole or not at all, and not under a step", async () => {
  const fill = (name: string) => async (fd: number) => closeSync(openat(fd, name, 0o101, 0o644));
  await caches.replace("npm", fill("one"));
  const held = await caches.acquire(wish("shared", { id: "npm" }), undefined, never);
  assert.deepEqual(readdirSync(held.path), ["one"]);
  await assert.rejects(caches.replace("npm", fill("two")), (error) => isKind(error, "conflict"));
  held[Symbol.dispose]();
  await assert.rejects(
    caches.replace("npm", () => Promise.reject(new Error("cut"))),
    /cut/,
  );
  assert.deepEqual(readdirSync(held.path), ["one"]);
  await caches.replace("npm", fill("two"));
  assert.deepEqual(readdirSync(held.path), ["two"]);
  assert.equal(readdirSync(join(folder, "mounts")).length, 1);
});
