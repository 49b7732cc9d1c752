import assert from "node:assert/strict";
import { test } from "node:test";
import { grpcPair, type Pair } from "../grpc/pair.fixture.ts";
import { FileOrder } from "./file-order.ts";
import { type FileSource, sendFiles } from "./file-send.ts";
import { receiveFiles, type SyncTarget } from "./file-sync.ts";
import { FILE_SYNC, type Packet, type Stat } from "./packet.ts";
import type { PacketStream } from "./packet-stream.ts";

const FOLDER = 0x8000_01ed;
const LINK = 0x0800_01ff;
const PLAIN = 0o644;

function stat(path: string, mode = PLAIN, more: Partial<Stat> = {}): Stat {
  const none = { uid: 0, gid: 0, size: 0, modTime: 0n, linkname: "", devmajor: 0, devminor: 0, xattrs: new Map() };
  return { ...none, path, mode, ...more };
}

/** Files by their paths in the order of a walk; a text is a file's bytes, undefined a folder. */
function sourceOf(files: Readonly<Record<string, string | undefined>>, opened: string[] = []): FileSource {
  return {
    files: () =>
      Object.entries(files).map(([path, text]) =>
        text === undefined ? stat(path, FOLDER) : stat(path, PLAIN, { size: text.length }),
      ),
    open: async function* (path) {
      opened.push(path);
      const bytes = Buffer.from(files[path]!);
      for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
    },
  };
}

class Taken implements SyncTarget {
  readonly told: string[] = [];
  readonly had = new Map<string, string>();
  ended = false;
  readonly wants: (stat: Stat) => boolean | Promise<boolean>;

  constructor(wants: (stat: Stat) => boolean | Promise<boolean> = ({ mode }) => mode === PLAIN) {
    this.wants = wants;
  }

  file(one: Stat): boolean | Promise<boolean> {
    this.told.push(one.path);
    return this.wants(one);
  }

  async contents(one: Stat, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    let text = "";
    for await (const piece of bytes) text += Buffer.from(piece).toString("latin1");
    this.had.set(one.path, text);
  }

  async end(): Promise<void> {
    this.ended = true;
  }
}

function serve(handler: (stream: PacketStream) => Promise<void>): Promise<Pair> {
  return grpcPair((server) => server.stream(FILE_SYNC, (call) => handler(call)));
}

test("the files that are wanted come, the others are told only", async () => {
  const opened: string[] = [];
  const files = { "a.txt": "x".repeat(5000), dir: undefined, "dir/b": "b", "dir/empty": "", z: "z" };
  using pair = await serve((stream) => sendFiles(stream, sourceOf(files, opened)));
  const taken = new Taken(async ({ path }) => path !== "z" && path !== "dir");
  await receiveFiles(pair.client.open(FILE_SYNC), taken);
  assert.deepEqual(taken.told, Object.keys(files));
  assert.deepEqual([...taken.had].sort(), [
    ["a.txt", "x".repeat(5000)],
    ["dir/b", "b"],
    ["dir/empty", ""],
  ]);
  assert.deepEqual(opened.sort(), ["a.txt", "dir/b", "dir/empty"]);
  assert.ok(taken.ended);
});

test("the side that was called can be the one that receives", async () => {
  const taken = new Taken();
  using pair = await serve((stream) => receiveFiles(stream, taken));
  const call = pair.client.open(FILE_SYNC);
  await sendFiles(call, sourceOf({ a: "1", b: "2" }));
  assert.deepEqual(Object.fromEntries(taken.had), { a: "1", b: "2" });
  assert.ok(taken.ended);
});

test("nothing at all is a folder, too", async () => {
  using pair = await serve((stream) => sendFiles(stream, sourceOf({})));
  const taken = new Taken();
  await receiveFiles(pair.client.open(FILE_SYNC), taken);
  assert.ok(taken.ended);
});

test("thousands of files come whole, more than are asked for at a time", async () => {
  const files: Record<string, string> = {};
  for (let at = 10_000; at < 13_000; at++) files[`f${at}`] = `content of ${at} `.repeat(at % 50);
  using pair = await serve((stream) => sendFiles(stream, sourceOf(files)));
  const taken = new Taken();
  await receiveFiles(pair.client.open(FILE_SYNC), taken);
  assert.deepEqual(Object.fromEntries(taken.had), files);
});

test("a file that is not written stops the client, and then goes on", async () => {
  let sent = 0;
  const source: FileSource = {
    files: () => [stat("big", PLAIN, { size: 64 << 20 })],
    open: async function* () {
      for (; sent < 64; sent++) yield new Uint8Array(1 << 20);
    },
  };
  using pair = await serve((stream) => sendFiles(stream, source));
  const gate = Promise.withResolvers<void>();
  let total = 0;
  const taken = new Taken();
  taken.contents = async (_stat, bytes) => {
    await gate.promise;
    for await (const piece of bytes) total += piece.length;
  };
  const receiving = receiveFiles(pair.client.open(FILE_SYNC), taken);
  let before = -1;
  while (sent === 0 || sent !== before) {
    before = sent;
    for (let turns = 0; turns < 200; turns++) await new Promise(setImmediate);
  }
  assert.ok(sent < 32, `${sent} MB were taken without being written`);
  gate.resolve();
  await receiving;
  assert.equal(total, 64 << 20);
});

test("an error on either side is told by the other", async () => {
  const failing = { ...sourceOf({}), files: () => [stat("b"), stat("a")] };
  {
    const ended = Promise.withResolvers<unknown>();
    using pair = await serve((stream) => sendFiles(stream, failing).catch((error) => ended.resolve(error)));
    await assert.rejects(receiveFiles(pair.client.open(FILE_SYNC), new Taken()), /"a".*it comes after "b"/);
    assert.ok((await ended.promise) instanceof Error);
  }
  const source: FileSource = {
    files: () => [stat("a", PLAIN, { size: 1 })],
    open: () => {
      throw new Error("disk on fire");
    },
  };
  using pair = await serve((stream) => sendFiles(stream, source));
  await assert.rejects(receiveFiles(pair.client.open(FILE_SYNC), new Taken()), /error from sender: disk on fire/);
});

test("a file that can't be written ends the sync with why", async () => {
  const told = Promise.withResolvers<unknown>();
  using pair = await serve((stream) => sendFiles(stream, sourceOf({ a: "1", b: "2" })).catch(told.resolve));
  const taken = new Taken();
  taken.contents = () => Promise.reject(new Error("no space left"));
  await assert.rejects(receiveFiles(pair.client.open(FILE_SYNC), taken), /no space left/);
  assert.ok((await told.promise) instanceof Error);
  assert.ok(!taken.ended);
});

const LIES: Readonly<Record<string, readonly Packet[]>> = {
  "a file that nobody asked for": [{ type: "data", id: 3, bytes: new Uint8Array(1) }],
  "an end before the last file": [{ type: "end" }],
  "a request": [{ type: "request", id: 1 }],
  "files after the last one": [
    { type: "stat", stat: stat("a", FOLDER) },
    { type: "stat", stat: stat("f") },
    { type: "stat", stat: undefined },
    { type: "stat", stat: stat("g") },
  ],
  "nothing more": [{ type: "stat", stat: stat("f") }],
};

for (const [what, packets] of Object.entries(LIES)) {
  test(`a client that sends ${what} is refused`, async () => {
    using pair = await serve(async (stream) => {
      for (const packet of packets) await stream.send(packet);
    });
    const taken = new Taken(({ path }) => path === "f");
    await assert.rejects(receiveFiles(pair.client.open(FILE_SYNC), taken));
    assert.ok(!taken.ended);
  });
}

const HOSTILE: readonly (readonly Stat[])[] = [
  [stat("/etc/passwd")],
  [stat("..")],
  [stat("../x")],
  [stat("a/../../x")],
  [stat("./a")],
  [stat("a//b")],
  [stat("a/")],
  [stat("")],
  [stat(".")],
  [stat("a\0b")],
  [stat("dir/file")],
  [stat("a", LINK, { linkname: "/etc" }), stat("a/passwd")],
  [stat("a"), stat("a/b")],
  [stat("a", FOLDER), stat("a/..", FOLDER)],
  [stat("b"), stat("a")],
  [stat("a"), stat("a")],
  [stat("a", FOLDER), stat("a/b"), stat("b"), stat("a/c")],
  [stat("ﬀ"), stat("\u{10000}"), stat("ﬀa")],
  [stat("b", PLAIN, { linkname: "c" }), stat("c")],
  [stat("b", PLAIN, { linkname: "b" })],
  [stat("b", PLAIN, { linkname: "../../etc/shadow" })],
  [stat("a", FOLDER, { linkname: "x" })],
  [stat("a", PLAIN, { size: Number.NaN })],
];

function check(order: FileOrder, stats: readonly Stat[]): void {
  for (const one of stats) order.check(one);
}

test("paths that lead elsewhere, lie about their order or stand below no folder are refused", () => {
  for (const stats of HOSTILE) {
    const order = new FileOrder();
    const names = JSON.stringify(stats.map(({ path }) => path));
    assert.throws(() => check(order, stats), /cannot take/, names);
  }
});

test("what a walk tells is taken", () => {
  check(new FileOrder(), [
    stat(".hidden", FOLDER),
    stat(".hidden/..."),
    stat("a", FOLDER),
    stat("a/b", FOLDER),
    stat("a/b/c"),
    stat("a/bb", PLAIN, { linkname: "a/b/c" }),
    stat("a-b"),
    stat("aa", LINK, { linkname: "../../anywhere" }),
    stat("ab", PLAIN, { linkname: "/a/b/c" }),
    stat("ﬀ"),
    stat("\u{10000}"),
    stat("\udcff"),
  ]);
});
