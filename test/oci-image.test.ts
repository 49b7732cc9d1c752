import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { sha256, type TarEntry } from "./archive.ts";
import { ContainersTools, toolMissing } from "./containers-tools.ts";
import { makeTestRoot, removeTestRoot } from "./leftovers.ts";
import {
  contentsOf,
  imageOf,
  indexOf,
  type LayerCompression,
  layerOf,
  type MediaTypes,
  pushTo,
  randomBytesOf,
  randomImage,
} from "./oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "./registry.ts";

const skip = registryMissing() || toolMissing("skopeo");

let root: string;
let tools: ContainersTools;
let registry: TestRegistry;

before(async () => {
  root = makeTestRoot();
  tools = new ContainersTools(join(root, "tools"));
  if (registryMissing() === false) registry = await startRegistry();
});

after(async () => {
  await registry?.[Symbol.asyncDispose]();
  removeTestRoot(root);
});

function skopeo(...args: readonly string[]): Promise<string> {
  return tools.ok("skopeo", ...args);
}

/** Copies by skopeo, which checks each digest, and resolves with the folder. */
async function copied(name: string, ...flags: readonly string[]): Promise<string> {
  const folder = join(root, `copy-${readdirSync(root).length}`);
  await skopeo("copy", "--src-tls-verify=false", ...flags, `docker://${registry.host}/${name}`, `dir:${folder}`);
  return folder;
}

for (const mediaTypes of ["oci", "docker"] satisfies MediaTypes[]) {
  const all: readonly LayerCompression[] = ["gzip", "gzip-members", "none", "zstd", "zstd-frames"];
  // Docker's media types have none for zstd.
  for (const compression of all.filter((name) => mediaTypes === "oci" || !name.startsWith("zstd"))) {
    test(`skopeo takes an image of ${compression} layers with the media types of ${mediaTypes}`, { skip }, async () => {
      const image = randomImage("a", { layers: 2, size: 50_000, compression, mediaTypes });
      const name = `plain/${mediaTypes}-${compression}`;
      const digest = await pushTo(registry, name, image);
      const folder = await copied(name);
      assert.equal(`sha256:${sha256(readFileSync(join(folder, "manifest.json")))}`, digest);
      for (const { digest: blob, bytes } of contentsOf(image).blobs) {
        assert.deepEqual(readFileSync(join(folder, blob.replace("sha256:", ""))), bytes);
      }
      const shown = JSON.parse(await skopeo("inspect", "--tls-verify=false", `docker://${registry.host}/${name}`));
      assert.deepEqual([shown.Digest, shown.Layers.length], [digest, 2]);
    });
  }

  test(`skopeo takes an index with the media types of ${mediaTypes}, attestations included`, { skip }, async () => {
    const image = (architecture: string) =>
      imageOf({ mediaTypes, platform: { os: "linux", architecture }, process: { Labels: { for: architecture } } });
    const index = indexOf([image("amd64"), image("s390x")], { mediaTypes, attestations: true });
    const name = `index/${mediaTypes}`;
    const digest = await pushTo(registry, name, index);
    const folder = await copied(name, "--all");
    assert.equal(`sha256:${sha256(readFileSync(join(folder, "manifest.json")))}`, digest);
    assert.equal(contentsOf(index).manifests.length, 5);
    const flags = ["--tls-verify=false", "--override-arch", "s390x", "--config"];
    const config = JSON.parse(await skopeo("inspect", ...flags, `docker://${registry.host}/${name}`));
    assert.deepEqual([config.architecture, config.config.Labels], ["s390x", { for: "s390x" }]);
  });

  test(`foreign layers with the media types of ${mediaTypes} are named, and not put into the registry`, {
    skip,
  }, async () => {
    const urls = ["http://127.0.0.1:1/layer"];
    const own = layerOf([{ name: "own", body: "own" }], { mediaTypes });
    const foreign = layerOf([{ name: "foreign", body: "foreign" }], { mediaTypes, urls });
    const image = imageOf({ mediaTypes, layers: [own, foreign] });
    const name = `foreign/${mediaTypes}`;
    await pushTo(registry, name, image);
    const { status } = await registry.request("HEAD", `/v2/${name}/blobs/${foreign.digest}`);
    assert.equal(status, 404);
    const { body } = await registry.request("GET", `/v2/${name}/manifests/latest`, {
      headers: { Accept: image.manifest.mediaType },
    });
    assert.deepEqual(JSON.parse(body.toString()).layers[1].urls, urls);
  });
}

test("GNU tar reads an archive's names, owners and attributes", () => {
  const long = `${"folder/".repeat(30)}file`;
  const entries: TarEntry[] = [
    { name: "etc", type: "directory", mode: 0o1777, uid: 12, gid: 34 },
    { name: long, body: "deep", xattrs: { "user.colour": "blue", "user.long": "x".repeat(90) } },
    { name: "link", type: "symlink", link: long },
  ];
  const listing = execFileSync("tar", ["--numeric-owner", "--xattrs", "-tvvf", "-"], {
    input: layerOf(entries).tar,
    encoding: "utf8",
  });
  assert.match(listing, /^drwxrwxrwt\s+12\/34 .* etc\/?$/m);
  assert.match(listing, new RegExp(`^-rw-r--r--\\*? +0/0 +4 .* ${long}$`, "m"));
  assert.match(listing, /^\s+x:\s+4 user\.colour$/m);
  assert.match(listing, /^\s+x:\s+90 user\.long$/m);
  assert.match(listing, new RegExp(` link -> ${long}$`, "m"));
});

test("random content is the same for the same seed, and no two seeds' alike", () => {
  assert.deepEqual(randomBytesOf("a", 4096), randomBytesOf("a", 4096));
  assert.notDeepEqual(randomBytesOf("a", 4096), randomBytesOf("b", 4096));
  assert.deepEqual(randomBytesOf("a", 100), randomBytesOf("a", 4096).subarray(0, 100));
});
