import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { gzipSync } from "node:zlib";
import { tarOf } from "../archive.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { BLOB, IMAGE, PULLS, WRONG } from "../fault-cases.ts";
import { type FaultyRegistry, startFaultyRegistry } from "../faulty-registry.ts";
import { mountsBelow } from "../leftovers.ts";
import {
  contentOf,
  imageOf,
  indexOf,
  layerOf,
  randomEntries,
  type TestImage,
  type TestIndex,
  type TestLayer,
} from "../oci-image.ts";
import { linesOf } from "../progress-lines.ts";
import { pull } from "../pulling.ts";
import { annotateLayers, estargzLayerOf, zstdChunkedLayerOf } from "../seekable-layer.ts";

/**
 * The faults of registries that `registry-faults.test.ts` meets at a pull, on the other ways to one: the tool's, a build's
 * FROM, a copy, images that start before they are whole; and for layers and documents of other kinds.
 */
interface Way {
  readonly title: string;
  /** Resolves with what was said; empty where it went well. */
  readonly go: (engine: TestEngine, name: string, target: FaultyRegistry) => Promise<string>;
  /** Keeps nothing here, and takes whatever a registry holds. */
  readonly isCopy?: boolean;
}

const WAYS: readonly Way[] = [
  { title: "gantry pull", go: async (engine, name) => failed(await engine.gantry("pull", "--quiet", name)) },
  {
    title: "gantry create",
    go: async (engine, name) => {
      const { code, stderr } = await engine.gantry("create", "--quiet", "--network", "none", name, "/x");
      return failed({ code, stderr: stderr.replace(/^Unable to find image .*\n/, "") });
    },
  },
  {
    title: "FROM",
    go: async (engine, name) => {
      const body = tarOf([{ name: "Dockerfile", body: `FROM ${name}\nLABEL built=yes\n` }]);
      const answer = await engine.request("POST", "/build?t=built&forcerm=1", body, {
        "Content-Type": "application/x-tar",
      });
      if (answer.status !== 200) return String(answer.json?.message);
      return linesOf(answer.text).find(({ error }) => error !== undefined)?.error ?? "";
    },
  },
  {
    title: "image copy",
    isCopy: true,
    go: async (engine, name, target) =>
      failed(await engine.gantry("image", "copy", "--quiet", name, `${target.host}/copied:1`)),
  },
];

function failed({ code, stderr }: { readonly code: number; readonly stderr: string }): string {
  return code === 0 ? "" : stderr.trim();
}

/** All files of images, and mounts. */
function inventory(engine: TestEngine): readonly string[] {
  const { dataRoot, execRoot } = engine;
  const folders = [
    "content/blobs/sha256",
    "content/ingest",
    "snapshots/overlay2/l",
    "snapshots/overlay2/trash",
    "lazy",
    "containers",
  ];
  const found = folders
    .map((folder) => join(dataRoot, folder))
    .flatMap((folder) => (existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []));
  return [...found, ...mountsBelow(execRoot)].sort();
}

async function emptied(engine: TestEngine, empty: readonly string[]): Promise<void> {
  for (const deadline = Date.now() + 10_000; ; ) {
    for (const { Id } of (await engine.request("GET", "/containers/json?all=1")).json as { Id: string }[]) {
      await engine.request("DELETE", `/containers/${Id}?force=1`);
    }
    await engine.request("POST", "/build/prune?all=1");
    await engine.request("POST", `/images/prune?filters=${encodeURIComponent('{"dangling":["false"]}')}`);
    if (isDeepStrictEqual(inventory(engine), empty)) return;
    if (Date.now() > deadline) assert.deepEqual(inventory(engine), empty, "nothing is left when all is removed");
  }
}

/** Those that are not told otherwise by how they are asked for, and don't take long. */
const FAULTS = [
  "a layer has other bytes",
  "a layer is truncated",
  "a layer never ends",
  "a layer is refused with 403",
  "a layer is refused with 404",
  "a layer is refused with 429, and a day to wait",
  "a manifest is refused with 403",
  "a manifest is a page",
  "a config has other bytes",
] as const;
const IMAGES = [
  "names a layer that there isn't",
  "has a manifest of 9 MB",
  "has 40,000 layers",
  "is for other platforms",
  "has fewer diff ids than layers",
  "has another diff id than its layer",
  "has a layer whose archive is cut off",
  "has a layer whose compression is cut off",
  "is no image",
] as const;
/** What a registry may hold though it is no image for this machine, and is copied as it is. */
const COPIED: ReadonlySet<string> = new Set([
  "has 40,000 layers",
  "is for other platforms",
  "has fewer diff ids than layers",
  "has another diff id than its layer",
  "has a layer whose archive is cut off",
  "has a layer whose compression is cut off",
  "is no image",
]);

describe("a registry with a fault", () => {
  let engine: TestEngine;
  let empty: readonly string[];
  before(async () => {
    engine = await startEngine({ image: false, args: ["--registry-timeout", "1", "--max-download-attempts", "2"] });
    empty = inventory(engine);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  async function judge(way: Way, registry: FaultyRegistry, what: string): Promise<void> {
    await using target = await startFaultyRegistry();
    const said = await way.go(engine, `${registry.host}/a/b:1`, target);
    assert.notEqual(said, "", `${what}: nothing was said`);
    assert.equal(said.split("\n").length, 1, `${what}: ${said}`);
    assert.ok(said.length < 500 && !/undefined|\[object|\bE[A-Z]{4,}\b/.test(said), `${what}: ${said}`);
    assert.deepEqual((await engine.request("GET", "/images/json?all=1")).json, [], what);
    assert.deepEqual((await engine.request("GET", "/containers/json?all=1")).json, [], what);
    assert.equal(target.stock.tags.size, 0, what);
    assert.equal(target.stock.uploads.size, 0, what);
    if (way.isCopy === true) assert.deepEqual(inventory(engine), empty, what);
  }

  for (const way of WAYS) {
    test(`is told of by ${way.title} in one sentence; nothing half-made shows, and the next goes well`, async () => {
      for (const title of FAULTS) {
        await using registry = await startFaultyRegistry({ faults: PULLS[title]!.faults ?? [] });
        registry.add("a/b:1", IMAGE);
        await judge(way, registry, title);
        registry.heal();
        registry.forget();
        await using target = await startFaultyRegistry();
        assert.equal(await way.go(engine, `${registry.host}/a/b:1`, target), "", title);
        if (way.isCopy === true) assert.equal(target.stock.tags.get("copied:1"), IMAGE.manifest.digest);
        await emptied(engine, empty);
      }
    });

    test(`with an image that is wrong is told of by ${way.title}, too`, async () => {
      for (const title of IMAGES) {
        const { image, without } = WRONG[title]!;
        await using registry = await startFaultyRegistry();
        registry.add("a/b:1", image!, { without });
        if (way.isCopy !== true || !COPIED.has(title)) await judge(way, registry, title);
        await emptied(engine, empty);
      }
    });
  }

  test("with layers that are compressed as nobody does it takes what is whole, and is told of the rest", async () => {
    const gzip = layerOf(randomEntries("odd", 100_000));
    const zstd = layerOf(randomEntries("odd", 100_000), { compression: "zstd" });
    const name = Buffer.concat([
      Buffer.from("1f8b08080000000000ff", "hex"),
      Buffer.alloc(8 << 20, "n"),
      Buffer.alloc(1),
    ]);
    const note = Buffer.from("502a4d1803000000616263", "hex");
    const frame = (head: string): Buffer => Buffer.from(`28b52ffd${head}010000`, "hex");
    const rows: readonly (readonly [
      title: string,
      layer: TestLayer,
      bytes: readonly Buffer[],
      says: RegExp | undefined,
    ])[] = [
      ["a name of 8 MiB", gzip, [name, gzip.bytes.subarray(10)], undefined],
      [
        "ten thousand parts of nothing",
        gzip,
        [...Array.from({ length: 10_000 }, () => gzipSync("")), gzip.bytes],
        undefined,
      ],
      [
        "something behind its end",
        gzip,
        [gzip.bytes, Buffer.alloc(5000, "A")],
        /cannot decompress gzip: incorrect header check$/,
      ],
      [
        "another sum",
        gzip,
        [gzip.bytes.subarray(0, -8), Buffer.alloc(4), gzip.bytes.subarray(-4)],
        /incorrect data check$/,
      ],
      ["notes between its frames", zstd, [note, zstd.bytes, ...Array.from({ length: 10_000 }, () => note)], undefined],
      [
        "something that is no frame",
        zstd,
        [zstd.bytes, Buffer.alloc(5000, "A")],
        /cannot decompress zstd: not a frame$/,
      ],
      ["a window of 2 GiB", zstd, [frame("00a8"), zstd.bytes], /Frame requires too much memory for decoding$/],
      ["a dictionary", zstd, [frame("015807"), zstd.bytes], /Dictionary mismatch$/],
      [
        "a size of petabytes",
        zstd,
        [frame("e0ffffffffffff0000"), zstd.bytes],
        /Frame requires too much memory for decoding$/,
      ],
    ];
    for (const [title, layer, bytes, says] of rows) {
      await using registry = await startFaultyRegistry();
      const odd = { ...layer, ...contentOf(layer.mediaType, Buffer.concat(bytes)) };
      registry.add("a/b:1", imageOf({ layers: [odd] }));
      if (says === undefined) assert.equal((await pull(engine, `${registry.host}/a/b`, { tag: "1" })).error, "", title);
      else {
        await judge(WAYS[0]!, registry, title);
        assert.match((await pull(engine, `${registry.host}/a/b`, { tag: "1" })).error, says, title);
      }
      await emptied(engine, empty);
    }
  });

  const entries = (seed: string) => randomEntries(seed, 200_000);
  const KINDS: Readonly<Record<string, () => TestImage | TestIndex>> = {
    "zstd layers": () => imageOf({ layers: ["a", "b"].map((name) => layerOf(entries(name), { compression: "zstd" })) }),
    "plain layers": () =>
      imageOf({ layers: ["a", "b"].map((name) => layerOf(entries(name), { compression: "none" })) }),
    "Docker's types": () => {
      const docker = { mediaTypes: "docker" } as const;
      return imageOf({ ...docker, layers: ["a", "b"].map((name) => layerOf(entries(name), docker)) });
    },
    "an index of Docker's": () => {
      const docker = { mediaTypes: "docker" } as const;
      return indexOf([imageOf({ ...docker, layers: [layerOf(entries("a"), docker)] })], docker);
    },
    "an index with attestations": () => indexOf([imageOf({ layers: [layerOf(entries("a"))] })], { attestations: true }),
  };
  for (const [kind, make] of Object.entries(KINDS)) {
    test(`holds for ${kind}`, async () => {
      const made = make();
      const image = (made.kind === "index" ? made.members[0] : made) as TestImage;
      for (const title of [
        "a layer has other bytes",
        "a layer is truncated",
        "a layer never ends",
        "a layer is refused with 404",
      ]) {
        const faults = (PULLS[title]!.faults ?? []).map((fault) => ({
          ...fault,
          of: fault.of === BLOB ? image.layers.at(-1)!.digest : fault.of,
        }));
        await using registry = await startFaultyRegistry({ faults });
        registry.add("a/b:1", made);
        await judge(WAYS[0]!, registry, title);
        registry.heal();
        assert.equal((await pull(engine, `${registry.host}/a/b`, { tag: "1" })).error, "");
        await emptied(engine, empty);
      }
      // The inner manifest is another than its index says.
      if (made.kind !== "index") return;
      for (const kind of ["wrong-bytes", "endless"] as const) {
        await using registry = await startFaultyRegistry({
          faults: [{ on: "manifest", of: image.manifest.digest, act: { kind } }],
        });
        registry.add("a/b:1", made);
        await judge(WAYS[0]!, registry, kind);
        await emptied(engine, empty);
      }
    });
  }
});

describe("an image that may start before it is whole", () => {
  let engine: TestEngine;
  let empty: readonly string[];
  before(async () => {
    const flags = ["--lazy-pull", "--registry-timeout", "1", "--max-download-attempts", "1"];
    engine = await startEngine({ image: false, args: flags });
    empty = inventory(engine);
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const [form, make] of Object.entries({ estargz: estargzLayerOf, "zstd:chunked": zstdChunkedLayerOf })) {
    test(`of ${form} leaves nothing where its registry has a fault`, async () => {
      const busybox = { name: "bin/busybox", body: readFileSync("/bin/busybox"), mode: 0o755 };
      const layer = make([busybox, ...randomEntries("lazy", 400_000, 3)]);
      const image = imageOf({ layers: [layer], editManifest: annotateLayers([layer]) });
      const faults = [
        "a layer has other bytes",
        "a layer is truncated",
        "a layer never ends",
        "a layer is refused with 403",
      ];
      for (const title of faults) {
        const own = (PULLS[title]!.faults ?? []).map((fault) => ({ ...fault, of: layer.digest }));
        await using registry = await startFaultyRegistry({ faults: own });
        registry.add("a/b:1", image);
        const { code, stderr } = await engine.gantry("pull", "--quiet", `${registry.host}/a/b:1`);
        assert.equal(code, 1, `${title}: ${stderr}`);
        assert.equal(stderr.trim().split("\n").length, 1, stderr);
        assert.deepEqual((await engine.request("GET", "/images/json?all=1")).json, [], title);
        registry.heal();
        const { error } = await pull(engine, `${registry.host}/a/b`, { tag: "1" });
        assert.equal(error, "", title);
        await emptied(engine, empty);
      }
    });
  }
});
