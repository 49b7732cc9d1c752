import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type { EventMessage } from "../api/event.ts";
import { GantryError } from "../base/errors.ts";
import { EventBus } from "../events/bus.ts";
import { detachMount, isMountPoint, listMounts, mount } from "../kernel/mount.ts";
import { type TarOutput, writeTar } from "../oci/tar/writer.ts";
import { openMemory } from "../state/memory.ts";
import type { Store } from "../state/store.ts";
import { VolumeCare } from "./care.ts";
import { hasDisks } from "./disk.ts";
import { LocalVolumes } from "./local.ts";
import type { Place, VolumeUser } from "./users.ts";
import { Volumes } from "./volumes.ts";

const NO_DISKS = !hasDisks() && "mkfs.ext4 is not installed";

let root = "";
let store: Store;
let events: EventBus;
let seen: EventMessage[] = [];
let users: Record<string, VolumeUser[]> = {};
let paused: string[] = [];
let moved: [Place, Place][] = [];
let local: LocalVolumes;
let care: VolumeCare;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "gantry-care-"));
  store = openMemory();
  users = {};
  paused = [];
  moved = [];
  seen = [];
  events = new EventBus();
  events.subscribe((event) => seen.push(event));
  boot();
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

/** As an engine that starts: what it knows comes from the records. */
function boot(): void {
  const of = (name: string) => users[name] ?? [];
  local = new LocalVolumes({ root, store, events, usersOf: (name) => of(name).map(({ id }) => id) });
  care = new VolumeCare({
    local,
    volumes: new Volumes({ local }),
    users: {
      of,
      pause: async (ids) => {
        const running = Object.values(users).flat();
        for (const user of running) if (ids.includes(user.id)) Object.assign(user, { isPaused: true });
        paused.push(...ids);
        return {
          [Symbol.asyncDispose]: async () => {
            for (const user of running) if (ids.includes(user.id)) Object.assign(user, { isPaused: false });
            paused.push(...ids.map((id) => `${id} goes on`));
          },
        };
      },
      renamed: (from, to) => {
        moved.push([from, to]);
        return () => {};
      },
    },
  });
}

function running(name: string, isWriter = true): VolumeUser {
  return { id: `${name}-id`.padEnd(64, "0"), name, isRunning: true, isPaused: false, isWriter };
}

function make(
  name: string,
  files: Readonly<Record<string, string>>,
  options?: Readonly<Record<string, string>>,
): string {
  const { Mountpoint } = local.create({ name, ...(options && { options }) });
  for (const [path, text] of Object.entries(files)) writeFileSync(join(Mountpoint, path), text);
  return Mountpoint;
}

const content = (name: string, path: string) => readFileSync(join(local.get(name)!.Mountpoint, path), "utf8");
const files = (name: string) => readdirSync(local.get(name)!.Mountpoint).sort();
/** What lies in the folder of the volumes, and in those of each volume. */
const laidOut = () =>
  Object.fromEntries(readdirSync(root).map((name) => [name, readdirSync(join(root, name)).sort().join(" ")]));

async function bytesOf(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const found: Uint8Array[] = [];
  for await (const piece of pieces) found.push(Buffer.from(piece));
  return Buffer.concat(found);
}

const refusal = (kind: string, message: string | RegExp) => (error: unknown) => {
  assert.ok(error instanceof GantryError, String(error));
  assert.equal(error.kind, kind);
  if (typeof message === "string") assert.equal(error.message, message);
  else assert.match(error.message, message);
  return true;
};

async function archive(...members: TarOutput[]): Promise<Buffer> {
  async function* all() {
    yield* members;
  }
  return bytesOf(writeTar(all()));
}

test("a volume takes its content, its snapshots and those that refer to it along to its new name", async () => {
  const before = make("before", { file: "kept" });
  await care.snapshot("before", "first", "refuse");
  const renamed = await care.rename("before", "after");
  assert.equal(renamed.Mountpoint, join(root, "after/_data"));
  assert.equal(local.get("before"), undefined);
  assert.equal(content("after", "file"), "kept");
  assert.deepEqual(
    care.snapshots("after").map(({ Name, Volume }) => [Name, Volume]),
    [["first", "after"]],
  );
  assert.deepEqual(moved, [
    [
      { name: "before", mountpoint: before },
      { name: "after", mountpoint: renamed.Mountpoint },
    ],
  ]);
  assert.deepEqual(laidOut(), { after: "_data snapshots" });
  boot();
  assert.equal(content("after", "file"), "kept");
  await care.restore("after", "first");
  const told = seen.map(({ Action, Actor }) => [Action, Actor.ID, Actor.Attributes.oldName]);
  assert.deepEqual(
    told.find(([action]) => action === "rename"),
    ["rename", "after", "before"],
  );
});

test("a renaming whose folder was not moved before a crash is finished at boot", () => {
  make("before", { file: "kept" });
  const volume = local.get("before")!;
  store.transaction(() => {
    const records = store.collection<typeof volume>("volumes");
    records.delete("before");
    records.put("after", { ...volume, Name: "after", Mountpoint: join(root, "after/_data") });
    store.collection("volume-renames").put("before", { to: "after" });
  });
  boot();
  assert.equal(content("after", "file"), "kept");
  assert.deepEqual(store.collection("volume-renames").list(), []);
});

test("an anonymous volume that gets a name is anonymous no more", async () => {
  const { Name } = local.create({});
  assert.ok(local.isAnonymous(Name));
  assert.equal((await care.rename(Name, "kept")).Labels, null);
  assert.ok(!local.isAnonymous("kept"));
});

test("refuses a renaming in one sentence", async () => {
  make("one", {});
  make("two", {});
  await assert.rejects(care.rename("none", "new"), refusal("not-found", "get none: no such volume"));
  await assert.rejects(
    care.rename("one", "two"),
    refusal("conflict", "create two: there is a volume of that name already"),
  );
  await assert.rejects(
    care.rename("one", "../up"),
    refusal("invalid", /^create \.\.\/up: .* includes invalid characters/),
  );
  users = { one: [running("web"), running("db", false)] };
  await assert.rejects(
    care.rename("one", "new"),
    refusal(
      "conflict",
      "cannot rename volume one: web (web-id000000), db (db-id0000000) are running with it: stop them first",
    ),
  );
  assert.deepEqual(laidOut(), { one: "_data", two: "_data" });
});

test("a clone has the content and nothing else in common with its source", async () => {
  const from = make("from", { file: "same" });
  chownSync(from, 12, 34);
  chmodSync(from, 0o1770);
  const { volume } = await care.clone("from", "to", { writers: "refuse", labels: { of: "from" } });
  assert.deepEqual(volume.Labels, { of: "from" });
  assert.equal(content("to", "file"), "same");
  const { uid, gid, mode } = statSync(volume.Mountpoint);
  assert.deepEqual([uid, gid, mode & 0o7777], [12, 34, 0o1770]);
  writeFileSync(join(from, "file"), "other");
  assert.equal(content("to", "file"), "same");
  await assert.rejects(
    care.clone("from", "to", { writers: "refuse" }),
    refusal("conflict", "create to: there is a volume of that name already"),
  );
  assert.deepEqual(laidOut(), { from: "_data", to: "_data" });
});

test("a snapshot keeps what was, a restore brings it back, and a removal is of one alone", async () => {
  const at = make("data", { file: "old", also: "there" });
  const { Name, Size } = await care.snapshot("data", undefined, "refuse");
  assert.match(Name, /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z$/);
  assert.equal(Size, 8);
  await care.snapshot("data", "second", "refuse");
  writeFileSync(join(at, "file"), "new");
  writeFileSync(join(at, "more"), "");
  await care.restore("data", Name);
  assert.equal(content("data", "file"), "old");
  assert.deepEqual(files("data"), ["also", "file"]);
  await care.removeSnapshot("data", Name);
  assert.deepEqual(
    care.snapshots("data").map((each) => each.Name),
    ["second"],
  );
  await assert.rejects(care.restore("data", Name), refusal("not-found", `no such snapshot of volume data: ${Name}`));
  await assert.rejects(
    care.snapshot("data", "second", "refuse"),
    refusal("conflict", "cannot snapshot volume data: there is a snapshot second of it already"),
  );
  await assert.rejects(care.snapshot("data", "../../up", "refuse"), refusal("invalid", /includes invalid characters/));
  assert.deepEqual(readdirSync(join(root, "data/snapshots")), ["second"]);
  assert.deepEqual(laidOut(), { data: "_data snapshots" });
});

test("a volume with snapshots is removed by force alone, and they go with it", async () => {
  make("data", { file: "x" });
  await care.snapshot("data", "first", "refuse");
  await assert.rejects(
    local.remove("data", { force: false }),
    refusal("conflict", "remove data: volume has the snapshot first: remove what is not needed, or use --force"),
  );
  assert.deepEqual((await local.prune({ all: ["1"] })).deleted, []);
  await local.remove("data", { force: true });
  assert.deepEqual(readdirSync(root), []);
  make("data", {});
  assert.deepEqual(care.snapshots("data"), []);
});

test("whoever may write is a reason to refuse, stands still, or is ignored, as was asked for", async () => {
  make("data", { file: "x" });
  users = { data: [running("reader", false)] };
  await care.snapshot("data", "beside-a-reader", "refuse");
  const writer = running("writer");
  users = { data: [running("reader", false), writer] };
  await assert.rejects(
    care.snapshot("data", "no", "refuse"),
    refusal(
      "conflict",
      /^cannot snapshot volume data: writer \(writer-id000\) is running with it and may write to it: /,
    ),
  );
  await assert.rejects(
    care.clone("data", "no", { writers: "refuse" }),
    refusal("conflict", /^cannot clone volume data: /),
  );
  await assert.rejects(care.export("data", "refuse"), refusal("conflict", /^cannot export volume data: /));
  await care.snapshot("data", "paused", "pause");
  assert.deepEqual(paused, [writer.id, `${writer.id} goes on`]);
  await care.snapshot("data", "as-it-is", "ignore");
  assert.equal(paused.length, 2);
  await assert.rejects(
    care.restore("data", "paused"),
    refusal(
      "conflict",
      "cannot restore volume data: reader (reader-id000), writer (writer-id000) are running with it: stop them first",
    ),
  );
  assert.deepEqual(readdirSync(root), ["data"]);
});

test("nobody begins to use, removes or makes a volume while it is being copied", async () => {
  make("data", { file: "x" });
  const open = Promise.withResolvers<void>();
  const held = local.exclusively("data", "it is being copied", { mounted: true }, () => open.promise);
  await new Promise(setImmediate);
  let isMounted = false;
  const mounting = local.mount("data", "starter").then(() => {
    isMounted = true;
  });
  await assert.rejects(
    local.remove("data", { force: true }),
    refusal("conflict", "remove data: volume is in use - [] (it is being copied)"),
  );
  await new Promise(setImmediate);
  assert.ok(!isMounted);
  open.resolve();
  await Promise.all([held, mounting]);
  {
    using _ = local.reserve("soon");
    assert.throws(
      () => local.create({ name: "soon" }),
      refusal("conflict", "create soon: a volume of that name is being made"),
    );
  }
  local.create({ name: "soon" });
});

test("what goes out as an archive comes in again the same, compressed or not", async () => {
  const at = make("data", { file: "content" });
  mkdirSync(join(at, "in"));
  symlinkSync("/etc", join(at, "in/link"));
  chownSync(at, 5, 6);
  chmodSync(at, 0o2750);
  const tar = await bytesOf(await care.export("data", "refuse"));
  for (const [name, bytes] of [
    ["plain", tar],
    ["zipped", gzipSync(tar)],
    ["packed", zstdCompressSync(tar)],
  ] as const) {
    const { Mountpoint } = await care.import(name, Readable.from([bytes]), { replace: false });
    assert.equal(content(name, "file"), "content");
    const { uid, gid, mode } = statSync(Mountpoint);
    assert.deepEqual([uid, gid, mode & 0o7777], [5, 6, 0o2750]);
  }
  assert.deepEqual(await bytesOf(await care.export("packed", "refuse")), tar);
  assert.deepEqual(local.holdersOf("data"), []);
});

test("an export with a writer that stands still is of a copy, which goes when the reader does", async () => {
  make("data", { file: "content" });
  users = { data: [running("writer")] };
  const stream = await care.export("data", "pause");
  assert.equal(paused.length, 2);
  assert.equal(readdirSync(root).length, 2);
  await stream.return?.();
  while (readdirSync(root).length > 1) await new Promise(setImmediate);
});

test("an import fills what is empty, replaces by wish alone, and changes nothing if it fails", async () => {
  make("full", { old: "1" });
  make("empty", {});
  const tar = await archive({ entry: { name: "new", type: "file", mode: 0o644, size: 1 }, body: [Buffer.from("2")] });
  await care.import("empty", Readable.from([tar]), { replace: false });
  assert.deepEqual(files("empty"), ["new"]);
  await assert.rejects(
    care.import("full", Readable.from([tar]), { replace: false }),
    refusal("conflict", "cannot import into volume full: it is not empty: say --replace to have its content replaced"),
  );
  await assert.rejects(care.import("full", Readable.from([tar.subarray(0, 400)]), { replace: true }), {
    kind: "invalid",
  });
  await assert.rejects(care.import("never", Readable.from([Buffer.alloc(700, "x")]), { replace: false }), {
    kind: "invalid",
  });
  assert.deepEqual(files("full"), ["old"]);
  assert.deepEqual(laidOut(), { empty: "_data", full: "_data" });
  await care.import("full", Readable.from([tar]), { replace: true });
  assert.deepEqual(files("full"), ["new"]);
  assert.deepEqual(laidOut(), { empty: "_data", full: "_data" });
});

const HOSTILE: readonly (readonly [string, readonly TarOutput[]])[] = [
  ["a name that leads up", [{ entry: { name: "../up", type: "file", mode: 0o644, size: 0 } }]],
  [
    "a link that leads up, and a name below it",
    [
      { entry: { name: "way", type: "symlink", mode: 0o777, linkName: "../.." } },
      { entry: { name: "way/up", type: "file", mode: 0o644, size: 0 } },
    ],
  ],
  [
    "a hard link to what lies above",
    [{ entry: { name: "link", type: "hardlink", mode: 0o644, linkName: "../volume.img" } }],
  ],
];

for (const [what, members] of HOSTILE) {
  test(`an archive with ${what} puts nothing outside of the volume`, async () => {
    const tar = await archive(...members);
    await care.import("caged", Readable.from([tar]), { replace: false }).catch((error: unknown) => {
      assert.ok(error instanceof GantryError && error.kind === "invalid", String(error));
    });
    assert.ok(!existsSync(join(root, "up")) && !existsSync(join(root, "caged/up")));
    assert.deepEqual(
      Object.values(laidOut()).filter((parts) => parts !== "_data"),
      [],
    );
  });
}

test("a volume of limited size holds so much and no more, and grows", { skip: NO_DISKS }, async () => {
  local.create({ name: "small", options: { size: "4M" } });
  assert.deepEqual((await local.inspect("small"))?.Status, { Limit: 4 << 20, Used: 0 });
  const at = await local.mount("small", "me");
  try {
    assert.deepEqual(readdirSync(at), []);
    assert.throws(() => writeFileSync(join(at, "large"), Buffer.alloc(5 << 20)), { code: "ENOSPC" });
    rmSync(join(at, "large"));
    writeFileSync(join(at, "file"), "kept");
    await assert.rejects(
      care.resize("small", "2M"),
      refusal("invalid", "cannot resize volume small: it has 4MiB, and can only be made larger"),
    );
  } finally {
    await local.release("me");
  }
  const { Options } = await care.resize("small", "16M");
  assert.deepEqual(Options, { size: "16M" });
  await local.mount("small", "me");
  try {
    writeFileSync(join(at, "large"), Buffer.alloc(5 << 20));
    assert.equal(content("small", "file"), "kept");
    // The kernel doesn't let everybody do this while it is mounted: it is grown, or refused in one sentence.
    const grown = await care.resize("small", "24M").catch((error: unknown) => error);
    if (grown instanceof Error)
      assert.match(grown.message, /^cannot resize volume small while it is in use: .*Permission denied.*: stop what/);
  } finally {
    await local.release("me");
  }
  assert.deepEqual((await care.resize("small", "24M")).Options, { size: "24M" });
  assert.ok(!isMountPoint(at));
  boot();
  const [row] = await care.usage();
  assert.deepEqual([row?.Name, row?.Size, row?.Limit], ["small", (5 << 20) + 4, 24 << 20]);
  // What isn't written back yet takes no room so far.
  assert.ok((row?.Taken ?? 0) > 0);
  assert.ok(!isMountPoint(at));
  await care.snapshot("small", "full", "refuse");
  await care.clone("small", "other", { writers: "refuse" });
  assert.deepEqual(local.get("other")?.Options, { size: "24M" });
  await local.mount("small", "me");
  rmSync(join(at, "large"));
  await local.release("me");
  await care.restore("small", "full");
  await local.mount("small", "me");
  try {
    assert.deepEqual(readdirSync(at).sort(), ["file", "large"]);
  } finally {
    await local.release("me");
  }
  await care.rename("small", "renamed");
  assert.equal((await local.sizes("renamed"))?.bytes, (5 << 20) + 4);
  for (const name of ["renamed", "other"]) await local.remove(name, { force: true });
  assert.deepEqual(readdirSync(root), []);
});

test("a volume without a size can't be resized, and one whose content lies elsewhere not be kept", async () => {
  make("plain", {});
  await assert.rejects(
    care.resize("plain", "1G"),
    refusal(
      "invalid",
      "cannot resize volume plain: it was made without a size: import its export into a volume that has one",
    ),
  );
  make("remote", {}, { type: "tmpfs", device: "tmpfs" });
  await assert.rejects(
    care.snapshot("remote", "x", "refuse"),
    refusal("invalid", "cannot snapshot volume remote: its content is that of tmpfs"),
  );
});

test("the use of volumes names who uses them, their snapshots and sizes", async () => {
  make("data", { file: "12345" });
  await care.snapshot("data", "first", "refuse");
  users = { data: [running("web"), { ...running("old", false), isRunning: false }] };
  const [row] = await care.usage();
  assert.deepEqual(
    [row?.Size, row?.Limit, row?.Anonymous, row?.Snapshots.map(({ Name, Size }) => [Name, Size])],
    [5, 0, false, [["first", 5]]],
  );
  assert.deepEqual(
    row?.Containers.map(({ Name, State, ReadOnly }) => [Name, State, ReadOnly]),
    [
      ["web", "running", false],
      ["old", "stopped", true],
    ],
  );
});

test("what a crash left half done is gone after a boot, and the rest is whole", () => {
  const at = make("data", { file: "kept" });
  for (const left of [
    ".new-1/_data",
    "data/.new-2/_data",
    "data/snapshots/.new-3/_data",
    "data/snapshots/none/_data",
  ]) {
    mkdirSync(join(root, left), { recursive: true });
    writeFileSync(join(root, left, "half"), "");
  }
  boot();
  assert.deepEqual(readdirSync(root), ["data"]);
  assert.deepEqual(readdirSync(join(root, "data")).sort(), ["_data", "snapshots"]);
  assert.deepEqual(readdirSync(join(root, "data/snapshots")), []);
  assert.equal(readFileSync(join(at, "file"), "utf8"), "kept");
});

test("a folder of a volume that became a link is not used", async () => {
  const at = make("data", {});
  rmSync(at, { recursive: true });
  symlinkSync("/etc", at);
  const message = `cannot use volume data: ${at} is not a folder`;
  await assert.rejects(local.mount("data", "me"), refusal("internal", message));
  await assert.rejects(care.snapshot("data", "no", "ignore"), refusal("internal", message));
  await local.remove("data", { force: true });
  assert.ok(existsSync("/etc/passwd"));
});

test("a volume that is renamed while an archive comes for it gets nothing of it, and nothing is left", async () => {
  make("before", {});
  const content = await archive({ entry: { name: "file", type: "file", mode: 0o644, size: 0 }, body: [] });
  const stream = new Readable({ read() {} });
  const importing = care.import("before", stream, { replace: false });
  stream.push(content.subarray(0, 512));
  await new Promise(setImmediate);
  await care.rename("before", "after");
  local.create({ name: "before" });
  stream.push(content.subarray(512));
  stream.push(null);
  await assert.rejects(importing, refusal("conflict", /cannot import into volume before: it was changed meanwhile/));
  assert.deepEqual(laidOut(), { after: "_data", before: "_data" });
  assert.deepEqual([files("before"), files("after")], [[], []]);
});

test("what was imported is kept until the volume is free to take it", async () => {
  make("data", { old: "" });
  const content = await archive({ entry: { name: "new", type: "file", mode: 0o644, size: 0 }, body: [] });
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  const copying = local.exclusively("data", "it is being copied", { mounted: false }, () => over);
  const importing = care.import("data", Readable.from([content]), { replace: true });
  await new Promise((resolve) => setTimeout(resolve, 100));
  end();
  await copying;
  await importing;
  assert.deepEqual([files("data"), laidOut()], [["new"], { data: "_data" }]);
});

test("snapshots go nowhere else, whatever is in the place of their folder", async () => {
  const { Mountpoint } = local.create({ name: "data" });
  symlinkSync(tmpdir(), join(Mountpoint, "..", "snapshots"));
  await assert.rejects(care.snapshot("data", "first", "refuse"), refusal("internal", /snapshots is not a folder$/));
  assert.equal(existsSync(join(tmpdir(), "first")), false);
});

test("what the machine's disk has no room for doesn't get into a volume that has", { skip: NO_DISKS }, async () => {
  const folder = join(root, "small");
  mkdirSync(folder);
  mount("tmpfs", folder, "tmpfs", 0, "size=8m");
  try {
    const own = new LocalVolumes({ root: folder, store, events, usersOf: () => [] });
    const users = { of: () => [], pause: () => Promise.reject(new Error("nobody runs")), renamed: () => () => {} };
    const ownCare = new VolumeCare({ local: own, volumes: new Volumes({ local: own }), users });
    own.create({ name: "large", options: { size: "64m" } });
    const body = [randomBytes(16 << 20)];
    const tar = await archive({ entry: { name: "new", type: "file", mode: 0o644, size: 16 << 20 }, body });
    const full = refusal("internal", /no space left/);
    await assert.rejects(ownCare.import("large", Readable.from([tar]), { replace: false }), full);
    assert.deepEqual([readdirSync(folder), listMounts(folder).length], [["large"], 1]);
  } finally {
    for (const { target } of listMounts(folder).toReversed()) await detachMount(target);
  }
});
