import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { TarEntry } from "../archive.ts";
import { toolMissing } from "../containers-tools.ts";
import { NO_DOCKERD, TestDockerd } from "../dockerd.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { startFaultyRegistry } from "../faulty-registry.ts";
import {
  HOST_PLATFORM,
  imageOf,
  indexOf,
  layerOf,
  pushTo,
  putBlob,
  randomBytesOf,
  type TestImage,
} from "../oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";
import { EngineClient, type RegistryClient, SkopeoClient, StorageClient } from "../registry-clients.ts";

/**
 * Everybody pushes what everybody pulls: our engine by the docker CLI and by ours, Docker's own, skopeo, podman and
 * buildah, through Debian's registry. Digests must be equal, and so must the files of the images.
 */

/** Every folder is told, as builders do: what is made of one that isn't, differs among Docker's own snapshotters. */
const LONG: readonly TarEntry[] = Array.from({ length: 6 }, (_, at) => ({
  name: `tree${"/a-folder-with-a-long-name".repeat(at + 1)}`,
  type: "directory",
}));
/** cap_net_raw, permitted and effective (struct vfs_cap_data, revision 2). */
const CAPABILITY = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const FIRST: readonly TarEntry[] = [
  { name: "tree", type: "directory", mode: 0o755 },
  { name: "tree/bin", type: "directory", mode: 0o1777, uid: 3, gid: 4 },
  { name: "tree/bin/setuid", body: "x", mode: 0o6755, uid: 1000, gid: 2000 },
  { name: "tree/bin/capable", body: "x", mode: 0o755, xattrs: { "security.capability": CAPABILITY } },
  { name: "tree/attributes", body: "x", xattrs: { "user.colour": "blue", "user.long": "x".repeat(300) } },
  { name: "tree/empty", mtime: 1 },
  { name: "tree/random", body: randomBytesOf("pairs", 300_000), mode: 0o600, uid: 65_534, gid: 65_534 },
  { name: "tree/again", type: "hardlink", link: "tree/random", mode: 0o600, uid: 65_534, gid: 65_534 },
  { name: "tree/link", type: "symlink", link: "random" },
  { name: "tree/absolute", type: "symlink", link: "/etc/passwd" },
  { name: "tree/nowhere", type: "symlink", link: "../../../nowhere" },
  { name: "tree/null", type: "character", device: [1, 3], mode: 0o666 },
  { name: "tree/fifo", type: "fifo", mode: 0o620 },
  ...LONG,
  { name: `${LONG.at(-1)?.name}/file`, body: "deep" },
  { name: "tree/größe 大きさ", body: "name" },
  { name: "tree/gone", body: "gone" },
  { name: "tree/hidden", type: "directory" },
  { name: "tree/hidden/old", body: "old" },
  { name: "tree/file-then-folder", body: "x" },
  { name: "tree/folder-then-file", type: "directory" },
  { name: "tree/folder-then-file/inside", body: "x" },
  { name: "tree/kept", type: "directory", mode: 0o700 },
  { name: "tree/kept/inside", body: "stays" },
];
const SECOND: readonly TarEntry[] = [
  { name: "tree", type: "directory", mode: 0o755 },
  { name: "tree/.wh.gone" },
  { name: "tree/hidden", type: "directory", mode: 0o711 },
  { name: "tree/hidden/.wh..wh..opq" },
  { name: "tree/hidden/new", body: "new" },
  { name: "tree/file-then-folder", type: "directory" },
  { name: "tree/file-then-folder/inside", body: "x" },
  { name: "tree/folder-then-file", body: "now a file" },
  { name: "tree/kept", type: "directory", mode: 0o755, uid: 7 },
  { name: "tree/attributes", body: "y", xattrs: { "user.colour": "red" } },
];
const THIRD: readonly TarEntry[] = [
  { name: "tree", type: "directory", mode: 0o755 },
  { name: "tree/hidden", type: "directory", mode: 0o711 },
  { name: "tree/hidden/newest", body: "newest" },
];

function layered(options: Parameters<typeof layerOf>[1] & { readonly platform?: TestImage["platform"] }): TestImage {
  const { mediaTypes, platform } = options;
  return imageOf({ mediaTypes, platform, layers: [FIRST, SECOND, THIRD].map((entries) => layerOf(entries, options)) });
}

const other = { os: "linux", architecture: HOST_PLATFORM.architecture === "s390x" ? "riscv64" : "s390x" };
const SAMPLES = {
  "oci-gzip": layered({}),
  "oci-gzip-members": layered({ compression: "gzip-members" }),
  "oci-zstd": layered({ compression: "zstd" }),
  "oci-zstd-frames": layered({ compression: "zstd-frames" }),
  "oci-none": layered({ compression: "none" }),
  "docker-gzip": layered({ mediaTypes: "docker" }),
  "docker-none": layered({ mediaTypes: "docker", compression: "none" }),
  "oci-index": indexOf([layered({ platform: other }), layered({})], { attestations: true }),
  "docker-index": indexOf([layered({ mediaTypes: "docker", platform: other }), layered({ mediaTypes: "docker" })], {
    mediaTypes: "docker",
  }),
} as const;
type Sample = keyof typeof SAMPLES;

const skip = registryMissing() || NO_DOCKER || toolMissing("skopeo", "podman", "buildah");
const NAMES = ["gantryd", "gantry", "dockerd", "skopeo", "podman", "buildah"] as const;
type Name = (typeof NAMES)[number];
const KINDS = ["plain", "tls", "passwords", "tokens"] as const;
type Kind = (typeof KINDS)[number];

describe("images go from everybody to everybody", { skip }, () => {
  const stack = new AsyncDisposableStack();
  const registries = {} as Record<Kind, TestRegistry>;
  const clients = {} as Record<Name, RegistryClient>;
  let engine: TestEngine;

  before(async () => {
    registries.plain = stack.use(await startRegistry());
    registries.tls = stack.use(await startRegistry({ tls: true }));
    registries.passwords = stack.use(await startRegistry({ htpasswd: { joe: "secret" } }));
    registries.tokens = stack.use(await startRegistry({ tls: true, token: true }));
    const all = Object.values(registries);
    engine = stack.use(await startEngine({ image: false }));
    clients.gantryd = EngineClient.ofGantry(engine, "docker", all);
    clients.gantry = EngineClient.ofGantry(engine, "gantry", all);
    if (NO_DOCKERD === false) clients.dockerd = EngineClient.ofDockerd(stack.use(await TestDockerd.start()), all);
    const folder = (name: string): string => {
      const path = join(engine.root, "clients", name);
      mkdirSync(path, { recursive: true });
      return path;
    };
    clients.skopeo = new SkopeoClient(folder("skopeo"));
    clients.podman = new StorageClient("podman", folder("podman"));
    clients.buildah = new StorageClient("buildah", folder("buildah"));
    for (const [name, image] of Object.entries(SAMPLES)) await pushTo(registries.plain, `seed/${name}:1`, image);
  });

  after(() => stack.disposeAsync());

  /** The digest that a name points to, as the registry tells it. */
  async function digestAt(registry: TestRegistry, name: string): Promise<string> {
    const [repository, tag] = name.split(":");
    const Accept = Object.values(SAMPLES).map(({ manifest }) => manifest.mediaType);
    const headers = { Accept: [...new Set(Accept)].join(", ") };
    const answer = await registry.request("HEAD", `/v2/${repository}/manifests/${tag}`, { headers });
    assert.equal(answer.status, 200, name);
    return String(answer.headers["docker-content-digest"]);
  }

  /** What a client needs no more is taken from it: the next pull of the same layers is a whole one. */
  async function pulledBy(client: RegistryClient, registry: TestRegistry, name: string, looks = true) {
    const pulled = await client.pull(registry, name);
    const tree = looks ? await client.tree(registry, name, "tree") : undefined;
    await client.remove(registry, name);
    return { ...pulled, tree };
  }

  async function push(client: RegistryClient, sample: Sample, registry: TestRegistry, name: string): Promise<void> {
    const seed = `seed/${sample}:1`;
    await client.pull(registries.plain, seed);
    await client.push(registry, { registry: registries.plain, name: seed }, name);
    await client.remove(registries.plain, seed);
    if (client.name !== "podman" && client.name !== "buildah" && client.name !== "skopeo")
      await client.remove(registry, name);
  }

  let expected: string | undefined;
  /** All trees of all samples are the same one; the first is looked at. */
  function checkTree(tree: string | undefined, title: string): void {
    if (tree === undefined) return;
    if (expected === undefined) {
      assert.match(tree, /"path":"kept\/inside"/);
      assert.doesNotMatch(tree, /"path":"(gone|hidden\/old|folder-then-file\/inside)"/);
      assert.match(tree, /"path":"bin\/setuid","type":"file","mode":"6755","owner":"1000:2000"/);
      assert.match(tree, /"path":"bin\/capable".*"security\.capability":"01000002002000/);
      expected = tree;
    }
    assert.deepEqual(tree.split("\n"), expected.split("\n"), title);
  }

  for (const pusher of NAMES) {
    const reason = pusher === "dockerd" && NO_DOCKERD;
    test(`what ${pusher} pushes, everybody pulls`, { skip: reason }, async (context) => {
      const name = `pairs/from-${pusher}:1`;
      await push(clients[pusher], "oci-gzip", registries.plain, name);
      const digest = await digestAt(registries.plain, name);
      const ours = pusher === "gantryd" || pusher === "gantry" || pusher === "skopeo";
      if (ours) assert.equal(digest, SAMPLES["oci-gzip"].manifest.digest);
      const ids = new Set<string>();
      for (const puller of NAMES) {
        await context.test(
          `${puller} has the same digests and files`,
          { skip: puller === "dockerd" && NO_DOCKERD },
          async () => {
            // The files of what two others exchange are those of skopeo's pushes: the layers are the same.
            const looks = pusher === "gantryd" || puller === "gantryd" || pusher === "skopeo";
            const got = await pulledBy(clients[puller], registries.plain, name, looks);
            assert.equal(got.digest, digest);
            ids.add(got.id);
            assert.equal(ids.size, 1, `ids: ${[...ids].join(" ")}`);
            checkTree(got.tree, `${puller} from ${pusher}`);
          },
        );
      }
    });
  }

  for (const kind of KINDS.filter((name) => name !== "plain")) {
    test(`through a registry with ${kind} our engine and all others exchange images`, async (context) => {
      const registry = registries[kind];
      await push(clients.gantryd, "docker-gzip", registry, "kinds/ours:1");
      for (const name of NAMES.filter((one) => one !== "gantryd")) {
        const reason = name === "dockerd" && NO_DOCKERD;
        await context.test(`${name} pulls what we pushed`, { skip: reason }, async () => {
          const got = await pulledBy(clients[name], registry, "kinds/ours:1", false);
          assert.equal(got.digest, SAMPLES["docker-gzip"].manifest.digest);
          assert.equal(got.id, SAMPLES["docker-gzip"].config.digest);
        });
        await context.test(`we pull what ${name} pushed`, { skip: reason }, async () => {
          await push(clients[name], "docker-gzip", registry, `kinds/${name}:1`);
          const got = await pulledBy(clients.gantryd, registry, `kinds/${name}:1`, false);
          assert.equal(got.digest, await digestAt(registry, `kinds/${name}:1`));
          assert.equal(got.id, SAMPLES["docker-gzip"].config.digest);
        });
      }
    });
  }

  for (const sample of Object.keys(SAMPLES) as Sample[]) {
    test(`an image of the kind ${sample} comes to us and goes from us as it is`, async () => {
      const { manifest } = SAMPLES[sample];
      const got = await pulledBy(clients.gantryd, registries.plain, `seed/${sample}:1`);
      assert.equal(got.digest, manifest.digest);
      checkTree(got.tree, sample);
      await push(clients.gantryd, sample, registries.plain, `samples/${sample}:1`);
      const image = SAMPLES[sample];
      // Of an index the platform's own image is what we have, and push.
      const own =
        image.kind === "index"
          ? image.members.find((member) => member.kind === "image" && member.platform === HOST_PLATFORM)
          : image;
      assert.equal(await digestAt(registries.plain, `samples/${sample}:1`), own?.manifest.digest);
      const back = await pulledBy(clients.podman, registries.plain, `samples/${sample}:1`);
      assert.equal(back.id, got.id);
      checkTree(back.tree, `podman's ${sample}`);
    });
  }

  for (const mediaTypes of ["oci", "docker"] as const) {
    test(`foreign layers with the media types of ${mediaTypes} come from where they lie, and stay there`, async () => {
      await using elsewhere = await startFaultyRegistry();
      const layers = [FIRST, SECOND, THIRD].map((entries) => layerOf(entries, { mediaTypes }));
      await putBlob(elsewhere, "far/away", layers[1]!);
      const urls = [`${elsewhere.url}/v2/far/away/blobs/${layers[1]!.digest}`];
      const foreign = layerOf(SECOND, { mediaTypes, urls });
      const image = imageOf({ mediaTypes, layers: [layers[0]!, foreign, layers[2]!] });
      await pushTo(registries.plain, `foreign/${mediaTypes}:1`, image);

      const seed = `foreign/${mediaTypes}:1`;
      assert.equal((await clients.gantryd.pull(registries.plain, seed)).digest, image.manifest.digest);
      checkTree(await clients.gantryd.tree(registries.plain, seed, "tree"), "ours");
      await clients.gantryd.push(
        registries.plain,
        { registry: registries.plain, name: seed },
        `from-us/${mediaTypes}:1`,
      );
      for (const name of [seed, `from-us/${mediaTypes}:1`]) await clients.gantryd.remove(registries.plain, name);
      assert.equal(await digestAt(registries.plain, `from-us/${mediaTypes}:1`), image.manifest.digest);
      const blob = await registries.plain.request("HEAD", `/v2/from-us/${mediaTypes}/blobs/${foreign.digest}`);
      assert.equal(blob.status, 404);
      const theirs = await pulledBy(clients.podman, registries.plain, `from-us/${mediaTypes}:1`);
      assert.equal(theirs.id, image.config.digest);
      checkTree(theirs.tree, "podman's");
      // Whoever serves a foreign layer learns nothing of who asks.
      for (const { headers } of elsewhere.asked("blob", "GET")) assert.equal(headers.authorization, undefined);
      assert.ok(elsewhere.asked("blob", "GET").length >= 2);
    });
  }
});
