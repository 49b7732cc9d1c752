import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type TarEntry, tarOf } from "../archive.ts";
import { ContainersTools, toolMissing } from "../containers-tools.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { imageOf, layerOf, pushTo, randomBytesOf, type TestLayer } from "../oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";
import { annotateLayers, estargzLayerOf, type SeekableLayer, zstdChunkedLayerOf } from "../seekable-layer.ts";

const CHUNK = 64 << 10;
const PROGRAM = randomBytesOf("program", 5 * CHUNK + 7);
const BELOW: readonly TarEntry[] = [
  { name: "bin/", type: "directory" },
  { name: "bin/program", body: PROGRAM, mode: 0o4755 },
  { name: "bin/again", type: "hardlink", link: "bin/program" },
  { name: "bin/short", type: "symlink", link: "program" },
  { name: "gone", body: "of the layer below\n" },
  { name: "empty", body: "" },
];
/** As much as an image has to have to be started lazily where that is wanted. */
const BULK: TarEntry = { name: "bulk", body: randomBytesOf("bulk", 5 << 20) };
const ABOVE: readonly TarEntry[] = [
  { name: ".wh.gone", body: "" },
  { name: "text", body: "of the layer above\n" },
  { name: "pipe", type: "fifo" },
];
const FORMS: Readonly<Record<string, (entries: readonly TarEntry[]) => SeekableLayer>> = {
  eStargz: (entries) => estargzLayerOf(entries, { chunkSize: CHUNK, prefetched: 2 }),
  "zstd:chunked": (entries) => zstdChunkedLayerOf(entries, { chunkSize: CHUNK }),
};

/** What only eStargz adds to the archive; Docker and containerd unpack it as well. */
const OWN_FILES = /^(stargz\.index\.json|\.(no\.)?prefetch\.landmark)$/;

describe("layers that could be read file by file", { skip: registryMissing() || NO_DOCKER }, () => {
  let engine: TestEngine;
  let registry: TestRegistry;

  before(async () => {
    registry = await startRegistry();
    engine = await startEngine({ image: false });
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const put = (name: string, layers: readonly TestLayer[]) =>
    pushTo(registry, name, imageOf({ layers, editManifest: annotateLayers(layers) }));

  /** The files of an image as a container of it has them, with type, owner, size and the sum of what is in them. */
  async function filesOf(name: string): Promise<string[]> {
    const id = await engine.ok("create", `${registry.host}/${name}`, "/bin/program");
    const listing = 'docker export "$1" | tar --list --verbose --numeric-owner --full-time';
    const sums = `docker export "$1" | tar --extract --to-command='echo "$TAR_FILENAME $(sha256sum)"'`;
    const script = `set -eu -o pipefail; ${listing}; ${sums}`;
    const { code, stdout, stderr } = await engine.run("bash", ["-c", script, "bash", id]);
    await engine.ok("rm", id);
    assert.equal(code, 0, stderr);
    return stdout
      .split("\n")
      .filter((line) => !OWN_FILES.test(/([^ ]*?)(?: [0-9a-f]{64} {2}-)?$/.exec(line)?.[1] ?? ""))
      .sort();
  }

  for (const [form, layerFor] of Object.entries(FORMS)) {
    const name = form.replace(":", "-").toLowerCase();

    test(`an image of ${form} is pulled whole and shows the files that its plain form shows`, async () => {
      await put("plain", [layerOf([...BELOW, BULK]), layerOf(ABOVE)]);
      await engine.ok("pull", "--quiet", `${registry.host}/plain`);
      const layers = [layerFor([...BELOW, BULK]), layerFor(ABOVE)];
      const digest = await put(name, layers);
      const said = await engine.ok("pull", `${registry.host}/${name}`);
      assert.doesNotMatch(said, /Starting lazily/, "nobody has asked for that");
      const { json } = await engine.request("GET", `/images/${registry.host}/${name}/json`);
      assert.ok(json.RepoDigests.includes(`${registry.host}/${name}@${digest}`), json.RepoDigests.join(" "));
      assert.deepEqual(
        json.RootFS.Layers,
        layers.map(({ diffId }) => diffId),
      );
      const files = await filesOf(name);
      assert.deepEqual(files, await filesOf("plain"));
      assert.ok(
        files.some((line) => / bin\/again$/.test(line) && line.startsWith("-rwsr-xr-x")),
        files.join("\n"),
      );
      assert.ok(!files.some((line) => line.endsWith(" gone")), files.join("\n"));
    });

    test(`what the annotations of ${form} say is not believed: a table of contents that lies changes nothing`, async () => {
      const honest = layerFor(BELOW);
      const lies = Object.fromEntries(
        Object.keys(honest.annotations).map((key) => [key, key.endsWith("position") ? "1:2:3:1" : "sha256:lie"]),
      );
      const layers = [{ ...honest, annotations: lies }];
      await put(`${name}-lies`, layers);
      await engine.ok("pull", "--quiet", `${registry.host}/${name}-lies`);
      await put(`${name}-honest`, [honest]);
      await engine.ok("pull", "--quiet", `${registry.host}/${name}-honest`);
      assert.deepEqual(await filesOf(`${name}-lies`), await filesOf(`${name}-honest`));
    });
  }

  test("what podman pushes as zstd:chunked is pulled as what it is", { skip: toolMissing("podman") }, async () => {
    const folder = join(registry.root, "podman");
    mkdirSync(folder);
    const tools = new ContainersTools(folder);
    const archive = join(folder, "image.tar");
    writeFileSync(archive, tarOf(BELOW));
    await tools.ok("podman", "import", "--quiet", archive, "chunked:1");
    const how = ["--tls-verify=false", "--quiet", "--compression-format", "zstd:chunked"];
    await tools.ok("podman", "push", ...how, "chunked:1", `docker://${registry.host}/by-podman`);
    const { body } = await registry.request("GET", "/v2/by-podman/manifests/latest", {
      headers: { Accept: "application/vnd.oci.image.manifest.v1+json" },
    });
    const [layer] = (JSON.parse(body.toString()) as { readonly layers: readonly SeekableLayer[] }).layers;
    // podman 4.3 leaves out `github`.
    const position = /^io\.(github\.)?containers\.zstd-chunked\.manifest-position$/;
    const marks = Object.keys(layer?.annotations ?? {});
    assert.ok(
      marks.some((mark) => position.test(mark)),
      body.toString(),
    );
    await engine.ok("pull", "--quiet", `${registry.host}/by-podman`);
    await put("source", [layerOf(BELOW)]);
    await engine.ok("pull", "--quiet", `${registry.host}/source`);
    assert.deepEqual(await filesOf("by-podman"), await filesOf("source"));
  });
});
