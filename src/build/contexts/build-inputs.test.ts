import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { tarOf } from "../../../test/archive.ts";
import type { BuildRequest, ContextSource } from "../builder.ts";
import type { LocalOperation } from "../graph.ts";
import type { BuildEvent } from "../progress.ts";
import type { Root } from "../root.ts";
import { Roots } from "../roots.ts";
import { Inputs } from "./build-inputs.ts";
import { ContextStore } from "./context-store.ts";
import { FakeSession } from "./fake-session.fixture.ts";
import { KnownArchives } from "./known-archives.ts";

let root = "";
let store: ContextStore;
let archives: KnownArchives;
let events: BuildEvent[];
const roots = new Roots({ snapshots: undefined as never, folder: "/nonexistent" });
const { signal } = new AbortController();

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "gantry-inputs-"));
  store = new ContextStore({ root: join(root, "contexts"), roots });
  await store.recover();
  archives = new KnownArchives();
  events = [];
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

type Files = Readonly<Record<string, string | { readonly link: string }>>;

function folderOf(name: string, files: Files): string {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    if (typeof content === "string") writeFileSync(join(folder, path), content);
    else symlinkSync(content.link, join(folder, path));
  }
  return folder;
}

function archiveOf(files: Files): ContextSource {
  const tar = tarOf(
    Object.entries(files).map(([name, content]) =>
      typeof content === "string" ? { name, body: content } : { name, type: "symlink" as const, link: content.link },
    ),
  );
  async function* bytes(): AsyncGenerator<Uint8Array> {
    yield tar;
  }
  return { type: "archive", bytes: bytes() };
}

/** The same files as a client's folder and as an archive. */
function ways(files: Files): readonly Partial<BuildRequest>[] {
  const folder = folderOf(`client-${Math.random()}`, files);
  const session = new FakeSession({ context: folder, dockerfile: folder });
  const context = { type: "session", name: "context" } as const;
  return [
    { session, context, dockerfileSource: { type: "session", name: "dockerfile" } },
    { session, context },
    { context: archiveOf(files) },
  ];
}

function open(request: Partial<BuildRequest>): Inputs {
  const whole = {
    ...{ session: undefined, context: { type: "none" }, dockerfile: { path: "Dockerfile" }, origin: "buildkit" },
    ...{ namedContexts: new Map(), platforms: [] },
    ...request,
  } as unknown as BuildRequest;
  const asked = () => Promise.reject(new Error("not of this test"));
  return new Inputs(
    {
      ...{ store, archives, roots, temporary: join(root, "temporary"), maxUnpackRatio: () => 100 },
      ...{ remote: asked, base: asked, lent: asked, onEnd: () => {} },
    },
    whole,
    { signal, onEvent: (event) => void events.push(event) },
  );
}

async function load(request: Partial<BuildRequest>) {
  await using inputs = open(request);
  return await inputs.dockerfile();
}

async function localOf(inputs: Inputs, operation: Partial<LocalOperation> = {}): Promise<Root | undefined> {
  const whole: LocalOperation = { kind: "local", name: "context", exclude: [], followPaths: undefined, ...operation };
  const context = { request: undefined as never, vertex: { id: "v" } as never, signal, onEvent: () => {} };
  return inputs.resolve(whole, context).root();
}

test("the Dockerfile and the ignore file are read from every kind of context", async () => {
  for (const way of ways({ Dockerfile: "FROM a\n", ".dockerignore": "x\n# no\n!y\n" })) {
    assert.deepEqual(await load(way), { text: "FROM a\n", file: "Dockerfile", ignore: ["x", "!y"] });
  }
  const told = events.flatMap((event) => (event.type === "vertex" ? [event.vertex.name] : []));
  assert.ok(told.includes("[internal] load build definition from Dockerfile"));
  assert.ok(told.includes("[internal] load .dockerignore"));
});

test("an ignore file of the Dockerfile's own comes before the context's", async () => {
  const files = {
    "docker/b.Dockerfile": "FROM b\n",
    "docker/b.Dockerfile.dockerignore": "own\n",
    ".dockerignore": "all\n",
  };
  for (const way of ways(files)) {
    const loaded = await load({ ...way, dockerfile: { path: "docker/b.Dockerfile" } });
    assert.deepEqual(loaded, { text: "FROM b\n", file: "docker/b.Dockerfile", ignore: ["own"] });
  }
});

test("without an ignore file there is none; a Dockerfile in small letters will do", async () => {
  for (const way of ways({ dockerfile: "FROM small\n" })) {
    assert.deepEqual(await load(way), { text: "FROM small\n", file: "dockerfile", ignore: undefined });
  }
});

test("a Dockerfile that is a link is read inside of its context only", async () => {
  writeFileSync(join(root, "Dockerfile"), "FROM outside\n");
  const inside = ways({ Dockerfile: { link: "sub/real" }, "sub/real": "FROM inside\n" });
  // A client that follows links sends both.
  for (const way of inside.slice(2)) assert.equal((await load(way)).text, "FROM inside\n");
  const folder = folderOf("linked", { "sub/real": "FROM inside\n", "sub/Dockerfile": { link: "real" } });
  const session = new FakeSession({ context: folder });
  session.followLinks = true;
  const context = { type: "session", name: "context" } as const;
  assert.equal((await load({ session, context, dockerfile: { path: "sub/Dockerfile" } })).text, "FROM inside\n");
  for (const link of [
    "../Dockerfile",
    "/Dockerfile",
    `${root}/Dockerfile`,
    "../../../../../../etc/passwd",
    "/proc/1/environ",
  ]) {
    for (const way of ways({ Dockerfile: { link } })) {
      await assert.rejects(load(way), { kind: "invalid", message: /failed to read dockerfile/ }, link);
    }
  }
  for (const path of ["../Dockerfile", "/../Dockerfile", "sub/../../Dockerfile"]) {
    for (const way of ways({ a: "x" })) {
      await assert.rejects(load({ ...way, dockerfile: { path } }), /failed to read dockerfile/, path);
    }
  }
});

test("what is missing is told in the words of the client's builder", async () => {
  for (const way of ways({ a: "x" })) {
    await assert.rejects(load(way), {
      message: "failed to read dockerfile: open Dockerfile: no such file or directory",
    });
    await assert.rejects(
      load({ ...way, origin: "docker", context: archiveOf({}), dockerfileSource: archiveOf({ a: "x" }) }),
      {
        message: "Cannot locate specified Dockerfile: Dockerfile",
      },
    );
  }
  const context = archiveOf({ Dockerfile: "" });
  await assert.rejects(load({ origin: "docker", context }), { message: "the Dockerfile (Dockerfile) cannot be empty" });
  await assert.rejects(
    load({ origin: "docker", context, dockerfile: { path: "../x" } }),
    /Forbidden path outside the build context/,
  );
});

test("a Dockerfile that comes alone is all there is", async () => {
  async function* bytes(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("FROM alone\n");
  }
  await using inputs = open({ context: { type: "archive", bytes: bytes() }, dockerfile: { path: "any/Name" } });
  assert.deepEqual(await inputs.dockerfile(), { text: "FROM alone\n", file: "Dockerfile", ignore: undefined });
  await using local = await localOf(inputs);
  assert.deepEqual(readdirSync(local?.folder ?? ""), ["Dockerfile"]);
});

test("a text needs no context", async () => {
  assert.deepEqual(await load({ dockerfile: { text: "FROM x\n" } }), {
    text: "FROM x\n",
    file: "Dockerfile",
    ignore: undefined,
  });
  await using inputs = open({});
  assert.equal(await localOf(inputs), undefined);
});

test("an archive is unpacked once, its excluded files left out, and gone with the last who reads it", async () => {
  const inputs = open({ context: archiveOf({ Dockerfile: "FROM x\n", "a.log": "a", b: "b" }) });
  await inputs.dockerfile();
  const [all, part, same] = [
    await localOf(inputs),
    await localOf(inputs, { exclude: ["*.log"] }),
    await localOf(inputs, { exclude: ["*.log"] }),
  ];
  assert.deepEqual(readdirSync(all?.folder ?? "").sort(), ["Dockerfile", "a.log", "b"]);
  assert.deepEqual(readdirSync(part?.folder ?? "").sort(), ["Dockerfile", "b"]);
  assert.equal(part?.folder, same?.folder);
  assert.equal(part?.index?.digest("b"), all?.index?.digest("b"));
  await inputs[Symbol.asyncDispose]();
  assert.equal(readFileSync(join(part?.folder ?? "", "b"), "utf8"), "b");
  for (const held of [all, part, same]) await held?.[Symbol.asyncDispose]();
  for (const { id } of await archives.usage()) await archives.remove(id);
  assert.deepEqual(readdirSync(join(root, "temporary")), []);
});

test("the same archive again is not unpacked, until its files are given up", async () => {
  const files = { Dockerfile: "FROM x\n", b: "b" };
  const folders: string[] = [];
  for (const content of [files, files, { ...files, b: "c" }, files]) {
    await using inputs = open({ context: archiveOf(content) });
    await inputs.dockerfile();
    await using held = await localOf(inputs);
    folders.push(held?.folder ?? "");
    assert.equal(readFileSync(join(held?.folder ?? "", "b"), "utf8"), content.b);
    assert.equal((await archives.usage()).filter(({ inUse }) => inUse).length, 1);
    const [used] = (await archives.usage()).filter(({ inUse }) => inUse);
    assert.equal(await archives.remove(used!.id), undefined, "what is in use stays");
  }
  assert.deepEqual([folders[1], folders[3]], [folders[0], folders[0]]);
  assert.notEqual(folders[2], folders[0]);
  const usage = await archives.usage();
  assert.deepEqual(
    usage.map(({ inUse, usageCount }) => [inUse, usageCount]),
    [
      [false, 1],
      [false, 3],
    ],
  );
  for (const { id, size } of usage) {
    assert.ok(size > 1000);
    assert.equal(await archives.remove(id), size);
  }
  assert.deepEqual(readdirSync(join(root, "temporary")), []);
});

test("only so many archives are kept, and no long one", async () => {
  for (let at = 0; at < 12; at++) {
    await using inputs = open({ context: archiveOf({ Dockerfile: "FROM x\n", name: String(at) }) });
    await inputs.dockerfile();
  }
  assert.equal(readdirSync(join(root, "temporary")).length, 8);
  for (const { id } of await archives.usage()) await archives.remove(id);
  {
    await using inputs = open({ context: archiveOf({ Dockerfile: "FROM x\n", long: "x".repeat(9 << 20) }) });
    await inputs.dockerfile();
    assert.equal((await localOf(inputs))?.folder !== undefined, true);
  }
  assert.deepEqual(await archives.usage(), []);
});

test("other Dockerfiles and ignore files come from named contexts that are folders", async () => {
  const shared = folderOf("shared", { "lib.Dockerfile": "FROM lib\n", ".dockerignore": "tmp\n" });
  const session = new FakeSession({ shared });
  const namedContexts = new Map([
    ["lib", "local:shared"],
    ["image", "docker-image://alpine"],
  ]);
  await using inputs = open({ session, namedContexts, dockerfile: { text: "" } });
  assert.equal(await inputs.ports.include("lib", "lib.Dockerfile"), "FROM lib\n");
  assert.deepEqual(await inputs.ports.ignoreOf("shared"), ["tmp"]);
  await assert.rejects(inputs.ports.include("lib", "none"), { kind: "invalid", message: /cannot include none of lib/ });
  await assert.rejects(inputs.ports.include("image", "x"), { kind: "invalid", message: /is no folder/ });
  await using local = await localOf(inputs, { name: "shared" });
  assert.deepEqual(readdirSync(local?.folder ?? "").sort(), [".dockerignore", "lib.Dockerfile"]);
});
