import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { goModeOf } from "../../base/go-mode.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { Root } from "../root.ts";
import type { FileReceiver, FileStat, SyncRequest } from "../session.ts";
import { ContextStore } from "./context-store.ts";
import { FakeSession, folderRoots } from "./fake-session.fixture.ts";

let root = "";
let folder = "";
let store: ContextStore;
const signal = new AbortController().signal;
const ALL: SyncRequest = { name: "context", include: [], exclude: [], followPaths: [] };

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "gantry-contexts-"));
  folder = join(root, "client");
  mkdirSync(join(folder, "src/deep"), { recursive: true });
  writeFileSync(join(folder, "Dockerfile"), "FROM scratch\n");
  writeFileSync(join(folder, "src/main.c"), "int main;\n");
  writeFileSync(join(folder, "src/deep/a"), "a\n");
  writeFileSync(join(folder, "empty"), "");
  symlinkSync("main.c", join(folder, "src/link"));
  store = await openStore();
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

async function openStore(boot = "boot"): Promise<ContextStore> {
  const opened = new ContextStore({ root: join(root, "contexts"), roots: folderRoots(), boot });
  await opened.recover();
  return opened;
}

async function sync(session: FakeSession, request: Partial<SyncRequest> = {}): Promise<Root> {
  session.sent.length = 0;
  return store.sync(session, { ...ALL, ...request }, signal);
}

function listing(path: string): string[] {
  return (readdirSync(path, { recursive: true }) as string[]).sort().map((name) => {
    const stat = lstatSync(join(path, name), { bigint: true });
    return `${name} ${stat.mode.toString(8)} ${stat.isFile() ? stat.size : ""} ${stat.mtimeNs}`;
  });
}

function assertSame(synced: Root): void {
  assert.deepEqual(listing(synced.folder ?? ""), listing(folder));
}

test("a folder arrives as the client has it, and only what changed is sent again", async () => {
  const session = new FakeSession({ context: folder });
  const first = await sync(session);
  assertSame(first);
  assert.deepEqual([...session.sent].sort(), ["Dockerfile", "src/deep/a", "src/main.c"]);
  await first[Symbol.asyncDispose]();

  writeFileSync(join(folder, "src/main.c"), "int other;\n");
  rmSync(join(folder, "src/deep"), { recursive: true });
  writeFileSync(join(folder, "src/deep"), "a file now");
  rmSync(join(folder, "empty"));
  mkdirSync(join(folder, "empty"), { mode: 0o700 });
  chmodSync(join(folder, "src"), 0o750);
  const second = await sync(session);
  assertSame(second);
  assert.deepEqual(session.sent, ["src/deep", "src/main.c"]);
  await second[Symbol.asyncDispose]();
  const third = await sync(session);
  assert.deepEqual(session.sent, []);
  assertSame(third);
  await third[Symbol.asyncDispose]();
});

test("digests are known without reading a file", async () => {
  linkSync(join(folder, "src/main.c"), join(folder, "src/same.c"));
  const large = Buffer.alloc(1_000_000, "x");
  writeFileSync(join(folder, "large"), large);
  await using synced = await sync(new FakeSession({ context: folder }));
  assert.equal(synced.index?.digest("src/main.c"), sha256Of("int main;\n"));
  assert.equal(synced.index?.digest("src/same.c"), sha256Of("int main;\n"));
  assert.equal(synced.index?.digest("empty"), sha256Of(""));
  assert.equal(synced.index?.digest("large"), sha256Of(large));
  assert.equal(synced.index?.digest("src"), undefined);
  assert.equal(synced.index?.digest("nothing"), undefined);
  assert.equal(lstatSync(join(synced.folder ?? "", "src/same.c")).nlink, 2);
});

test("a build that reads a state keeps it while another brings the next", async () => {
  const session = new FakeSession({ context: folder });
  const first = await sync(session);
  const before = listing(first.folder ?? "");
  writeFileSync(join(folder, "src/main.c"), "int changed;\n");
  rmSync(join(folder, "Dockerfile"));
  const second = await sync(session);
  assert.notEqual(second.folder, first.folder);
  assert.deepEqual(session.sent, ["src/main.c"]);
  assert.deepEqual(listing(first.folder ?? ""), before);
  assert.equal(readFileSync(join(first.folder ?? "", "src/main.c"), "utf8"), "int main;\n");
  assertSame(second);
  await first[Symbol.asyncDispose]();
  assert.equal(existsSync(first.folder ?? ""), false, "what nobody can ask for again is gone");
  assertSame(second);
  await second[Symbol.asyncDispose]();
});

test("two syncs of one folder at once both end well", async () => {
  const [one, other] = [new FakeSession({ context: folder }), new FakeSession({ context: folder })];
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  one.beforeContents = async () => {
    begun.resolve();
    await go.promise;
  };
  const slow = store.sync(one, ALL, signal);
  await begun.promise;
  await using fast = await store.sync(other, ALL, signal);
  assertSame(fast);
  go.resolve();
  await using late = await slow;
  assertSame(late);
});

test("each choice of files has its own state, which shares what is the same", async () => {
  const session = new FakeSession({ context: folder });
  await (await sync(session))[Symbol.asyncDispose]();
  const part = await sync(session, { followPaths: ["src"] });
  assert.deepEqual(session.sent, [], "what was sent for another choice is not sent again");
  assert.deepEqual(readdirSync(part.folder ?? ""), ["src"]);
  await part[Symbol.asyncDispose]();
  const whole = await sync(session);
  assert.deepEqual(session.sent, []);
  assertSame(whole);
  await whole[Symbol.asyncDispose]();
});

test("what was sent outlives the engine, not a reboot", async () => {
  const session = new FakeSession({ context: folder });
  await (await sync(session))[Symbol.asyncDispose]();
  store = await openStore();
  await (await sync(session))[Symbol.asyncDispose]();
  assert.deepEqual(session.sent, []);
  store = await openStore("another boot");
  assert.deepEqual(await store.usage(), []);
  await (await sync(session))[Symbol.asyncDispose]();
  assert.equal(session.sent.length, 3);
});

test("a client without a shared key leaves nothing", async () => {
  const synced = await sync(new FakeSession({ context: folder }, ""));
  assertSame(synced);
  await synced[Symbol.asyncDispose]();
  assert.deepEqual(readdirSync(join(root, "contexts")), []);
});

test("a sync that fails leaves what was there, and nothing else", async () => {
  const session = new FakeSession({ context: folder });
  await (await sync(session))[Symbol.asyncDispose]();
  writeFileSync(join(folder, "new"), "x");
  session.beforeContents = () => Promise.reject(new Error("the line was cut"));
  await assert.rejects(sync(session), /the line was cut/);
  const [entry = ""] = readdirSync(join(root, "contexts"));
  assert.equal(readdirSync(join(root, "contexts", entry)).filter((name) => name.startsWith("incoming")).length, 0);
  session.beforeContents = async () => {};
  await using again = await sync(session);
  assert.deepEqual(session.sent, ["new"]);
  assertSame(again);
});

test("usage tells folders that are kept; those in use are not removed", async () => {
  const session = new FakeSession({ context: folder });
  const held = await sync(session);
  const [row] = await store.usage();
  assert.equal(row?.type, "source.local");
  assert.equal(row?.description, "local source for context");
  assert.equal(row?.inUse, true);
  assert.equal(row?.size, "FROM scratch\n".length + "int main;\n".length + "a\n".length);
  assert.equal(row?.usageCount, 1);
  assert.equal(await store.remove(row?.id ?? ""), undefined);
  await held[Symbol.asyncDispose]();
  assert.equal(await store.remove(row?.id ?? ""), row?.size);
  assert.deepEqual(await store.usage(), []);
  assert.deepEqual(readdirSync(join(root, "contexts")), []);
});

/** A client that tells what it likes. */
class HostileSession extends FakeSession {
  readonly stats: readonly Partial<FileStat>[];

  constructor(stats: readonly Partial<FileStat>[]) {
    super({});
    this.stats = stats;
  }

  override async sync(_request: SyncRequest, receiver: FileReceiver): Promise<void> {
    for (const stat of this.stats) {
      const whole: FileStat = {
        ...{ path: "", mode: 0o644, uid: 0, gid: 0, size: 1, modTime: 0n, linkname: "", devmajor: 0, devminor: 0 },
        xattrs: new Map(),
        ...stat,
      };
      async function* bytes(): AsyncGenerator<Buffer> {
        yield Buffer.from("x");
      }
      if (receiver.file(whole)) await receiver.contents(whole, bytes());
    }
    await receiver.end();
  }
}

const FOLDER = goModeOf(0o040755);
const LINK = goModeOf(0o120777);
const HOSTILE: readonly (readonly [string, readonly Partial<FileStat>[]])[] = [
  ["an absolute path", [{ path: "/etc/passwd" }]],
  ["a path that leads up", [{ path: "../outside" }]],
  ["a path that leads up inside", [{ path: "a", mode: FOLDER }, { path: "a/../../outside" }]],
  ["the folder itself", [{ path: ".", mode: FOLDER }]],
  ["an empty path", [{ path: "", mode: FOLDER }]],
  ["a file in a folder that was not told", [{ path: "a/b" }]],
  ["a file below a file", [{ path: "a" }, { path: "a/b" }]],
  ["a file below a link", [{ path: "a", mode: LINK, linkname: "/etc" }, { path: "a/b" }]],
  ["the same path twice", [{ path: "a" }, { path: "a" }]],
  ["paths out of order", [{ path: "b" }, { path: "a" }]],
  [
    "a link that becomes a folder",
    [{ path: "a", mode: LINK, linkname: "/etc" }, { path: "a", mode: FOLDER }, { path: "a/b" }],
  ],
  ["a hard link to outside", [{ path: "a", linkname: "../../../../etc/passwd" }]],
  ["a hard link to what comes later", [{ path: "a", linkname: "b" }, { path: "b" }]],
  [
    "a hard link to a folder",
    [
      { path: "a", mode: FOLDER },
      { path: "b", linkname: "a" },
    ],
  ],
  ["a hard link to itself", [{ path: "a", linkname: "a" }]],
  ["NUL in a name", [{ path: "a\0b" }]],
  ["NUL in a link", [{ path: "a", mode: LINK, linkname: "b\0c" }]],
  ["a size below nothing", [{ path: "a", size: -1 }]],
  ["a name longer than the kernel's", [{ path: "a".repeat(5000) }]],
  ["a mode that no file has", [{ path: "a", mode: 1 << 19 }]],
];

for (const [what, stats] of HOSTILE) {
  test(`a client's ${what} is refused and leaves nothing`, async () => {
    await assert.rejects(store.sync(new HostileSession(stats), ALL, signal), /context/);
    assert.deepEqual(readdirSync(join(root, "contexts")), []);
    assert.deepEqual(readdirSync(root).sort(), ["client", "contexts"]);
  });
}

test("a link in the folder leads nobody out of it", async () => {
  const outside = join(root, "outside");
  mkdirSync(outside);
  const session = new FakeSession({ context: folder });
  symlinkSync(outside, join(folder, "way"));
  await (await sync(session))[Symbol.asyncDispose]();
  rmSync(join(folder, "way"));
  mkdirSync(join(folder, "way"));
  writeFileSync(join(folder, "way/file"), "x");
  await using second = await sync(session);
  assertSame(second);
  assert.deepEqual(readdirSync(outside), []);
});

test("a client's marks of overlayfs are not set", async () => {
  const stat = { path: "a", mode: FOLDER, xattrs: new Map([["trusted.overlay.opaque", Buffer.from("y")]]) };
  await using synced = await store.sync(new HostileSession([stat]), ALL, signal);
  const { getXattr } = await import("../../kernel/xattr.ts");
  assert.equal(getXattr(join(synced.folder ?? "", "a"), "trusted.overlay.opaque"), undefined);
});

test("times before 1970 and past 2038 survive", async () => {
  utimesSync(join(folder, "Dockerfile"), new Date(-86_400_500), new Date(-86_400_500));
  utimesSync(join(folder, "src/main.c"), 5_000_000_000.5, 5_000_000_000.5);
  await using synced = await sync(new FakeSession({ context: folder }));
  assertSame(synced);
});
