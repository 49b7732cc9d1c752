import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { EventMessage } from "../api/event.ts";
import { GantryError } from "../base/errors.ts";
import { EventBus } from "../events/bus.ts";
import { bindMount, isMountPoint, listMounts, unmount } from "../kernel/mount.ts";
import { openMemory } from "../state/memory.ts";
import type { Collection, Store } from "../state/store.ts";
import { hasDisks } from "./disk.ts";
import { LocalVolumes } from "./local.ts";

let root = "";
let users: Record<string, string[]> = {};
let seen: EventMessage[] = [];
let volumes: LocalVolumes;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "gantry-volumes-"));
  users = {};
  seen = [];
  const events = new EventBus();
  events.subscribe((event) => seen.push(event));
  volumes = new LocalVolumes({ root, store: openMemory(), events, usersOf: (name) => users[name] ?? [] });
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

function refusal(kind: string, message: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof GantryError, String(error));
    assert.deepEqual([error.kind, error.message], [kind, message]);
    return true;
  };
}

const REFUSALS: readonly [string, Readonly<Record<string, string>> | undefined, string][] = [
  ["a", undefined, "create a: volume name is too short, names should be at least two alphanumeric characters"],
  [
    "../up",
    undefined,
    'create ../up: "../up" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
  ],
  ["v1", { foo: "x" }, 'create v1: invalid option: "foo"'],
  ["v2", { type: "tmpfs" }, 'create v2: missing required option: "device"'],
  ["v3", { o: "bind", device: "/tmp" }, 'create v3: missing required option: "type"'],
  ["v4", { o: "bind" }, 'create v4: missing required option: "device"'],
  ["v5", { size: "10k" }, "create v5: a size is from 1MiB to 16TiB, not 10k"],
  ["v7", { size: "lots" }, "create v7: invalid size: 'lots'"],
  [
    "v8",
    { size: "1g", type: "tmpfs", device: "tmpfs" },
    'create v8: the option "size" is for a volume without a device; a size that the device takes goes into "o"',
  ],
  ["v6", { type: "tmpfs", device: "x\0y" }, 'create v6: the option "device" has a NUL byte'],
];

for (const [name, options, message] of REFUSALS) {
  test(`refuses ${JSON.stringify({ name, options })}`, () => {
    assert.throws(() => volumes.create({ name, ...(options && { options }) }), refusal("invalid", message));
    assert.deepEqual(readdirSync(root), []);
  });
}

test("keeps the options that it was made with, whatever is asked for later", () => {
  const options = { type: "tmpfs", device: "tmpfs", o: "size=1m" };
  assert.deepEqual(volumes.create({ name: "keep", options }).Options, options);
  assert.deepEqual(volumes.create({ name: "keep", options: { ...options, o: "size=2m" } }).Options, options);
  assert.deepEqual(volumes.create({ name: "empty", options: {} }).Options, {});
  assert.throws(
    () => volumes.create({ name: "keep", driver: "other" }),
    refusal("not-found", 'create keep: error looking up volume plugin other: plugin "other" not found'),
  );
  assert.deepEqual(
    seen.map(({ Action, Actor }) => [Action, Actor.ID]),
    [
      ["create", "keep"],
      ["create", "empty"],
    ],
  );
});

test("counts each file once, and follows no link out of the volume", async () => {
  const { Mountpoint } = volumes.create({ name: "counted" });
  mkdirSync(join(Mountpoint, "in/deep"), { recursive: true });
  writeFileSync(join(Mountpoint, "in/deep/ten"), "0123456789");
  linkSync(join(Mountpoint, "in/deep/ten"), join(Mountpoint, "again"));
  symlinkSync("/usr", join(Mountpoint, "usr"));
  writeFileSync(join(Mountpoint, "three"), "abc");
  assert.equal(await volumes.usage("counted"), 13 + "/usr".length);
});

test("prunes what has no name and no user, and with all what has no user", async () => {
  const kept = volumes.create({ labels: { keep: "1" } });
  const gone = volumes.create({});
  const used = volumes.create({});
  volumes.create({ name: "named" });
  volumes.create({ name: "device", options: { type: "tmpfs", device: "tmpfs" } });
  users = { [used.Name]: ["c".repeat(64)] };
  writeFileSync(join(gone.Mountpoint, "file"), "0123456789");
  await assert.rejects(volumes.prune({ dangling: ["true"] }), refusal("invalid", "invalid filter 'dangling'"));
  await assert.rejects(volumes.prune({ all: ["maybe"] }), refusal("invalid", "invalid filter 'all=[maybe]'"));
  assert.deepEqual(await volumes.prune({ "label!": ["keep"] }), { deleted: [gone.Name], spaceReclaimed: 10 });
  assert.deepEqual(await volumes.prune({ label: ["other"] }), { deleted: [], spaceReclaimed: 0 });
  assert.deepEqual((await volumes.prune({ all: ["1"] })).deleted.sort(), [kept.Name, "named"].sort());
  assert.deepEqual(
    volumes
      .list()
      .map(({ Name }) => Name)
      .sort(),
    ["device", used.Name].sort(),
  );
  assert.deepEqual(
    seen.filter(({ Action }) => Action === "prune").map(({ Actor }) => Actor.Attributes.reclaimed),
    ["10", "0", "0"],
  );
});

test("runs one prune at a time", async () => {
  volumes.create({});
  const first = volumes.prune({});
  await assert.rejects(volumes.prune({}), refusal("conflict", "a prune operation is already running"));
  assert.equal((await first).deleted.length, 1);
});

test("a removal waits for the last holder, and is refused if a container takes the volume meanwhile", async () => {
  const options = { type: "tmpfs", device: "tmpfs", o: "size=1m" };
  volumes.create({ name: "held", options });
  const { Mountpoint } = volumes.create({ name: "taken", options });
  for (const name of ["held", "taken"]) await volumes.mount(name, "gone");
  try {
    const removals = Promise.allSettled([
      volumes.remove("held", { force: false }),
      volumes.remove("held", { force: false }),
      volumes.remove("taken", { force: false }),
    ]);
    await setImmediate();
    assert.ok(volumes.get("held") !== undefined && isMountPoint(Mountpoint));
    users = { taken: ["new"] };
    await volumes.release("gone");
    const [first, second, third] = await removals;
    assert.equal(first.status, "fulfilled");
    assert.ok(second.status === "rejected" && refusal("not-found", "get held: no such volume")(second.reason));
    assert.ok(
      third.status === "rejected" && refusal("conflict", "remove taken: volume is in use - [new]")(third.reason),
    );
    assert.deepEqual(readdirSync(root), ["taken"]);
  } finally {
    await volumes.release("gone");
  }
});

test("a removal takes nothing of what somebody mounted inside the volume", async (t) => {
  const { Mountpoint } = volumes.create({ name: "shared" });
  const other = mkdtempSync(join(tmpdir(), "gantry-other-"));
  t.after(() => {
    for (const { target } of listMounts(root)) unmount(target);
    rmSync(other, { recursive: true, force: true });
  });
  writeFileSync(join(other, "file"), "somebody's");
  mkdirSync(join(Mountpoint, "inner"));
  bindMount(other, join(Mountpoint, "inner"));
  await volumes.remove("shared", { force: false });
  assert.equal(readFileSync(join(other, "file"), "utf8"), "somebody's");
  assert.deepEqual(readdirSync(root), []);
});

test("what chattr keeps from being changed keeps no engine from starting, and is nobody's content", (t) => {
  const left = join(root, "left");
  mkdirSync(join(left, "_data"), { recursive: true });
  writeFileSync(join(left, "_data", "old"), "");
  const kept = [join(left, "_data", "old"), left];
  t.after(() => {
    for (const path of kept) if (existsSync(path)) execFileSync("chattr", ["-i", path]);
  });
  try {
    execFileSync("chattr", ["+i", ...kept], { stdio: "pipe" });
  } catch (error) {
    return t.skip(String(error));
  }
  const again = new LocalVolumes({ root, store: openMemory(), events: new EventBus(), usersOf: () => [] });
  assert.deepEqual(readdirSync(again.create({ name: "left" }).Mountpoint), []);
});

test("a volume isn't removed while it is being mounted", {
  skip: !hasDisks() && "mkfs.ext4 is not installed",
}, async () => {
  volumes.create({ name: "disk", options: { size: "8M" } });
  const mounting = volumes.mount("disk", "somebody");
  const removal = volumes.remove("disk", { force: false });
  const mounted = await mounting;
  writeFileSync(join(mounted, "file"), "");
  await volumes.release("somebody");
  await removal;
  assert.deepEqual([readdirSync(root), isMountPoint(mounted)], [[], false]);
});

test("a disk that somebody unmounted is mounted again for who comes next", {
  skip: !hasDisks() && "mkfs.ext4 is not installed",
}, async () => {
  volumes.create({ name: "disk", options: { size: "8M" } });
  const folder = await volumes.mount("disk", "first");
  writeFileSync(join(folder, "file"), "");
  unmount(folder);
  await volumes.mount("disk", "second");
  assert.equal(existsSync(join(folder, "file")), true);
  await volumes.release("first");
  await volumes.release("second");
  assert.equal(isMountPoint(folder), false);
});

test("a volume whose removal can't be recorded is still there", async () => {
  const store = openMemory();
  let full = "";
  const failing: Store = {
    ...store,
    collection: (name) => {
      const rows = store.collection<never>(name);
      const remove = (key: string) => {
        if (name === full) throw new GantryError("internal", "the disk is full");
        rows.delete(key);
      };
      return { ...rows, delete: remove } as Collection<never>;
    },
  };
  const own = new LocalVolumes({ root, store: failing, events: new EventBus(), usersOf: () => [] });
  own.create({ name: "data" });
  full = "volumes";
  await assert.rejects(own.remove("data", { force: false }), refusal("internal", "the disk is full"));
  assert.deepEqual([own.list().map(({ Name }) => Name), readdirSync(root)], [["data"], ["data"]]);
  full = "volume-renames";
  const renamed = own.rename(own.get("data")!, "other", () => () => {});
  assert.equal(renamed.Name, "other");
  full = "";
  // What is still noted of the renaming moves no volume that has the old name since.
  own.create({ name: "data" });
  await own.remove("other", { force: false });
  const again = new LocalVolumes({ root, store, events: new EventBus(), usersOf: () => [] });
  assert.deepEqual([again.list().map(({ Name }) => Name), readdirSync(root)], [["data"], ["data"]]);
});
