import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { gather } from "../../images/image-store.fixture.ts";
import { chainId, sha256Of } from "../../oci/digest.ts";
import type { ImageConfig, Index, Manifest } from "../../oci/image.ts";
import { readTar } from "../../oci/tar/reader.ts";
import type { CachedStep } from "../parts.ts";
import { AMD64, openResults, outputOf, type ResultsFixture, requestOf, tarOf } from "./results.fixture.ts";

const NOW = { seconds: 1_900_000_000, nanoseconds: 5 };
const EPOCH = 1_700_000_000;

async function archiveOf(bytes: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for await (const { entry, body } of readTar(Readable.from([bytes]))) {
    files.set(entry.name, await gather(body));
  }
  return files;
}

function jsonOf<T>(files: ReadonlyMap<string, Buffer>, name: string): T {
  const bytes = files.get(name.startsWith("sha256:") ? `blobs/${name.replace(":", "/")}` : name);
  assert.ok(bytes !== undefined, `no ${name} among ${[...files.keys()]}`);
  return JSON.parse(bytes.toString()) as T;
}

function configOf({ images }: ResultsFixture, id: string): ImageConfig {
  return images.resolve(id).config;
}

test("makes an image of a target: its layers, history, labels and names", async (t) => {
  const fixture = openResults(t);
  const names = await fixture.steps({ "bin/": {}, "bin/hello": "hello" }, {}, { "bin/hello": "changed" });
  const target = fixture.target(names, {
    history: [
      { createdBy: "RUN one", vertex: sha256Of("one") },
      { createdBy: "ENV A=1" },
      { createdBy: "RUN nothing", vertex: sha256Of("two") },
      { createdBy: "RUN three", vertex: sha256Of("three"), comment: "buildkit.dockerfile.v0" },
    ],
  });
  const { imageId, metadata } = await fixture.export([target], [outputOf("image", { name: "one:1,two" })], {
    labels: new Map([["made", "here"]]),
  });
  assert.ok(imageId !== undefined);
  const { config, history, rootfs } = configOf(fixture, imageId);
  assert.deepEqual(config, { Cmd: ["/hello"], Labels: { made: "here" } });
  assert.equal(rootfs.diff_ids.length, 2);
  assert.deepEqual(
    history?.map(({ created_by, comment, empty_layer }) => [created_by, comment, empty_layer]),
    [
      ["RUN one", undefined, undefined],
      ["ENV A=1", undefined, true],
      ["RUN nothing", undefined, true],
      ["RUN three", "buildkit.dockerfile.v0", undefined],
    ],
  );
  assert.ok(history?.every(({ created }) => created !== undefined));
  assert.equal(fixture.images.resolve("one:1").id, imageId);
  assert.equal(fixture.images.resolve("two").id, imageId);
  // The layers are the steps' own snapshots, by other names.
  const chains = chainId(rootfs.diff_ids);
  assert.equal(fixture.images.resolve(imageId).chainId, chains[1]);
  assert.equal(fixture.snapshots.has(names[0]!), false);
  assert.ok(fixture.snapshots.has(chains[0]!));
  assert.equal(target.root?.snapshot, chains[1]);
  assert.equal(metadata.get("containerimage.config.digest"), imageId);
  assert.equal(metadata.get("image.name"), "docker.io/library/one:1,docker.io/library/two:latest");
  const descriptor = JSON.parse(Buffer.from(metadata.get("containerimage.descriptor")!, "base64").toString());
  assert.equal(descriptor.digest, metadata.get("containerimage.digest"));
  assert.ok(fixture.content.has(descriptor.digest));
});

test("gives steps that were not run again the same image, and nothing that was not kept stays", async (t) => {
  const fixture = openResults(t);
  const names = await fixture.steps({ a: "1" }, { b: "2" });
  const target = fixture.target(names);
  const first = await fixture.export([target], [outputOf("image")]);
  const again = await fixture.export([target], [outputOf("image", { name: "again" })]);
  assert.equal(again.imageId, first.imageId);
  const blobs = (await fixture.content.list()).length;
  await fixture.export([target], [outputOf("oci", { compression: "zstd" })]);
  assert.equal((await fixture.content.list()).length, blobs);
});

test("keeps a snapshot beside the image's where the same layers are there already", async (t) => {
  const fixture = openResults(t);
  const first = await fixture.steps({ a: { type: "file" } });
  const second = await fixture.steps({ a: { type: "file" } });
  const one = await fixture.export([fixture.target(first)], [outputOf("image")]);
  const other = await fixture.export([fixture.target(second)], [outputOf("image")]);
  assert.deepEqual(configOf(fixture, one.imageId!).rootfs, configOf(fixture, other.imageId!).rootfs);
  assert.ok(fixture.snapshots.has(second[0]!));
});

test("gives two engines the same digests with an epoch, whatever time it is and was", async (t) => {
  const made: { config: string; oci: string; digest: string | undefined }[] = [];
  for (const time of [NOW, { seconds: 1_800_000_000, nanoseconds: 0 }]) {
    const fixture = openResults(t);
    const names = await fixture.steps(
      {
        "etc/": { type: "directory", mtime: time },
        "etc/old": { type: "file", mtime: { seconds: 1_000, nanoseconds: 7 } },
        "etc/link": { type: "symlink", linkName: "old", mtime: time },
      },
      { "etc/new": { type: "file", mtime: time } },
    );
    const { imageId, metadata } = await fixture.export(
      [fixture.target(names)],
      [outputOf("image", { name: "x" }), outputOf("oci", { name: "x" })],
      { sourceDateEpoch: EPOCH },
    );
    const oci = fixture.session.files.get("1")!;
    made.push({ config: imageId!, oci: sha256Of(oci), digest: metadata.get("containerimage.digest") });
    const { created, history } = configOf(fixture, imageId!);
    assert.equal(created, "2023-11-14T22:13:20Z");
    assert.ok(history?.every((row) => row.created === created));
    // The image's files are those of its layers, not the steps'.
    const files = await archiveOf(oci);
    const index = jsonOf<Index>(files, "index.json");
    const manifest = jsonOf<Manifest>(files, index.manifests[0]!.digest);
    assert.equal(manifest.layers.length, 2);
    const tar = await gather(fixture.snapshots.diff(fixture.images.resolve("x").chainId!));
    for await (const { entry } of readTar(Readable.from([tar]))) assert.ok(entry.mtime.seconds <= EPOCH, entry.name);
    assert.ok(fixture.snapshots.has(names[1]!), "the step keeps its own");
  }
  assert.deepEqual(made[0], made[1]);
});

test("leaves files' times as they are where an output says so", async (t) => {
  const fixture = openResults(t);
  const names = await fixture.steps({ new: { type: "file", mtime: NOW } });
  const attributes = { "rewrite-timestamp": "false" };
  const { imageId } = await fixture.export([fixture.target(names)], [outputOf("image", attributes)], {
    sourceDateEpoch: EPOCH,
  });
  const tar = await gather(fixture.snapshots.diff(fixture.images.resolve(imageId!).chainId!));
  const times: number[] = [];
  for await (const { entry } of readTar(Readable.from([tar]))) times.push(entry.mtime.seconds);
  assert.deepEqual(times, [NOW.seconds]);
});

test("stands on the base image's layers and keeps its history", async (t) => {
  const fixture = openResults(t);
  const base = await fixture.export(
    [fixture.target(await fixture.steps({ base: "1" }))],
    [outputOf("image", { name: "base" })],
    { sourceDateEpoch: 1_000 },
  );
  const { chainId: top, config } = fixture.images.resolve("base");
  await fixture.snapshots.prepare("key", top, { bare: true });
  await fixture.snapshots.extract("key", tarOf({ own: "2" }));
  await fixture.snapshots.commit("build-own", "key");
  const target = fixture.target(["build-own"], {
    base: { reference: "docker.io/library/base:latest", id: base.imageId! },
    history: [
      ...config.history!.map((row) => ({ createdBy: row.created_by ?? "", created: row.created! })),
      { createdBy: "RUN own", vertex: sha256Of("own") },
    ],
  });
  const { imageId } = await fixture.export([target], [outputOf("image")], { sourceDateEpoch: EPOCH });
  const image = configOf(fixture, imageId!);
  assert.deepEqual(image.rootfs.diff_ids.slice(0, 1), config.rootfs.diff_ids);
  assert.equal(image.rootfs.diff_ids.length, 2);
  assert.deepEqual(
    image.history?.map(({ created }) => created),
    ["1970-01-01T00:16:40Z", "2023-11-14T22:13:20Z"],
  );
});

for (const driver of ["overlay2", "vfs"] as const)
  test(`makes one layer of all steps where it is to squash them, on ${driver}`, (t) => squashes(t, driver));

async function squashes(t: TestContext, driver: "overlay2" | "vfs"): Promise<void> {
  const fixture = openResults(t, driver === "vfs" ? { driver } : {});
  const names = await fixture.steps({ a: "1", gone: "x" }, { ".wh.gone": "", b: "2" });
  const { imageId } = await fixture.export([fixture.target(names)], [outputOf("image")], { squash: true });
  const { history, rootfs } = configOf(fixture, imageId!);
  assert.equal(rootfs.diff_ids.length, 1);
  assert.deepEqual(
    history?.map(({ empty_layer }) => empty_layer),
    [true, true, undefined],
  );
  assert.match(history?.at(-1)?.comment ?? "", /^create new from sha256:[a-f0-9]{64}$/);
  const found: string[] = [];
  const tar = fixture.snapshots.diff(fixture.images.resolve(imageId!).chainId!);
  for await (const { entry } of readTar(Readable.from(tar))) found.push(entry.name);
  assert.deepEqual(
    found.filter((name) => !name.startsWith(".wh.")),
    ["a", "b"],
  );
}

test("makes an image of nothing", async (t) => {
  const fixture = openResults(t);
  const { imageId } = await fixture.export(
    [fixture.target([])],
    [outputOf("image", { name: "empty" }), outputOf("tar")],
  );
  assert.deepEqual(configOf(fixture, imageId!).rootfs, { type: "layers", diff_ids: [] });
  assert.deepEqual(await archiveOf(fixture.session.files.get("1")!), new Map());
});

test("sends an archive that the store loads as the very image", async (t) => {
  const fixture = openResults(t);
  const names = await fixture.steps({ a: "1" }, { b: "2" });
  const target = fixture.target(names);
  const { imageId } = await fixture.export(
    [target],
    [outputOf("image"), outputOf("docker", { name: "one:1,two:2" }), outputOf("oci", { name: "one:1" })],
  );
  const docker = await archiveOf(fixture.session.files.get("1")!);
  assert.deepEqual(jsonOf<{ RepoTags: string[] }[]>(docker, "manifest.json")[0]?.RepoTags, ["one:1", "two:2"]);
  assert.equal((await archiveOf(fixture.session.files.get("2")!)).has("manifest.json"), false);
  for (const id of ["1", "2"]) {
    const other = openResults(t);
    await other.images.load(Readable.from([fixture.session.files.get(id)!]), {});
    assert.equal(other.images.resolve("one:1").id, imageId);
  }
});

test("compresses layers as an output asks", async (t) => {
  const fixture = openResults(t);
  const names = await fixture.steps({ a: "1".repeat(10_000) });
  const target = fixture.target(names);
  const { imageId } = await fixture.export(
    [target],
    [
      outputOf("image", { compression: "zstd", "compression-level": "9", name: "z" }),
      outputOf("oci", { compression: "uncompressed" }),
      outputOf("oci", { "oci-mediatypes": "false" }),
    ],
  );
  const [diffId] = configOf(fixture, imageId!).rootfs.diff_ids;
  const manifest = fixture.images.inspect("z", { manifests: true }).Manifests?.[0];
  const stored = JSON.parse(
    (await fixture.content.readBlob(manifest!.Descriptor.digest, 1 << 20)).toString(),
  ) as Manifest;
  assert.equal(stored.layers[0]?.mediaType, "application/vnd.oci.image.layer.v1.tar+zstd");
  const packed = await fixture.content.readBlob(stored.layers[0].digest, 1 << 20);
  assert.equal(sha256Of(zstdDecompressSync(packed)), diffId);
  const plain = await archiveOf(fixture.session.files.get("1")!);
  assert.equal(
    jsonOf<Manifest>(plain, jsonOf<Index>(plain, "index.json").manifests[0]!.digest).layers[0]?.digest,
    diffId,
  );
  const docker = await archiveOf(fixture.session.files.get("2")!);
  const { config, layers } = jsonOf<Manifest>(docker, jsonOf<Index>(docker, "index.json").manifests[0]!.digest);
  assert.equal(config.mediaType, "application/vnd.docker.container.image.v1+json");
  assert.equal(layers[0]?.mediaType, "application/vnd.docker.image.rootfs.diff.tar.gzip");
});

test("puts several platforms into one index, in the order that was asked for, with annotations", async (t) => {
  const fixture = openResults(t);
  const arm = { architecture: "arm64", os: "linux" };
  const own = fixture.target(await fixture.steps({ a: "1" }));
  const other = fixture.target(await fixture.steps({ a: "2" }), {
    platform: arm,
    config: { ...arm, rootfs: { type: "layers", diff_ids: [] } },
  });
  const platforms = [arm, { architecture: "amd64", os: "linux" }];
  const attributes = {
    "annotation-index.all": "index",
    "annotation.every": "one",
    "annotation[linux/arm64].only": "arm",
    "annotation-manifest-descriptor.d": "described",
    name: "x",
  };
  const { imageId, metadata } = await fixture.export(
    [other, own],
    [outputOf("image", { name: "x" }), outputOf("oci", attributes)],
    { platforms },
  );
  assert.equal(configOf(fixture, imageId!).architecture, "amd64");
  assert.deepEqual(
    fixture.events.filter(({ type }) => type === "warning"),
    [],
  );
  const files = await archiveOf(fixture.session.files.get("1")!);
  const [top] = jsonOf<Index>(files, "index.json").manifests;
  assert.equal(top?.digest, metadata.get("containerimage.digest"));
  const index = jsonOf<Index>(files, top!.digest);
  assert.deepEqual(index.annotations, { all: "index" });
  assert.deepEqual(
    index.manifests.map(({ annotations, platform }) => [platform?.architecture, annotations]),
    [
      ["arm64", { d: "described" }],
      ["amd64", { d: "described" }],
    ],
  );
  const manifests = index.manifests.map(({ digest }) => jsonOf<Manifest>(files, digest));
  assert.deepEqual(
    manifests.map(({ annotations }) => annotations),
    [{ every: "one", only: "arm" }, { every: "one" }],
  );
  await assert.rejects(
    fixture.export([other, own], [outputOf("docker")], { platforms }),
    /docker exporter does not currently support exporting manifest lists/,
  );
});

test("adds what is attested of an image to its index, and beside its files", async (t) => {
  const bytes = Buffer.from('{"predicate":1}');
  const attest = async () => [
    { predicateType: "https://slsa.dev/provenance/v1", fileName: "provenance.json", parts: [bytes] },
  ];
  const fixture = openResults(t, {
    attestor: { attest, check: () => {}, isAsked: () => false, told: () => undefined },
  });
  const target = fixture.target(await fixture.steps({ a: "1" }));
  await fixture.export([target], [outputOf("oci"), outputOf("tar", { "attestation-prefix": "my-" })]);
  const files = await archiveOf(fixture.session.files.get("0")!);
  const index = jsonOf<Index>(files, jsonOf<Index>(files, "index.json").manifests[0]!.digest);
  const [image, attestation] = index.manifests;
  assert.deepEqual(attestation?.annotations, {
    "vnd.docker.reference.digest": image?.digest,
    "vnd.docker.reference.type": "attestation-manifest",
  });
  assert.deepEqual(attestation?.platform, { architecture: "unknown", os: "unknown" });
  const [layer] = jsonOf<Manifest>(files, attestation!.digest).layers;
  assert.equal(layer?.mediaType, "application/vnd.in-toto+json");
  assert.deepEqual(layer?.annotations, { "in-toto.io/predicate-type": "https://slsa.dev/provenance/v1" });
  assert.deepEqual(files.get(`blobs/${layer?.digest.replace(":", "/")}`), bytes);
  const tree = await archiveOf(fixture.session.files.get("1")!);
  assert.deepEqual([...tree.keys()], ["a", "my-provenance.json"]);
});

test("keeps several platforms and what is attested as the index that archives have", async (t) => {
  const bytes = Buffer.from('{"predicate":1}');
  const attest = async () => [
    { predicateType: "https://slsa.dev/provenance/v1", fileName: "provenance.json", parts: [bytes] },
  ];
  const fixture = openResults(t, {
    attestor: { attest, check: () => {}, isAsked: () => true, told: () => undefined },
  });
  const { images } = fixture;
  const arm = { architecture: "arm64", os: "linux" };
  const own = fixture.target(await fixture.steps({ a: "1" }));
  const other = fixture.target(await fixture.steps({ a: "2" }), {
    platform: arm,
    config: { ...arm, rootfs: { type: "layers", diff_ids: [] } },
  });
  const platforms = [arm, AMD64];
  const build = () => fixture.export([other, own], [outputOf("image", { name: "x" })], { platforms });
  const { imageId, metadata } = await build();
  const digest = metadata.get("containerimage.digest")!;
  const descriptor = JSON.parse(Buffer.from(metadata.get("containerimage.descriptor")!, "base64").toString());
  assert.deepEqual([descriptor.digest, metadata.has("containerimage.config.digest")], [digest, false]);
  const x = images.inspect("x", { manifests: true });
  assert.deepEqual([x.Id, x.Descriptor?.digest, x.Architecture], [imageId, digest, "amd64"]);
  assert.deepEqual(
    x.Manifests?.map(({ Available, ImageData, Kind }) => [Kind, Available, ImageData?.Platform.architecture]),
    [
      ["image", true, "arm64"],
      ["image", true, "amd64"],
      ["attestation", true, undefined],
      ["attestation", true, undefined],
    ],
  );
  assert.equal(x.Manifests?.[3]?.AttestationData?.For, x.Manifests?.[1]?.ID);
  const foreign = images.resolve("x", { platform: arm });
  assert.deepEqual([foreign.config.architecture, foreign.others], ["arm64", [imageId]]);
  // The archive of the store and that of a build have the same content, and the build is found again as it was.
  await fixture.export([other, own], [outputOf("oci", { name: "x" })], { platforms });
  const built = await archiveOf(fixture.session.files.get("0")!);
  const saved = await archiveOf(await gather(images.save(["x"])));
  const blobs = (files: ReadonlyMap<string, unknown>) => [...files.keys()].filter((name) => name.startsWith("blobs/"));
  assert.deepEqual(blobs(saved), blobs(built));
  const before = await fixture.content.list();
  assert.equal((await build()).metadata.get("containerimage.digest"), digest);
  assert.deepEqual(await fixture.content.list(), before);
  assert.equal((await images.list({ all: true })).length, 1);
  await images.remove("x", { force: false, prune: true });
  assert.deepEqual([images.count(), await fixture.content.list()], [0, []]);
});

test("brings a layout into a store of the client's, blob by blob", async (t) => {
  const fixture = openResults(t);
  const target = fixture.target(await fixture.steps({ a: "1" }));
  const { metadata } = await fixture.export([target], [outputOf("oci", { tar: "false" })]);
  const store = fixture.session.stores.get("export")!;
  const manifest = JSON.parse(store.get(metadata.get("containerimage.digest")!)!.toString()) as Manifest;
  assert.deepEqual(
    [...store.keys()].sort(),
    [manifest.config.digest, manifest.layers[0]!.digest, metadata.get("containerimage.digest")!].sort(),
  );
});

test("sends files as they are, to a folder and as an archive", async (t) => {
  const fixture = openResults(t);
  const copies = mkdtempSync(join(tmpdir(), "gantry-copies-"));
  t.after(() => rmSync(copies, { recursive: true, force: true }));
  fixture.session.copies = copies;
  const target = fixture.target(
    await fixture.steps(
      { "d/": {}, "d/a": "1", "d/b": { type: "hardlink", linkName: "d/a" } },
      { ".wh.x": "", c: "3" },
    ),
  );
  await fixture.export(
    [
      target,
      { ...target, target: { ...target.target, platform: { architecture: "arm", os: "linux", variant: "v7" } } },
    ],
    [outputOf("local"), outputOf("tar", { "source-date-epoch": "7" })],
  );
  const [first, second] = fixture.session.folders;
  assert.deepEqual(first?.options, { under: "linux_amd64" });
  assert.deepEqual(second?.options, { under: "linux_arm_v7" });
  assert.deepEqual(readdirSync(first!.copy), ["c", "d"]);
  assert.equal(readFileSync(join(first!.copy, "d/a"), "utf8"), "1");
  const names: string[] = [];
  for await (const { entry } of readTar(Readable.from([fixture.session.files.get("1")!]))) {
    assert.equal(entry.mtime.seconds, 7);
    names.push(entry.name);
    if (entry.type === "hardlink") assert.match(entry.linkName, /^linux_(amd64|arm_v7)\/d\/a$/);
  }
  assert.equal(names.length, 10);
  assert.equal(statSync(join(fixture.root, "roots")).nlink, 2, "nothing stays mounted");
  await assert.rejects(
    fixture.export([target, target], [outputOf("local", { "platform-split": "false" })]),
    /cannot overwrite (c|d\/a) of one platform/,
  );
});

test("refuses attributes that nobody knows and values that can't be, before anything is made", (t) => {
  const { results } = openResults(t);
  const wrong: [Parameters<typeof outputOf>[0], Record<string, string>, RegExp][] = [
    ["image", { nam: "x" }, /^unknown attribute "nam" of output type image: it has .*name, /],
    ["image", { push: "maybe" }, /^non-bool value specified for push: "maybe"$/],
    ["image", { push: "true" }, /^tag is needed when pushing to registry$/],
    ["image", { name: "UPPER" }, /^failed to parse UPPER: /],
    ["image", { name: "x:1", "push-by-digest": "true" }, /^can't push tagged ref x:1 by digest$/],
    ["image", { compression: "estargz" }, /^compression=estargz is not supported/],
    ["image", { compression: "lz4" }, /^unsupported compression type lz4: it must be uncompressed, gzip or zstd$/],
    ["oci", { "compression-level": "x" }, /^non-integer value x specified for compression-level$/],
    ["oci", { compression: "zstd", "oci-mediatypes": "false" }, /conflicts with "oci-mediatypes=false"$/],
    ["oci", { "annotation-none.x": "1" }, /^unrecognized annotation type/],
    ["oci", { "annotation[linux/s390x].x": "1" }, /^invalid annotation: no platform linux\/s390x found in source$/],
    ["local", { mode: "delete" }, /^mode=delete is not supported/],
    ["local", { name: "x" }, /^unknown attribute "name" of output type local: it has attestation-prefix, /],
    ["cacheonly", { name: "x" }, /^unknown attribute "name" of output type cacheonly: it has none$/],
    ["tar", { "source-date-epoch": "soon" }, /^invalid source-date-epoch/],
  ];
  for (const [type, attributes, text] of wrong) {
    const request = requestOf({ outputs: [outputOf(type, attributes)] });
    assert.throws(() => results.check(request), { kind: "invalid", message: text });
  }
  // Clients send them with every output.
  for (const type of ["tar", "local", "cacheonly"] as const) {
    results.check(
      requestOf({ outputs: [outputOf(type, { "annotation.x": "y", "annotation-index[linux/amd64].x": "y" })] }),
    );
  }
});

function stepsOf(names: readonly string[], fixture: ResultsFixture): CachedStep[] {
  const target = fixture.roots.snapshot(names.at(-1)!);
  return names.map((_, index) => ({
    key: sha256Of(`key ${index}`),
    inputs: index === 0 ? [] : [sha256Of(`key ${index - 1}`)],
    definitions: [sha256Of(`definition ${index}`)],
    get snapshot() {
      return target.layers[index]?.snapshot;
    },
    description: "",
    createdAt: 1_000,
  }));
}

test("carries a cache to another engine, whose image is the same", async (t) => {
  const one = openResults(t);
  const names = await one.steps({ a: "1" }, {}, { b: "2" });
  const target = one.target(names);
  const cacheTo = [{ type: "local" as const, attributes: new Map([["dest", "there"]]) }];
  const made = await one.export([target], [outputOf("image")], { cacheTo }, stepsOf(names, one));
  const { digest } = JSON.parse(made.metadata.get("cache.manifest")!) as { digest: string };
  const two = openResults(t);
  const signal = new AbortController().signal;
  const attributes = new Map([
    ["src", "there"],
    ["digest", digest],
  ]);
  const request = requestOf({ session: one.session, cacheFrom: [{ type: "local", attributes }] });
  two.results.check(request);
  const [cache] = await two.results.imports(request, { signal, onEvent: () => {} });
  assert.equal(await cache!.lookup(sha256Of("other"), { signal, onEvent: () => {} }), undefined);
  const root = await cache!.lookup(sha256Of("definition 2"), { signal, onEvent: () => {} });
  assert.equal(root?.layers.length, 3, "the one that changes nothing, too");
  const again = await two.export([{ ...target, root }], [outputOf("image")]);
  await cache![Symbol.asyncDispose]();
  assert.equal(again.imageId, made.imageId);
});

test("keeps a cache in the image's own config, and finds it in an image that is here", async (t) => {
  const one = openResults(t);
  const names = await one.steps({ a: "1" }, {}, { b: "2" });
  const cacheTo = [{ type: "inline" as const, attributes: new Map<string, string>() }];
  const outputs = [outputOf("image", { name: "cached" })];
  const { imageId } = await one.export([one.target(names)], outputs, { cacheTo }, stepsOf(names, one));
  const config = configOf(one, imageId!) as unknown as Record<string, string>;
  const records = JSON.parse(Buffer.from(config["moby.buildkit.cache.v0"]!, "base64").toString());
  assert.deepEqual(records[0], {
    layers: [{ layer: 0, createdAt: "1970-01-01T00:00:01.000Z" }],
    digest: sha256Of("key 0"),
  });
  const signal = new AbortController().signal;
  const cacheFrom = [{ type: "registry" as const, attributes: new Map([["ref", "cached"]]) }];
  const [cache] = await one.results.imports(requestOf({ cacheFrom }), { signal, onEvent: () => {} });
  await using root = await cache!.lookup(sha256Of("key 2"), { signal, onEvent: () => {} });
  assert.equal(root?.layers.length, 3);
  await cache![Symbol.asyncDispose]();
});

test("takes a cache that is broken or lies for one that has nothing, and says so", async (t) => {
  const one = openResults(t);
  const names = await one.steps({ a: "1" });
  const cacheTo = [{ type: "local" as const, attributes: new Map([["dest", "there"]]) }];
  const { metadata } = await one.export([one.target(names)], [], { cacheTo }, stepsOf(names, one));
  const { digest } = JSON.parse(metadata.get("cache.manifest")!) as { digest: string };
  const store = one.session.stores.get("local:there")!;
  const manifest = JSON.parse(store.get(digest)!.toString()) as Manifest;
  const signal = new AbortController().signal;
  const open = async (broken: ReadonlyMap<string, Buffer>) => {
    const two = openResults(t);
    two.session.stores.set("local:there", new Map([...store, ...broken]));
    const attributes = new Map([
      ["src", "there"],
      ["digest", digest],
    ]);
    const request = requestOf({ session: two.session, cacheFrom: [{ type: "local", attributes }] });
    const onEvent = (event: (typeof two.events)[number]) => void two.events.push(event);
    const imports = await two.results.imports(request, { signal, onEvent });
    const root = await imports[0]?.lookup(sha256Of("key 0"), { signal, onEvent });
    for (const each of imports) await each[Symbol.asyncDispose]();
    const warnings = two.events.flatMap((event) => (event.type === "warning" ? [event.warning.short] : []));
    return { found: root !== undefined, warnings };
  };
  assert.deepEqual(await open(new Map()), { found: true, warnings: [] });
  const layer = store.get(manifest.layers[0]!.digest)!;
  const cut = await open(new Map([[manifest.layers[0]!.digest, layer.subarray(0, layer.length - 3)]]));
  assert.equal(cut.found, false);
  assert.match(cut.warnings[0] ?? "", /^cannot use a layer of the cache: /);
  const other = await open(new Map([[manifest.config.digest, Buffer.from("{}")]]));
  assert.equal(other.found, false);
  assert.match(other.warnings[0] ?? "", /^cannot use the cache local:there: cache config verification failed/);
});

test("packs a layer once for builds that end at the same time, and all have the same image", async (t) => {
  const fixture = openResults(t);
  const names = await fixture.steps({ a: "1".repeat(100_000) }, { b: "2" }, { c: "3" });
  const made = await Promise.all(
    Array.from({ length: 8 }, (_, index) =>
      fixture.export([fixture.target(names)], [outputOf("image", { name: `made:${index}` })]),
    ),
  );
  assert.equal(new Set(made.map(({ imageId }) => imageId)).size, 1);
  assert.equal(fixture.images.count(), 1);
  // Three layers, the config and the manifest.
  assert.equal((await fixture.content.list()).length, 5);
  assert.equal(fixture.snapshots.list().length, 3);
});

test("ends when it is told to, and leaves nothing", async (t) => {
  const fixture = openResults(t);
  const names = await fixture.steps({ a: "1" });
  const controller = new AbortController();
  const outputs = [outputOf("image", { name: "made" }), outputOf("oci")];
  const input = {
    request: requestOf({ session: fixture.session, outputs }),
    targets: [fixture.target(names)],
    steps: () => [],
    signal: controller.signal,
    onEvent: (event: (typeof fixture.events)[number]) => {
      if (event.type === "status" && event.status.name === "exporting layers") controller.abort();
    },
  };
  await assert.rejects(fixture.results.export(input), { kind: "cancelled" });
  assert.equal(fixture.images.count(), 0);
  assert.deepEqual(await fixture.content.list(), []);
  assert.ok(fixture.snapshots.has(names[0]!), "the step stays in the cache");
});

test("makes a removed image again of the steps that the cache still has", async (t) => {
  const kept = new Set<string>();
  const fixture = openResults(t, { keep: () => kept });
  const names = await fixture.steps({ a: "1" }, { b: "2" });
  const target = fixture.target(names);
  const first = await fixture.export([target], [outputOf("image", { name: "made" })]);
  for (const { snapshot } of target.root!.layers) kept.add(snapshot);
  await fixture.images.remove("made", { force: false, prune: true });
  // The lowest layer's snapshot has the name of its blob, which is kept by it.
  assert.equal((await fixture.content.list()).length, 1);
  const again = await fixture.export([target], [outputOf("image", { name: "made" })]);
  assert.equal(again.imageId, first.imageId);
  assert.equal(fixture.snapshots.list().length, 2);
});
