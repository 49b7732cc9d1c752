import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type { ProgressMessage } from "../api/image.ts";
import { chainId } from "../oci/digest.ts";
import { openSnapshotter } from "../snapshots/open.ts";
import { gather, gnuTar, openImages, streamOf, temporary, told } from "./image-store.fixture.ts";

type Files = Record<string, string | Uint8Array>;

const sha = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
const json = (value: unknown): string => JSON.stringify(value);
const BIG = "x".repeat(3 << 20);

function config(layers: readonly Uint8Array[], extra: object = {}): string {
  const diffIds = layers.map((layer) => `sha256:${sha(layer)}`);
  return json({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: diffIds }, ...extra });
}

/** What docker save of 20.10 writes: folders, symbolic links for layers that repeat, and the manifest last. */
function dockerArchive(layers: readonly Uint8Array[], tags: readonly string[] = ["app:1"]): Files {
  const files: Files = {};
  const paths = layers.map((layer, index) => {
    const path = `${sha(`layer ${index}`)}/layer.tar`;
    const first = layers.findIndex((other) => Buffer.compare(other, layer) === 0);
    files[path] = first < index ? `->../${sha(`layer ${first}`)}/layer.tar` : layer;
    return path;
  });
  const text = config(layers);
  files[`${sha(text)}.json`] = text;
  files["manifest.json"] = json([{ Config: `${sha(text)}.json`, RepoTags: tags, Layers: paths }]);
  return files;
}

test("docker's archive is loaded in any order of its entries, with links between layers and progress", async (t) => {
  const fixture = openImages(t);
  const { images } = fixture;
  const [one, two] = [gnuTar(t, { a: BIG }), gnuTar(t, { b: "2" })];
  const files = dockerArchive([one, two, one, two]);
  const reversed = Object.fromEntries(Object.entries(files).reverse());
  for (const archive of [gnuTar(t, files), gzipSync(gnuTar(t, reversed)), zstdCompressSync(gnuTar(t, reversed))]) {
    const messages: ProgressMessage[] = [];
    await images.load(streamOf(archive), { onProgress: (message) => messages.push(message) });
    assert.deepEqual(told(messages), ["Loaded image: app:1"]);
    if (archive.length === gnuTar(t, files).length) {
      const loading = messages.find(({ status }) => status === "Loading layer");
      assert.equal(loading?.id, sha(one).slice(0, 12));
      assert.equal(loading?.progressDetail?.total, one.length);
    }
  }
  const image = images.inspect("app:1");
  const diffIds = [one, two, one, two].map((layer) => `sha256:${sha(layer)}`);
  assert.deepEqual(image.RootFS.Layers, diffIds);
  assert.equal(images.resolve("app:1").chainId, chainId(diffIds).at(-1));
  assert.equal(image.Size, 2 * (BIG.length + 1));
  assert.equal((await fixture.content.list()).length, 4);
});

test("an xz archive is loaded too", async (t) => {
  const { images } = openImages(t);
  const root = temporary(t);
  writeFileSync(join(root, "x.tar"), gnuTar(t, dockerArchive([gnuTar(t, { a: "1" })])));
  execFileSync("xz", ["-0", join(root, "x.tar")]);
  await images.load(streamOf(execFileSync("cat", [join(root, "x.tar.xz")])), {});
  assert.equal((await images.list({})).length, 1);
});

function ociFiles(image: { name?: string; platform?: string }[], layer: Uint8Array): Files {
  const files: Files = { "oci-layout": json({ imageLayoutVersion: "1.0.0" }) };
  const put = (bytes: string | Uint8Array, mediaType: string) => {
    files[`blobs/sha256/${sha(bytes)}`] = bytes;
    return { mediaType, digest: `sha256:${sha(bytes)}`, size: Buffer.byteLength(bytes) };
  };
  const zipped = gzipSync(layer);
  const manifests = image.map(({ name, platform }, index) => {
    const [os = "linux", architecture = "amd64"] = (platform ?? "linux/amd64").split("/");
    const manifest = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: put(
        config([layer], { os, architecture, author: String(index) }),
        "application/vnd.oci.image.config.v1+json",
      ),
      layers: [put(zipped, "application/vnd.oci.image.layer.v1.tar+gzip")],
    };
    return {
      ...put(json(manifest), manifest.mediaType),
      ...(platform !== undefined && { platform: { os, architecture } }),
      ...(name !== undefined && { annotations: { "org.opencontainers.image.ref.name": name } }),
    };
  });
  files["index.json"] = json({ schemaVersion: 2, manifests });
  return files;
}

test("an OCI layout is loaded by the names of its annotations, compressed layers kept as they are", async (t) => {
  const { images, content } = openImages(t);
  const layer = gnuTar(t, { a: "1" });
  const messages: ProgressMessage[] = [];
  const archive = gnuTar(
    t,
    ociFiles([{ name: "example.com/app:2" }, { name: "latest" }, { name: "busybox:1" }], layer),
  );
  await images.load(streamOf(archive), { onProgress: (message) => messages.push(message) });
  const rows = told(messages);
  assert.equal(rows.length, 3);
  assert.equal(rows[0], "Loaded image: example.com/app:2");
  assert.match(rows[1] ?? "", /^Loaded image ID: sha256:/);
  assert.equal(rows[2], "Loaded image: busybox:1");
  assert.equal(content.has(`sha256:${sha(gzipSync(layer))}`), true);
});

test("of nested indexes the image for this machine is taken, attestations are passed over", async (t) => {
  const { images } = openImages(t);
  const layer = gnuTar(t, { a: "1" });
  const host = process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
  const files = ociFiles([{ platform: "linux/s390x" }, { platform: host }, { platform: "windows/amd64" }], layer);
  const inner = JSON.parse(String(files["index.json"])) as { manifests: object[] };
  inner.manifests.push({
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: `sha256:${"0".repeat(64)}`,
    size: 1,
    platform: { os: "unknown", architecture: "unknown" },
    annotations: { "vnd.docker.reference.type": "attestation-manifest" },
  });
  const nested = json(inner);
  files[`blobs/sha256/${sha(nested)}`] = nested;
  const index = {
    mediaType: "application/vnd.oci.image.index.v1+json",
    digest: `sha256:${sha(nested)}`,
    size: nested.length,
    annotations: { "io.containerd.image.name": "docker.io/library/multi:1" },
  };
  files["index.json"] = json({ schemaVersion: 2, manifests: [index] });
  await images.load(streamOf(gnuTar(t, files)), {});
  assert.equal(images.inspect("multi:1").Architecture, host.slice(6));
  assert.equal((await images.list({ all: true })).length, 1);
});

const INDEX = "application/vnd.oci.image.index.v1+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** Puts an index of these entries into a layout that has their blobs, under a name. */
function nest(files: Files, manifests: readonly object[], name = "docker.io/library/multi:1"): Files {
  const inner = json({ schemaVersion: 2, mediaType: INDEX, manifests });
  const annotations = { "io.containerd.image.name": name };
  const index = { mediaType: INDEX, digest: `sha256:${sha(inner)}`, size: inner.length, annotations };
  return {
    ...files,
    [`blobs/sha256/${sha(inner)}`]: inner,
    "index.json": json({ schemaVersion: 2, manifests: [index] }),
  };
}

function entriesIn(files: Files): { digest: string }[] {
  return (JSON.parse(String(files["index.json"])) as { manifests: { digest: string }[] }).manifests;
}

test("what an index names that is no image, and doesn't say so, is kept beside its images", async (t) => {
  const { content, images } = openImages(t);
  const host = process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
  const files = ociFiles([{ platform: host }], gnuTar(t, { a: "1" }));
  const config = json({ name: "chart", version: "1.0.0" });
  const layer = "a chart";
  const describe = (mediaType: string, text: string) => ({
    mediaType,
    digest: `sha256:${sha(text)}`,
    size: text.length,
  });
  const chart = json({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: describe("application/vnd.cncf.helm.config.v1+json", config),
    layers: [describe("application/vnd.cncf.helm.chart.content.v1.tar+gzip", layer)],
  });
  for (const text of [config, layer, chart]) files[`blobs/sha256/${sha(text)}`] = text;
  const archive = gnuTar(t, nest(files, [...entriesIn(files), describe(MANIFEST, chart)]));
  await images.load(streamOf(archive), {});
  assert.equal((await images.list({ all: true })).length, 1);
  for (const text of [config, layer, chart]) assert.ok(content.has(`sha256:${sha(text)}`));
  await images.remove("multi:1", { force: false, prune: true });
  assert.deepEqual(await content.list(), []);
});

test("a manifest that an index names thousands of times is read once, and what is too much is refused", async (t) => {
  const fixture = openImages(t);
  const host = process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
  const files = ociFiles([{ platform: host }], gnuTar(t, { a: "1" }));
  const [image] = entriesIn(files);
  const attestation = (number: number, length: number) => {
    const text = json({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: "application/vnd.oci.empty.v1+json", digest: image!.digest, size: 2 },
      layers: [],
      annotations: { number: String(number), padding: "x".repeat(length) },
    });
    files[`blobs/sha256/${sha(text)}`] = text;
    return {
      mediaType: MANIFEST,
      digest: `sha256:${sha(text)}`,
      size: text.length,
      platform: { os: "unknown", architecture: "unknown" },
      annotations: {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image!.digest,
      },
    };
  };
  const often = Array<object>(4000).fill(attestation(0, 1 << 20));
  await fixture.images.load(streamOf(gnuTar(t, nest(files, [image!, ...often]))), {});
  await fixture.images.remove("multi:1", { force: false, prune: true });
  assert.deepEqual(await fixture.content.list(), []);
  const large = Array.from({ length: 10 }, (_, number) => attestation(number, 7 << 20));
  const refused = fixture.images.load(streamOf(gnuTar(t, nest(files, [image!, ...large]))), {});
  await assert.rejects(
    refused,
    /^GantryError: cannot load the archive: the documents that an index of it names have more/,
  );
  assert.deepEqual(await fixture.content.list(), []);
});

test("the oldest format is loaded by its repositories", async (t) => {
  const { images } = openImages(t);
  const [base, top] = ["b".repeat(64), "c".repeat(64)];
  const layers = [gnuTar(t, { a: "1" }), gnuTar(t, { b: "2" })];
  const step = { os: "linux", architecture: "amd64", created: "2015-01-01T00:00:00Z" };
  const archive = gnuTar(t, {
    [`${top}/json`]: json({
      ...step,
      id: top,
      parent: base,
      config: { Cmd: ["sh"] },
      container_config: { Cmd: ["x", "y"] },
    }),
    [`${top}/layer.tar`]: layers[1] ?? "",
    [`${base}/json`]: json({ ...step, id: base }),
    [`${base}/layer.tar`]: layers[0] ?? "",
    repositories: json({ old: { "1.0": top } }),
  });
  await images.load(streamOf(archive), {});
  assert.deepEqual(
    images.inspect("old:1.0").RootFS.Layers,
    layers.map((layer) => `sha256:${sha(layer)}`),
  );
  assert.deepEqual(images.inspect("old:1.0").Config?.Cmd, ["sh"]);
  assert.deepEqual(
    images.history("old:1.0").map(({ CreatedBy }) => CreatedBy),
    ["x y", ""],
  );
});

test("a broken or hostile archive is refused in one sentence and leaves nothing", async (t) => {
  const fixture = openImages(t);
  const [one, two] = [gnuTar(t, { a: BIG }), gnuTar(t, { b: "2" })];
  const good = dockerArchive([one, two]);
  const names = Object.keys(good);
  const oci = ociFiles([{ name: "a:1" }], two);
  const blob = Object.keys(oci).find((name) => name.startsWith("blobs")) ?? "";
  const whole = gnuTar(t, good);
  const loop = { ...good, [names[0] ?? ""]: `->../${names[0]}` };
  const manifest = (items: unknown): Files => ({ ...good, "manifest.json": json(items) });
  const archives: readonly (readonly [Uint8Array, RegExp])[] = [
    [whole.subarray(0, one.length / 2), /^cannot read the archive: unexpected EOF$/],
    [gzipSync(whole).subarray(0, 2000), /^cannot read the archive: /],
    [Buffer.from("not an archive at all".repeat(100)), /^cannot read the archive: /],
    [Buffer.alloc(0), /^cannot (read|load) the archive: /],
    [gnuTar(t, { file: "rootfs" }), /^cannot load the archive: it has no index.json, manifest.json or repositories/],
    [
      gnuTar(t, { ...good, [names[1] ?? ""]: gnuTar(t, { b: "3" }) }),
      /^invalid diffID for layer 1: expected "sha256:\w+", got "sha256:\w+"$/,
    ],
    [gnuTar(t, { ...good, [names[1] ?? ""]: gzipSync(gnuTar(t, { b: "3" })) }), /^invalid diffID for layer 1: /],
    [
      gnuTar(t, manifest([{ Config: names[2], Layers: [names[0]] }])),
      /^invalid manifest, layers length mismatch: expected 1, got 2$/,
    ],
    [gnuTar(t, manifest(null)), /^invalid manifest, manifest cannot be null/],
    [gnuTar(t, manifest([{ Config: "../../../etc/passwd" }])), /has no file \.\.\/\.\.\/\.\.\/etc\/passwd$/],
    [gnuTar(t, manifest({ Config: 1 })), /^invalid manifest: /],
    [gnuTar(t, { ...good, "manifest.json": `[${" ".repeat(9 << 20)}]` }), /longer than|larger than/],
    [gnuTar(t, loop), /is a link without an end$/],
    [
      gnuTar(t, {
        ...dockerArchive([one]),
        "manifest.json": json([{ Config: "c", RepoTags: ["bad tag"] }]),
        c: config([]),
      }),
      /^invalid reference format$/,
    ],
    [
      gnuTar(t, { ...good, [names[2] ?? ""]: config([one, two], { os: "windows" }) }),
      /^cannot load windows image on linux$/,
    ],
    [gnuTar(t, { ...oci, [blob]: "{}" }), /are others than its digest says$/],
  ];
  for (const [archive, message] of archives) {
    await assert.rejects(fixture.images.load(streamOf(archive), {}), (error: Error) => {
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    });
    assert.deepEqual(await fixture.content.list(), [], String(message));
    assert.deepEqual(fixture.snapshots.list(), [], String(message));
    assert.deepEqual(await fixture.images.list({ all: true }), []);
  }
});

test("of two images in an archive the first does not stay when the second is broken", async (t) => {
  const fixture = openImages(t);
  const [first, second] = [gnuTar(t, { a: "1" }), gnuTar(t, { b: "2" })];
  const one = dockerArchive([first], ["one:1"]);
  const two = dockerArchive([first, second], ["two:1"]);
  const items = [one, two].flatMap((files) => JSON.parse(String(files["manifest.json"])) as { Layers: string[] }[]);
  const last = { ...items[1], Layers: [items[1]?.Layers[0], "missing"] };
  const broken = { ...one, ...two, "manifest.json": json([items[0], last]) };
  await assert.rejects(fixture.images.load(streamOf(gnuTar(t, broken)), {}), /has no file missing/);
  assert.deepEqual(await fixture.images.list({ all: true }), []);
  assert.deepEqual(await fixture.content.list(), []);
});

test("an abort ends a load that waits for its archive, and leaves nothing", async (t) => {
  const fixture = openImages(t);
  const abort = new AbortController();
  const stuck = new Readable({ read() {} });
  stuck.push(gnuTar(t, dockerArchive([gnuTar(t, { a: BIG })])).subarray(0, 1 << 20));
  const load = fixture.images.load(stuck, { signal: abort.signal });
  setImmediate(() => abort.abort());
  await assert.rejects(load, { kind: "cancelled" });
  assert.deepEqual(await fixture.content.list(), []);
});

test("what is saved is the same each time, and loads as the same image with the same manifest", async (t) => {
  const from = openImages(t);
  const shared = gnuTar(t, { a: BIG });
  const [one, two] = [
    dockerArchive([shared], ["one:1", "one:2"]),
    dockerArchive([shared, gnuTar(t, { b: "2" })], ["two:1"]),
  ];
  await from.images.load(streamOf(gnuTar(t, one)), {});
  await from.images.load(streamOf(gnuTar(t, two)), {});
  const archive = await gather(from.images.save(["one", "two:1"]));
  assert.deepEqual(await gather(from.images.save(["two:1", "one"])), archive);
  const root = temporary(t);
  writeFileSync(join(root, "x.tar"), archive);
  const listed = execFileSync("tar", ["-tf", join(root, "x.tar")], { encoding: "utf8" }).split("\n");
  for (const name of ["index.json", "manifest.json", "oci-layout", "repositories"])
    assert.ok(listed.includes(name), name);
  assert.equal(listed.filter((name) => name === `blobs/sha256/${sha(shared)}`).length, 1);
  const to = openImages(t);
  const messages: ProgressMessage[] = [];
  await to.images.load(streamOf(archive), { onProgress: (message) => messages.push(message) });
  assert.deepEqual(told(messages).sort(), ["Loaded image: one:1", "Loaded image: one:2", "Loaded image: two:1"]);
  assert.equal(to.images.inspect("two:1").Id, from.images.inspect("two:1").Id);
  assert.deepEqual(await gather(to.images.save(["one", "two:1"])), archive);
  const { Id } = from.images.inspect("one:1");
  const byId = await gather(from.images.save([Id.slice(7, 19)]));
  assert.match(byId.toString("latin1"), /"RepoTags":\[\]/);
  assert.throws(() => from.images.save(["one", "missing"]), {
    kind: "not-found",
    message: "No such image: missing:latest",
  });
});

test("an image removed while it is saved is saved whole, and its blobs go after that", async (t) => {
  const fixture = openImages(t);
  await fixture.images.load(streamOf(gnuTar(t, dockerArchive([gnuTar(t, { a: BIG })]))), {});
  const expected = await gather(fixture.images.save(["app:1"]));
  const chunks: Uint8Array[] = [];
  for await (const chunk of fixture.images.save(["app:1"])) {
    if (chunks.length === 0) await fixture.images.remove("app:1", { force: false, prune: true });
    chunks.push(chunk);
  }
  assert.deepEqual(Buffer.concat(chunks), expected);
  assert.deepEqual(await fixture.content.list(), []);
});

test("recovery takes what no record needs and keeps the rest", async (t) => {
  const fixture = openImages(t);
  await fixture.images.load(streamOf(gnuTar(t, dockerArchive([gnuTar(t, { a: "1" })]))), {});
  const blobs = await fixture.content.list();
  const chains = fixture.snapshots.list();
  await fixture.content.writeBytes(Buffer.from("left by a crash"));
  await fixture.snapshots.prepare("key", undefined);
  await fixture.snapshots.commit(`sha256:${"1".repeat(64)}`, "key");
  const reopened = fixture.reopen();
  await reopened.recover();
  assert.deepEqual(await fixture.content.list(), blobs);
  assert.deepEqual(fixture.snapshots.list(), chains);
  assert.deepEqual(reopened.inspect("app:1").RepoTags, ["app:1"]);
});

test("with real snapshots an image is loaded, extracted and removed without a trace", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs root");
  const root = temporary(t);
  const snapshots = openSnapshotter({ root });
  await snapshots.recover(new Set());
  const fixture = openImages(t, snapshots);
  const layers = [
    gnuTar(t, { "etc/file": "lower", "etc/gone": "1" }),
    gnuTar(t, { "etc/file": "upper", "etc/.wh.gone": "" }),
  ];
  await fixture.images.load(streamOf(gzipSync(gnuTar(t, dockerArchive(layers)))), {});
  const target = temporary(t);
  const chain = fixture.images.resolve("app:1").chainId ?? "";
  await snapshots.mount(chain, target, { readonly: true });
  t.after(() => snapshots.unmount(target));
  assert.equal(readFileSync(join(target, "etc/file"), "utf8"), "upper");
  assert.equal(existsSync(join(target, "etc/gone")), false);
  await snapshots.unmount(target);
  await fixture.images.remove("app:1", { force: false, prune: true });
  assert.deepEqual(snapshots.list(), []);
  assert.deepEqual(await fixture.content.list(), []);
});
