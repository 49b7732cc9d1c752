import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { sha256, type TarEntry, tarOf } from "../archive.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { type Act, type FaultyRegistry, type Step, startFaultyRegistry } from "../faulty-registry.ts";
import { mountsBelow, processesOf } from "../leftovers.ts";
import {
  imageOf,
  indexOf,
  layerOf,
  randomEntries,
  type TestImage,
  type TestIndex,
  type TestLayer,
} from "../oci-image.ts";
import { annotateLayers, estargzLayerOf, zstdChunkedLayerOf } from "../seekable-layer.ts";

/**
 * Pulls, pushes, copies, removals, prunes, builds and containers of what was pulled, all at once, while clients leave,
 * connections are cut, registries go and come back, and the engine is stopped and killed. Afterwards all that is here is
 * right, and when that is removed nothing is left.
 */
const SECONDS = Number(process.env.GANTRY_REGISTRY_STORM_SECONDS ?? 6);
const SEED = Number(process.env.GANTRY_REGISTRY_STORM_SEED ?? Math.floor(Math.random() * 1e9));
const ROUND_MS = 3000;
const AT_ONCE = 6;
const SETTLED_MS = 20_000;
/** Of the engine, beyond what it held before: what a heap keeps free for later. */
const MORE_MEMORY = 250 << 20;
const BUSYBOX = "/bin/busybox";
const ARM = { os: "linux", architecture: "arm64", variant: "v8" };

type Numbers = (below: number) => number;

/** Numbers that are the same in every run of one seed. */
function numbers(seed: number): Numbers {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

interface Answer {
  readonly status: number;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: answers of any shape
  readonly json: any;
}

let engine: TestEngine;
let source: FaultyRegistry;
let target: FaultyRegistry;
const number = numbers(SEED);
/** By their ids: the sums of all files that an image has in its root folder. */
const filesOf = new Map<string, ReadonlyMap<string, string>>();
/** `repository:tag` at the source. */
const tags: string[] = [];
const failures: string[] = [];
let isDown = false;

const LAZY = number(2) === 0;

before(async () => {
  source = await startFaultyRegistry();
  target = await startFaultyRegistry();
  stock();
  const flags = ["--registry-timeout", "2", "--max-download-attempts", "2", ...(LAZY ? ["--lazy-pull"] : [])];
  engine = await startEngine({ image: false, args: flags });
});
after(async () => {
  await engine?.[Symbol.asyncDispose]();
  await source?.[Symbol.asyncDispose]();
  await target?.[Symbol.asyncDispose]();
});

const some = <T>(list: readonly T[]): T => list[number(list.length)]!;

/** Images that share layers, by other blobs too; of all compressions, types and kinds. */
function stock(): void {
  const busybox: TarEntry[] = [
    { name: "bin/", type: "directory" },
    { name: "bin/busybox", body: readFileSync(BUSYBOX), mode: 0o755 },
  ];
  const base = layerOf(busybox);
  const sums = new Map<TestLayer, readonly TarEntry[]>([[base, busybox]]);
  const layer = (seed: string, size: number, options: Parameters<typeof layerOf>[1] = {}): TestLayer => {
    const entries = randomEntries(seed, size, 3);
    const made = layerOf(entries, options);
    sums.set(made, entries);
    return made;
  };
  const put = (tag: string, image: TestImage | TestIndex): void => {
    source.add(tag, image);
    tags.push(tag);
  };
  const expect = (image: TestImage): TestImage => {
    const files = new Map<string, string>();
    for (const part of image.layers) {
      for (const { name, body = "", type } of sums.get(part) ?? []) {
        const gone = /^(.*)\.wh\.(.*)$/.exec(name);
        if (gone !== null) files.delete(`/${gone[1]}${gone[2]}`);
        else if (type === undefined) files.set(`/${name}`, sha256(Buffer.from(body)));
      }
    }
    filesOf.set(image.config.digest, files);
    return image;
  };
  const image = (layers: readonly TestLayer[], options: Parameters<typeof imageOf>[0] = {}): TestImage =>
    expect(imageOf({ layers, process: { Cmd: [BUSYBOX, "true"] }, ...options }));
  const [x, y, z] = [layer("x", 600_000), layer("y", 2 << 20), layer("z", 900_000, { compression: "zstd" })];
  put("a:1", image([base, x, y]));
  put("a:2", image([base, x, z]));
  put("a:3", image([base, x]));
  const docker = { mediaTypes: "docker" } as const;
  put("b:1", image([layerAgain(base, sums, docker), layer("b", 1 << 20, docker), layer("c", 50_000, docker)], docker));
  put("c:1", indexOf([image([base, y, layer("host", 400_000)]), image([x, layer("arm", 400_000)], { platform: ARM })]));
  put("c:2", indexOf([image([base, y, z])], { attestations: true }));
  put(
    "d:1",
    image([
      base,
      layer("plain", 700_000, { compression: "none" }),
      layer("m", 1 << 20, { compression: "gzip-members" }),
    ]),
  );
  // The same image by other blobs, and another image of the same files by yet others.
  put("e:1", image([base, layerAgain(x, sums, { compression: "zstd" }), layerAgain(y, sums, { compression: "none" })]));
  put("e:2", image([base, layerAgain(x, sums, { level: 9 }), y], { process: { Cmd: [BUSYBOX, "ls"] } }));
  const gone: TarEntry[] = [
    { name: ".wh.x-1", body: "" },
    { name: "x-2", body: "another\n" },
  ];
  const above = layerOf(gone);
  sums.set(above, gone);
  put("f:1", image([base, x, above]));
  for (const [tag, make] of [
    ["g:1", estargzLayerOf],
    ["g:2", zstdChunkedLayerOf],
  ] as const) {
    const entries = [...busybox, ...randomEntries(tag.replace(":", "-"), 3 << 20, 4)];
    const seekable = make(entries, { chunkSize: 256 << 10 });
    sums.set(seekable, entries);
    put(tag, image([seekable, z], { editManifest: annotateLayers([seekable, z]) }));
  }
}

function layerAgain(
  layer: TestLayer,
  sums: Map<TestLayer, readonly TarEntry[]>,
  options: Parameters<typeof layerOf>[1],
): TestLayer {
  const made = layerOf(layer.tar, options);
  sums.set(made, sums.get(layer) ?? []);
  return made;
}

/** A request whose client leaves after so long; undefined where it, or the engine, was gone before the end. */
function ask(
  method: string,
  path: string,
  options: { body?: unknown; leave?: number | undefined } = {},
): Promise<Answer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
  const { body, leave } = options;
  const raw = body instanceof Uint8Array;
  const headers = body === undefined ? {} : { "Content-Type": raw ? "application/x-tar" : "application/json" };
  const call = httpRequest({ socketPath: engine.socket, method, path, headers, agent: false }, (response) => {
    const pieces: Buffer[] = [];
    response.on("data", (piece: Buffer) => pieces.push(piece));
    response.on("error", () => resolve(undefined));
    response.once("close", () => {
      clearTimeout(timer);
      if (!response.complete) return resolve(undefined);
      const text = Buffer.concat(pieces).toString("latin1");
      resolve({ status: response.statusCode ?? 0, text, json: parsed(text) });
    });
  });
  const timer = leave === undefined ? undefined : setTimeout(() => call.destroy(), leave);
  call.on("error", () => {
    clearTimeout(timer);
    resolve(undefined);
  });
  call.end(body === undefined ? undefined : raw ? body : JSON.stringify(body));
  return promise;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** One in three clients doesn't wait for the end. */
const leaving = (): number | undefined => (number(3) === 0 ? number(500) : undefined);

/** Names by which something may be here. */
function name(): string {
  const tag = some(tags);
  return `${some([source.host, source.host, source.host, source.host, target.host, "127.0.0.1:1"])}/${tag}`;
}

function query(values: Readonly<Record<string, string>>): string {
  return new URLSearchParams(values).toString();
}

function splitName(full: string): { readonly repo: string; readonly tag: string } {
  const at = full.lastIndexOf(":");
  return { repo: full.slice(0, at), tag: full.slice(at + 1) };
}

/** Starts a container of an image and compares all its files. Nothing is said where it is not here, or goes meanwhile. */
async function look(image: string, options: { readonly isCalm?: boolean } = {}): Promise<void> {
  const { isCalm = false } = options;
  const wrong = (what: string): void => void failures.push(`${image}: ${what}`);
  const shown = await ask("GET", `/images/${image}/json`);
  const id = shown?.json?.Id as string | undefined;
  const files = id === undefined ? undefined : filesOf.get(id);
  if (files === undefined || shown?.json.Architecture !== hostArchitecture()) {
    if (isCalm && shown?.status !== 200) wrong(`cannot be inspected: ${shown?.text}`);
    return;
  }
  const made = await ask("POST", "/containers/create", {
    body: {
      Image: id,
      Entrypoint: [BUSYBOX],
      Cmd: [
        "sh",
        "-c",
        `cd /; ${BUSYBOX} sha256sum bin/busybox $(${BUSYBOX} ls | ${BUSYBOX} grep -- -); ${BUSYBOX} echo end`,
      ],
      HostConfig: { NetworkMode: "none", LogConfig: { Type: "json-file" } },
    },
  });
  if (made?.status !== 201) {
    if (isCalm) wrong(`no container of it: ${made?.text}`);
    return;
  }
  const container = made.json.Id as string;
  const started = await ask("POST", `/containers/${container}/start`);
  const waited = started?.status === 204 ? await ask("POST", `/containers/${container}/wait`) : undefined;
  const logs = waited?.status === 200 ? await ask("GET", `/containers/${container}/logs?stdout=1&stderr=1`) : undefined;
  if (logs?.status === 200) {
    const text = logs.text.replace(/[\x00-\x02]\x00\x00\x00[\s\S]{4}/g, "");
    const sums = new Map(
      [...text.matchAll(/^([0-9a-f]{64}) {2}(.*)$/gm)].map(([, sum = "", path = ""]) => [`/${path}`, sum]),
    );
    // What isn't whole may fail to be read while its registry is away; it is never read wrongly.
    const isWhole = /^end$/m.test(text) && !/: /.test(text);
    if (isWhole || isCalm) {
      const sorted = (map: ReadonlyMap<string, string>): [string, string][] =>
        [...map].sort(([one], [other]) => (one < other ? -1 : 1));
      if (!isDeepStrictEqual(sorted(sums), sorted(files))) wrong(`has other files: ${text.slice(0, 600)}`);
    } else if (!LAZY) wrong(`cannot be read: ${text.slice(0, 600)}`);
    for (const [path, sum] of sums) if (files.get(path) !== sum) wrong(`${path} is another file`);
  } else if (isCalm) wrong(`does not run: ${started?.text}${waited?.text}`);
  await ask("DELETE", `/containers/${container}?force=1`);
}

function hostArchitecture(): string {
  return process.arch === "arm64" ? "arm64" : "amd64";
}

const ACTS: readonly (() => Promise<unknown>)[] = [
  ...Array.from({ length: 8 }, () => () => {
    const tag = some(tags);
    const platform: Record<string, string> = number(6) === 0 ? { platform: "linux/arm64" } : {};
    const from = { fromImage: `${source.host}/${splitName(tag).repo}`, tag: splitName(tag).tag, ...platform };
    return ask("POST", `/images/create?${query(from)}`, { leave: leaving() });
  }),
  () =>
    ask("POST", `/images/create?${query({ fromImage: `${source.host}/${some(["a", "c", "e"])}` })}`, {
      leave: leaving(),
    }),
  ...Array.from({ length: 4 }, () => async () => {
    const tag = some(tags);
    const { repo, tag: short } = splitName(tag);
    await ask("POST", `/images/${source.host}/${tag}/tag?${query({ repo: `${target.host}/${repo}`, tag: short })}`);
    await ask("POST", `/images/${target.host}/${repo}/push?tag=${short}`, { leave: leaving() });
  }),
  ...Array.from({ length: 3 }, () => () => {
    const to = { from: `${source.host}/${some(tags)}`, to: `${target.host}/copied-${number(3)}` };
    return ask("POST", `/gantry/images/copy?${query(to)}`, { leave: leaving() });
  }),
  ...Array.from({ length: 4 }, () => () => ask("DELETE", `/images/${name()}${number(2) === 0 ? "?force=1" : ""}`)),
  () => ask("DELETE", `/images/${some([...filesOf.keys()])}?force=1`),
  () =>
    ask("POST", `/images/prune?filters=${encodeURIComponent(some(['{"dangling":["false"]}', "{}"]))}`, {
      leave: leaving(),
    }),
  () => ask("POST", `/images/${name()}/tag?${query({ repo: "127.0.0.1:1/a", tag: String(number(3)) })}`),
  ...Array.from({ length: 5 }, () => () => look(name())),
  () => ask("GET", `/images/${name()}/get`, { leave: leaving() }),
  () => ask("GET", "/system/df"),
  () => ask("GET", "/images/json?all=1&shared-size=1&manifests=1"),
  async () => {
    const dockerfile = `FROM ${source.host}/${some(tags)}\nCOPY file /new-${number(3)}\nLABEL some=label\n`;
    const body = tarOf([
      { name: "Dockerfile", body: dockerfile },
      { name: "file", body: "x" },
    ]);
    await ask("POST", `/build?t=127.0.0.1%3A1%2Fbuilt%3A${number(2)}&q=1`, { body, leave: leaving() });
  },
];

const FAULTS: readonly Act[] = [
  { kind: "cut", after: 100_000 },
  { kind: "cut", after: 0 },
  { kind: "cut" },
  { kind: "slow", bytesPerSecond: 2 << 20 },
  { kind: "hang", after: 50_000 },
  { kind: "status", status: 500 },
  { kind: "status", status: 404 },
  { kind: "status", status: 401 },
  { kind: "status", status: 429, headers: { "Retry-After": "1" } },
  { kind: "wrong-bytes" },
  { kind: "truncate", at: 1000 },
  { kind: "no-ranges" },
  { kind: "refuse-ranges" },
  { kind: "wrong-range", shift: -10, isTold: false },
  { kind: "cut-upload", after: 30_000 },
  { kind: "forget-session" },
  { kind: "ignore-mount" },
];
const STEPS: readonly Step[] = [
  "blob",
  "blob",
  "manifest",
  "upload-start",
  "upload-chunk",
  "upload-end",
  "manifest-put",
  "mount",
  "tags",
];

/** What befalls the registries. */
async function disturb(): Promise<void> {
  const registry = some([source, target]);
  switch (number(5)) {
    case 0:
      registry.cut();
      return;
    case 1:
      await registry.stop();
      await pause(number(400));
      await registry.listen();
      return;
    case 2:
      registry.heal();
      return;
    default: {
      const faults = Array.from({ length: 1 + number(3) }, () => ({
        on: some(STEPS),
        act: some(FAULTS),
        times: 1 + number(4),
        skip: number(3),
      }));
      registry.misbehave(...faults);
    }
  }
}

/** What befalls the engine. */
async function fell(): Promise<void> {
  isDown = true;
  if (number(3) === 0) await engine.stop();
  else await engine.kill();
  if (number(4) === 0) {
    // It may fail before anybody waits for it.
    const starting = engine.start().catch(() => {});
    await pause(20 + number(400));
    await engine.kill();
    await starting;
  }
  await engine.start();
  isDown = false;
}

async function storm(): Promise<void> {
  const until = Date.now() + ROUND_MS;
  const isOver = (): boolean => Date.now() >= until;
  const worker = async (): Promise<void> => {
    while (!isOver()) {
      if (isDown) await pause(20);
      await some(ACTS)();
    }
  };
  const weather = (async () => {
    while (!isOver()) {
      await pause(50 + number(400));
      await disturb();
    }
  })();
  const doom = (async () => {
    await pause(500 + number(2000));
    await fell();
  })();
  const workers = Array.from({ length: AT_ONCE }, worker);
  await Promise.all([doom, weather]);
  source.heal();
  target.heal();
  await Promise.all(workers);
}

async function settles<T>(look: () => T | Promise<T>, wanted: T, what: string): Promise<void> {
  let now = await look();
  for (const deadline = Date.now() + SETTLED_MS; !isDeepStrictEqual(now, wanted) && Date.now() < deadline; ) {
    await pause(50);
    now = await look();
  }
  assert.deepEqual(now, wanted, `${what}; seed ${SEED}\n${engine.log.slice(-3000)}`);
}

const entries = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).sort() : []);

/** All that lies on the disk of images, and is in the kernel for them. */
function inventory(): readonly string[] {
  const { dataRoot, execRoot, root } = engine;
  const [driver = ""] = entries(join(dataRoot, "snapshots"));
  const folders = [
    ...[
      "content/blobs/sha256",
      "content/blobs/sha512",
      "content/ingest",
      "containers",
      "lazy",
      "tmp",
      "build/writable",
    ].map((path) => join(dataRoot, path)),
    join(dataRoot, "snapshots", driver),
    join(dataRoot, "snapshots", driver, "l"),
    ...["bundles", "netns", "views", "build/roots", "fifos", "attach", "lazy"].map((path) => join(execRoot, path)),
  ];
  return [
    ...folders.flatMap((folder) => entries(folder).map((name) => shown(join(folder, name)))),
    ...mountsBelow(root).map((path) => `mount ${path}`),
    ...processesOf(root).map(() => "process"),
    ...openFiles(),
  ];
}

/** A snapshot's folder with the link in it that tells what it is. */
function shown(path: string): string {
  try {
    return `${path} -> ${readlinkSync(join(path, "meta"))}`;
  } catch {
    return path;
  }
}

/** Of the engine: files of images that it holds open. */
function openFiles(): string[] {
  const folder = `/proc/${engine.pid}/fd`;
  return entries(folder).flatMap((fd) => {
    try {
      const path = readlinkSync(join(folder, fd));
      return path.startsWith(join(engine.dataRoot, "content")) || path.startsWith(join(engine.dataRoot, "snapshots"))
        ? [`open ${path}`]
        : [];
    } catch {
      return [];
    }
  });
}

/** Every image that is shown has all its files; blobs are what their names say; sizes add up. */
async function checkHere(): Promise<void> {
  if (LAZY) {
    const records = async (): Promise<number> => rows("images-under-way").length;
    await settles(records, 0, "images under way become whole");
  }
  const { json: list } = await engine.request("GET", "/images/json?all=1");
  for (const { Id, RepoTags, RepoDigests } of list as { Id: string; RepoTags: string[]; RepoDigests: string[] }[]) {
    await look(Id, { isCalm: true });
    for (const one of [...RepoTags, ...RepoDigests]) {
      const { json } = await engine.request("GET", `/images/${one}/json`);
      if (json.Id !== Id && json.Descriptor === undefined) failures.push(`${one} is ${json.Id} and not ${Id}`);
    }
  }
  const blobs = join(engine.dataRoot, "content/blobs/sha256");
  for (const name of readdirSync(blobs)) {
    // What a client that left had begun may still be on its way out.
    const sum = hashOf(join(blobs, name));
    if (sum !== undefined && sum !== name) failures.push(`blob ${name} is another`);
  }
  await checkSizes(list as { Id: string }[]);
}

function hashOf(path: string): string | undefined {
  try {
    return createHash("sha256").update(readFileSync(path)).digest("hex");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function checkSizes(list: readonly { Id: string }[]): Promise<void> {
  const usage = (await engine.request("GET", "/system/df")).json as {
    LayersSize: number;
    Images: { Id: string; Size: number }[];
  };
  const sizes = new Map<string, number>();
  for (const { Id } of list) {
    const shown = await engine.request("GET", `/images/${Id}/json`);
    const told = await engine.request("GET", `/images/${Id}/history`);
    // What a client that left had asked for may still be on its way.
    if (shown.status === 404 || told.status === 404) return;
    const steps = told.json as { Size: number; CreatedBy: string }[];
    const bottomUp = steps.map(({ Size }) => Size).reverse();
    let chain = "";
    const layers = (shown.json as { RootFS: { Layers: string[] } }).RootFS.Layers ?? [];
    // Steps that change nothing have no layer: they stand last here.
    for (const [at, diffId] of layers.entries()) {
      chain = chain === "" ? diffId : `sha256:${sha256(Buffer.from(`${chain} ${diffId}`))}`;
      sizes.set(chain, bottomUp[at] ?? 0);
    }
  }
  const sum = [...sizes.values()].reduce((total, size) => total + size, 0);
  // Images of other platforms are shown with their index only.
  if (usage.LayersSize < sum) failures.push(`df tells ${usage.LayersSize} bytes of layers, and there are ${sum}`);
}

/** Keys of one kind of records, read past the engine. */
function rows(collection: string): string[] {
  using database = new DatabaseSync(join(engine.dataRoot, "gantry.db"), { readOnly: true });
  return database
    .prepare("SELECT key FROM records WHERE collection = ?")
    .all(collection)
    .map(({ key }) => String(key));
}

async function removeAll(): Promise<void> {
  for (const { Id } of (await engine.request("GET", "/containers/json?all=1")).json as { Id: string }[]) {
    await engine.request("DELETE", `/containers/${Id}?force=1&v=1`);
  }
  await engine.request("POST", "/build/prune?all=1");
  for (let times = 0; times < 3; times++) {
    await engine.request("POST", `/images/prune?filters=${encodeURIComponent('{"dangling":["false"]}')}`);
  }
}

/** What is left when all is removed; a build whose client left may have had something to keep after the first time. */
async function emptied(): Promise<readonly string[]> {
  await removeAll();
  return inventory();
}

async function removeContainers(): Promise<void> {
  for (const { Id } of (await engine.request("GET", "/containers/json?all=1")).json as { Id: string }[]) {
    const { status, text } = await engine.request("DELETE", `/containers/${Id}?force=1&v=1`);
    if (status !== 204) failures.push(`cannot remove ${Id}: ${text}`);
  }
}

test("what is pulled, pushed, copied and removed in a storm is right, and leaves nothing", {
  timeout: (SECONDS * 4 + 120) * 1000,
}, async (t) => {
  t.diagnostic(`seed ${SEED}${LAZY ? ", lazily" : ""}`);
  // What is made at the first need is there.
  await ask("POST", `/images/create?fromImage=${source.host}/a&tag=1`);
  await look(`${source.host}/a:1`, { isCalm: true });
  assert.deepEqual(failures, []);
  await removeAll();
  await engine.restart();
  const empty = inventory();
  const before = engine.residentBytes;
  const end = Date.now() + SECONDS * 1000;
  let rounds = 0;
  for (; Date.now() < end; rounds++) {
    const what = `round ${rounds}`;
    await storm();
    await removeContainers();
    await checkHere();
    assert.deepEqual(failures, [], `${what}; seed ${SEED}\n${engine.log.slice(-3000)}`);
    if (number(2) === 0) continue;
    await settles(emptied, empty, `${what}: all was removed`);
    for (const collection of ["images", "image-names", "image-indexes", "images-under-way", "leases"]) {
      assert.deepEqual(rows(collection), [], `${what}: ${collection}; seed ${SEED}`);
    }
    const usage = (await engine.request("GET", "/system/df")).json;
    assert.equal(usage.LayersSize, 0, what);
  }
  await settles(emptied, empty, "at last");
  const more = engine.residentBytes - before;
  await engine.restart();
  assert.deepEqual(inventory(), empty, "after another start");
  t.diagnostic(`${rounds} rounds, ${more >> 20} MiB more memory`);
  assert.ok(more < MORE_MEMORY, `${more >> 20} MiB more; seed ${SEED}`);
});
