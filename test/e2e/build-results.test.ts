import assert from "node:assert/strict";
import { createReadStream, createWriteStream, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { openResults, outputOf, type ResultsFixture } from "../../src/build/results/results.fixture.ts";
import { ANONYMOUS } from "../../src/remote/credentials.ts";
import { registries } from "../../src/remote/registry.fixture.ts";
import { built } from "../builds.ts";
import { findProgram, finish } from "../command.ts";
import { ContainersTools, toolMissing } from "../containers-tools.ts";
import { NO_DOCKERD, TestDockerd } from "../dockerd.ts";
import { NO_DOCKER, startEngine } from "../engine.ts";
import { makeTestRoot, removeTestRoot } from "../leftovers.ts";
import { registryMissing, startRegistry } from "../registry.ts";

const ARM = { architecture: "arm64", os: "linux" };
const AMD = { architecture: "amd64", os: "linux" };
const INDEX = "application/vnd.oci.image.index.v1+json";

async function twoSteps(fixture: ResultsFixture) {
  return fixture.target(
    await fixture.steps(
      { "bin/": {}, "bin/tool": { type: "file", mode: 0o755 }, "bin/link": { type: "symlink", linkName: "tool" } },
      { "bin/.wh.link": "", "etc/": {}, "etc/conf": "x".repeat(100_000) },
    ),
  );
}

test("pushes an image that skopeo and podman take with the digest that the client was told", {
  skip: registryMissing() || toolMissing("skopeo", "podman"),
  timeout: 120_000,
}, async (t) => {
  await using registry = await startRegistry();
  using made = registries();
  const fixture = openResults(t, { registries: made });
  const root = makeTestRoot();
  t.after(() => removeTestRoot(root));
  const tools = new ContainersTools(root);
  const target = await twoSteps(fixture);
  for (const [tag, compression] of [
    ["default", undefined],
    ["zstd", "zstd"],
    ["plain", "uncompressed"],
  ] as const) {
    const name = `${registry.host}/made/image:${tag}`;
    const attributes = { name, push: "true", ...(compression !== undefined && { compression }) };
    const { imageId, metadata } = await fixture.export([target], [outputOf("image", attributes)]);
    const digest = metadata.get("containerimage.digest");
    const shown = await tools.ok("skopeo", "inspect", "--tls-verify=false", `docker://${name}`);
    assert.equal(JSON.parse(shown).Digest, digest);
    await tools.ok("podman", "pull", "--quiet", "--tls-verify=false", name);
    const [pulled] = JSON.parse(await tools.ok("podman", "image", "inspect", name));
    assert.equal(`sha256:${pulled.Id}`, imageId);
    assert.ok(pulled.RepoDigests.includes(`${registry.host}/made/image@${digest}`), String(pulled.RepoDigests));
    // What the engine knows of it is what the registry has.
    assert.ok(fixture.images.inspect(name).RepoDigests.includes(`${registry.host}/made/image@${digest}`));
  }
});

test("puts an index of several platforms, annotated and attested, and nothing of it stays here", {
  skip: registryMissing() || toolMissing("skopeo"),
  timeout: 120_000,
}, async (t) => {
  await using registry = await startRegistry();
  using made = registries();
  const bytes = Buffer.from('{"_type":"https://in-toto.io/Statement/v0.1"}');
  const attest = async () => [
    { predicateType: "https://slsa.dev/provenance/v1", fileName: "provenance.json", parts: [bytes] },
  ];
  const fixture = openResults(t, {
    registries: made,
    attestor: { attest, check: () => {}, isAsked: () => false, told: () => undefined },
  });
  const root = makeTestRoot();
  t.after(() => removeTestRoot(root));
  const tools = new ContainersTools(root);
  const own = await twoSteps(fixture);
  const other = fixture.target(await fixture.steps({ arm: "1" }), {
    platform: ARM,
    config: { ...ARM, rootfs: { type: "layers", diff_ids: [] } },
  });
  const name = `${registry.host}/made/index:1`;
  const { imageId, metadata } = await fixture.export(
    [other, own],
    [outputOf("registry", { name: `${name},${registry.host}/made/other`, "annotation-index.who": "me" })],
    { platforms: [ARM, AMD] },
  );
  assert.equal(imageId, undefined);
  assert.equal(fixture.images.count(), 0);
  assert.deepEqual(await fixture.content.list(), []);
  const raw = await tools.ok("skopeo", "inspect", "--tls-verify=false", "--raw", `docker://${name}`);
  const index = JSON.parse(raw);
  assert.equal(index.mediaType, INDEX);
  assert.deepEqual(index.annotations, { who: "me" });
  assert.deepEqual(
    index.manifests.map(({ platform }: { platform: { architecture: string } }) => platform.architecture),
    ["arm64", "amd64", "unknown", "unknown"],
  );
  const layout = join(root, "layout");
  await tools.ok("skopeo", "copy", "--all", "--src-tls-verify=false", `docker://${name}`, `oci:${layout}:1`);
  const descriptor = JSON.parse(Buffer.from(metadata.get("containerimage.descriptor")!, "base64").toString());
  assert.equal(descriptor.digest, metadata.get("containerimage.digest"));
  assert.equal(descriptor.mediaType, INDEX);
  const twin = await tools.ok(
    ...(["skopeo", "inspect", "--tls-verify=false", "--raw"] as const),
    `docker://${registry.host}/made/other:latest`,
  );
  assert.equal(twin, raw);
  // A second push finds all of it there.
  const before = registry.requests.length;
  await fixture.export([other, own], [outputOf("registry", { name })], { platforms: [ARM, AMD] });
  const uploads = registry.requests.slice(before).filter(({ method }) => method === "POST" || method === "PATCH");
  assert.deepEqual(uploads, []);
  // By its digest alone: no tag comes of it.
  const alone = `${registry.host}/made/alone`;
  const pushed = await fixture.export(
    [own],
    [outputOf("image", { name: alone, "push-by-digest": "true", push: "true", store: "false" })],
  );
  const tags = await tools.run("skopeo", ["list-tags", "--tls-verify=false", `docker://${alone}`]);
  assert.ok(!/latest/.test(tags.stdout), tags.stdout);
  const digest = pushed.metadata.get("containerimage.digest");
  await tools.ok("skopeo", "inspect", "--tls-verify=false", "--raw", `docker://${alone}@${digest}`);
});

test("pushes as who the client says it is, and says why it may not", { skip: registryMissing() }, async (t) => {
  await using registry = await startRegistry({ htpasswd: { joe: "secret" } });
  using made = registries();
  const fixture = openResults(t, { registries: made });
  const target = await twoSteps(fixture);
  const asked: string[] = [];
  const credentialsOf = async (domain: string) => {
    asked.push(domain);
    return { ...ANONYMOUS, username: "joe", password: asked.length === 1 ? "wrong" : "secret" };
  };
  const push = () =>
    fixture.export([target], [outputOf("registry", { name: `${registry.host}/made/own` })], { credentialsOf });
  await assert.rejects(push(), {
    kind: "unauthenticated",
    message: new RegExp(`^failed to push ${registry.host}/made/own:latest: `),
  });
  const { metadata } = await push();
  assert.match(metadata.get("containerimage.digest") ?? "", /^sha256:/);
  assert.deepEqual(new Set(asked), new Set([registry.host]));
});

test("sends archives that Docker loads as the same image, and saves again", {
  skip: NO_DOCKERD,
  timeout: 120_000,
}, async (t) => {
  await using dockerd = await TestDockerd.start();
  const fixture = openResults(t);
  const target = await twoSteps(fixture);
  const { imageId } = await fixture.export(
    [target],
    [outputOf("image", { name: "made" }), outputOf("docker", { name: "made:docker" })],
  );
  const docker = findProgram("docker") ?? "docker";
  const env = { ...process.env, DOCKER_HOST: `unix://${dockerd.socket}`, HOME: dockerd.root };
  const archive = join(dockerd.root, "made.tar");
  writeFileSync(archive, fixture.session.files.get("1")!);
  const loaded = await finish(docker, ["load", "-i", archive], { env });
  assert.match(loaded.stdout, /Loaded image: made:docker/, loaded.stderr);
  const shown = await finish(docker, ["image", "inspect", "made:docker"], { env });
  const [image] = JSON.parse(shown.stdout);
  assert.equal(image.Id, imageId);
  assert.deepEqual(image.RootFS.Layers, fixture.images.inspect("made").RootFS.Layers);
  // What the store saves is that image, too.
  await pipeline(fixture.images.save(["made"]), createWriteStream(archive));
  const stored = await finish(docker, ["load", "-i", archive], { env });
  assert.match(stored.stdout, /Loaded image: made:latest/, stored.stderr);
  const same = await finish(docker, ["image", "inspect", "--format", "{{.Id}}", "made:latest"], { env });
  assert.equal(same.stdout.trim(), imageId);
  const saved = join(dockerd.root, "saved.tar");
  const save = await finish(docker, ["save", "-o", saved, "made:docker"], { env });
  assert.equal(save.code, 0, save.stderr);
  const other = openResults(t);
  await other.images.load(createReadStream(saved), {});
  assert.equal(other.images.resolve("made:docker").id, imageId);
});

const DOCKERFILE = `FROM busybox
ARG SOURCE_DATE_EPOCH
COPY file /etc/file
RUN mkdir /made && date > /made/now && touch /made/it && rm /made/now
RUN true
CMD ["cat", "/etc/file"]
LABEL which=both
`;

test("two engines make the same image of a Dockerfile, some time apart, and Docker runs with it", {
  skip: NO_DOCKER,
  timeout: 180_000,
}, async () => {
  const ids: string[] = [];
  for (const turn of ["one", "other"]) {
    await using engine = await startEngine();
    const args = ["-t", "made:1", "-t", "made:2", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--label", "own=1"];
    const files = { file: "hello\n" };
    await built(engine, DOCKERFILE, { args, files });
    // The same again is the same image, also where the context's files are others by their times.
    const [first] = JSON.parse(await engine.ok("image", "inspect", "made:1"));
    await built(engine, DOCKERFILE, { args: [...args, "--no-cache"], files });
    const [again] = JSON.parse(await engine.ok("image", "inspect", "made:2"));
    assert.equal(again.Id, first.Id, turn);
    assert.deepEqual(first.Config.Labels, { ...first.Config.Labels, which: "both", own: "1" });
    assert.equal(first.Created, "2023-11-14T22:13:20Z");
    assert.equal(await engine.ok("run", "--rm", "--network", "none", "made:1"), "hello");
    const shown = await engine.ok("run", "--rm", "--network", "none", "made:1", "ls", "-ld", "--full-time", "/made/it");
    assert.match(shown, /2023-11-14 22:13:20/);
    ids.push(first.Id);
  }
  assert.equal(ids[0], ids[1]);
});
