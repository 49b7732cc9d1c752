import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import type { Descriptor } from "../../src/oci/image.ts";
import { startEngine } from "../engine.ts";
import { type FaultyRegistry, startFaultyRegistry } from "../faulty-registry.ts";
import { contentOf, contentsOf, imageOf, indexOf, layerOf, pushTo, randomImage, type TestImage } from "../oci-image.ts";
import { copy, copyWell } from "../pushing.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const SKIP = registryMissing();
const ARM = { os: "linux", architecture: "arm64", variant: "v8" };
const S390X = { os: "linux", architecture: "s390x" };
const AMD = { os: "linux", architecture: "amd64" };
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";

const engine = await startEngine({ image: false });
after(() => engine[Symbol.asyncDispose]());

function imageFor(platform: { os: string; architecture: string; variant?: string }, seed: string): TestImage {
  return imageOf({ layers: [layerOf([{ name: "file", body: `${seed} for ${platform.architecture}` }])], platform });
}

async function digestAt(registry: TestRegistry, repository: string, tag: string): Promise<string> {
  const { headers, status } = await registry.request("HEAD", `/v2/${repository}/manifests/${tag}`, {
    headers: { Accept: `${INDEX}, ${MANIFEST}` },
  });
  return status === 200 ? String(headers["docker-content-digest"]) : String(status);
}

/** A signature as OCI 1.1 has it: a manifest with a subject. */
function signatureOf(subject: TestImage["manifest"], text: string): TestImage {
  const layer = layerOf(Buffer.from(text), { compression: "none", mediaType: "application/vnd.test.signature" });
  return imageOf({
    layers: [layer],
    editManifest: (manifest) => ({
      ...manifest,
      artifactType: "application/vnd.test.signature",
      subject: { mediaType: MANIFEST, digest: subject.digest, size: subject.bytes.length },
    }),
  });
}

function holds(registry: FaultyRegistry, repository: string, image: TestImage): boolean {
  const { blobs, manifests } = contentsOf(image);
  return [...blobs, ...manifests].every(({ digest }) => registry.has(repository, digest));
}

describe("image copy", { skip: SKIP }, () => {
  test("copies a whole index with its digest, and keeps nothing of it here", async () => {
    await using from = await startRegistry();
    await using to = await startRegistry();
    const nested = indexOf([imageFor(S390X, "nested")]);
    const index = indexOf([imageFor(AMD, "copied"), imageFor(ARM, "copied"), nested], { attestations: true });
    const digest = await pushTo(from, "a/b:1", index);
    const copied = await copyWell(engine, { from: `${from.host}/a/b:1`, to: `${to.host}/c/d` });
    assert.equal(copied.digest, digest);
    assert.equal(await digestAt(to, "c/d", "1"), digest);
    assert.ok(copied.lines.some(({ status }) => status === "Copied"));
    const content = join(engine.dataRoot, "content");
    assert.deepEqual([...readdirSync(join(content, "blobs/sha256")), ...readdirSync(join(content, "ingest"))], []);
    to.forget();
    from.forget();
    await copyWell(engine, { from: `${from.host}/a/b:1`, to: `${to.host}/c/d:1` });
    assert.equal(from.blobBytesServed, 0);
    assert.equal(to.asked("PUT", "manifests").length + to.asked("POST", "uploads").length, 0);
  });

  test("copies one platform's image, or an index of several", async () => {
    await using from = await startRegistry();
    await using to = await startRegistry();
    const [amd, arm] = [imageFor(AMD, "some"), imageFor(ARM, "some")];
    await pushTo(from, "some:1", indexOf([amd, arm, imageFor(S390X, "some")]));
    const source = `${from.host}/some:1`;
    const one = await copyWell(engine, { from: source, to: `${to.host}/some:arm`, platform: "linux/arm64" });
    assert.equal(one.digest, arm.manifest.digest);
    const query = new URLSearchParams({ from: source, to: `${to.host}/some:two` });
    for (const platform of ["linux/arm64", "linux/amd64"]) query.append("platform", platform);
    const two = await engine.request("POST", `/gantry/images/copy?${query}`);
    assert.equal(two.status, 200, two.text);
    const { body } = await to.request("GET", "/v2/some/manifests/two", { headers: { Accept: INDEX } });
    const { manifests } = JSON.parse(body.toString()) as { manifests: { digest: string }[] };
    assert.deepEqual(
      manifests.map(({ digest }) => digest),
      [amd.manifest.digest, arm.manifest.digest],
    );
    const none = await copy(engine, { from: source, to: `${to.host}/some:none`, platform: "linux/riscv64" });
    assert.match(none.error, /^no matching manifest for linux\/riscv64 in the manifest list entries/);
    assert.equal(await digestAt(to, "some", "none"), "404");
    await pushTo(from, "single:1", amd);
    const other = await copy(engine, {
      from: `${from.host}/single:1`,
      to: `${to.host}/single`,
      platform: "linux/arm64",
    });
    assert.equal(other.status, 404);
    assert.match(other.error, /for linux\/arm64(\/v8)?: it is one image for linux\/amd64$/);
  });

  test("names what the source doesn't have", async () => {
    await using registry = await startRegistry();
    const to = `${registry.host}/here`;
    const image = await copy(engine, { from: `${registry.host}/nothing:1`, to });
    assert.equal(image.status, 404);
    assert.match(image.error, new RegExp(`^manifest for ${registry.host}/nothing:1 not found: manifest unknown`));
    const all = await copy(engine, { from: `${registry.host}/nothing`, to, all: "1" });
    assert.equal(all.status, 404);
    assert.match(all.error, new RegExp(`^repository ${registry.host}/nothing not found: `));
  });

  test("mounts within one registry, and copies all tags", async () => {
    await using registry = await startRegistry();
    const images = [1, 2, 3].map((n) => randomImage(`tag ${n}`, { layers: 2, size: 100_000 }));
    for (const [n, image] of images.entries()) await pushTo(registry, `from/here:${n}`, image);
    registry.forget();
    const { lines } = await copyWell(engine, {
      from: `${registry.host}/from/here`,
      to: `${registry.host}/to/there`,
      all: "1",
    });
    assert.deepEqual(
      lines.flatMap(({ aux }) => (aux === undefined ? [] : [`${aux.Tag} ${aux.Digest}`])).sort(),
      images.map(({ manifest }, n) => `${n} ${manifest.digest}`),
    );
    assert.ok(lines.some(({ status }) => status === "Mounted from from/here"));
    assert.equal(registry.blobBytesServed + registry.blobBytesTaken, 0);
  });

  test("uses each side's own credentials", async () => {
    await using from = await startRegistry({ htpasswd: { joe: "secret" } });
    await using to = await startRegistry({ token: { users: { jane: "other" } } });
    const image = imageFor(AMD, "private");
    await pushTo(from, "private:1", image);
    const wish = { from: `${from.host}/private:1`, to: `${to.host}/jane/private:1` };
    assert.match((await copy(engine, wish)).error, /no basic auth credentials$/);
    const config = {
      [from.host]: { username: "joe", password: "secret" },
      [`http://${to.host}/v1/`]: { username: "jane", password: "other" },
    };
    const headers = { "X-Registry-Config": Buffer.from(JSON.stringify(config)).toString("base64url") };
    assert.equal((await copyWell(engine, wish, headers)).digest, image.manifest.digest);
    const bad = await copy(engine, wish, { "X-Registry-Config": "%" });
    assert.equal(bad.status, 400);
    assert.equal(bad.error, "invalid X-Registry-Config header: it is not base64");
  });

  test("refuses names that can't be copied to or from", async () => {
    const refusals: [Record<string, string>, RegExp][] = [
      [{ from: "127.0.0.1:1/a" }, /^cannot copy: from= and to= have to name/],
      [{ from: "127.0.0.1:1/a", to: `127.0.0.1:1/b@sha256:${"a".repeat(64)}` }, /a digest is what the copy will have/],
      [{ from: "127.0.0.1:1/a:1", to: "127.0.0.1:1/b", all: "1" }, /^tag can't be used with --all-tags\/-a$/],
      [{ from: "127.0.0.1:1/A", to: "127.0.0.1:1/b" }, /must be lowercase$/],
      [{ from: "127.0.0.1:1/a", to: "127.0.0.1:1/b", platform: "a/b/c/d" }, /a\/b\/c\/d/],
      [{ from: "127.0.0.1:1/a", to: "127.0.0.1:1/b" }, /dial tcp 127\.0\.0\.1:1: connect: connection refused$/],
    ];
    for (const [query, words] of refusals) assert.match((await copy(engine, query)).error, words);
  });
});

describe("image copy between registries that err", () => {
  test("goes on where either side cuts its connections", async () => {
    await using from = await startFaultyRegistry();
    await using to = await startFaultyRegistry();
    const image = randomImage("cut copy", { layers: 2, size: 2 << 20 });
    from.add("cut:1", image);
    from.misbehave({ on: "blob", method: "GET", act: { kind: "cut", after: 700_000 }, times: 2 });
    to.misbehave({ on: "upload-end", act: { kind: "cut-upload", after: 300_000 }, times: 2 });
    await copyWell(engine, { from: `${from.host}/cut:1`, to: `${to.host}/cut` });
    assert.ok(holds(to, "cut", image));
    assert.equal(to.stock.uploads.size, 0);
  });

  test("leaves nothing under the tag where a blob is missing or wrong", async () => {
    await using from = await startFaultyRegistry();
    await using to = await startFaultyRegistry();
    const image = randomImage("bad copy", { layers: 2, size: 100_000 });
    from.add("bad:1", image);
    const [first] = image.layers;
    from.misbehave({ on: "blob", method: "GET", of: first!.digest, act: { kind: "wrong-bytes" } });
    const wrong = await copy(engine, { from: `${from.host}/bad:1`, to: `${to.host}/bad` });
    assert.match(wrong.error, /^digest invalid: provided digest did not match uploaded content/);
    from.misbehave({ on: "blob", of: first!.digest, act: { kind: "status", status: 404 } });
    assert.notEqual((await copy(engine, { from: `${from.host}/bad:1`, to: `${to.host}/bad` })).error, "");
    assert.equal(to.stock.tags.size, 0);
    assert.equal(to.stock.uploads.size, 0);
    from.heal();
    await copyWell(engine, { from: `${from.host}/bad:1`, to: `${to.host}/bad` });
  });

  test("takes signatures along, to registries with the referrers API and without", async () => {
    await using from = await startFaultyRegistry({ referrers: true });
    const image = imageFor(AMD, "signed");
    const digest = from.add("signed:1", image);
    const signature = signatureOf(image.manifest, "a signature");
    const second = signatureOf(signature.manifest, "of the signature");
    // An index may refer to something as well.
    const { mediaType, bytes } = image.manifest;
    const third = indexOf([imageFor(ARM, "of an index")], {
      editIndex: (row) => ({
        ...row,
        artifactType: "application/vnd.test.index",
        annotations: { who: "an index" },
        subject: { mediaType, digest, size: bytes.length },
      }),
    });
    for (const one of [signature, second, third]) {
      const { blobs, manifests } = contentsOf(one);
      for (const blob of blobs) from.addManifest("signed", blob);
      for (const manifest of manifests) from.addManifest("signed", manifest);
    }
    from.add(`signed:${digest.replace(":", "-")}.sig`, imageFor(AMD, "cosign's"));
    for (const referrers of [true, false]) {
      await using to = await startFaultyRegistry({ referrers });
      await copyWell(engine, { from: `${from.host}/signed:1`, to: `${to.host}/signed` });
      assert.ok(!to.has("signed", signature.manifest.digest));
      for (let times = 0; times < 2; times++) {
        await copyWell(engine, { from: `${from.host}/signed:1`, to: `${to.host}/signed`, signatures: "1" });
      }
      assert.ok(to.has("signed", signature.manifest.digest));
      assert.ok(to.has("signed", second.manifest.digest));
      assert.ok(to.has("signed", third.manifest.digest));
      assert.ok(to.stock.tags.has(`signed:${digest.replace(":", "-")}.sig`));
      const fallback = to.stock.tags.get(`signed:${digest.replace(":", "-")}`);
      if (referrers) assert.equal(fallback, undefined);
      else {
        const { manifests } = JSON.parse(to.stock.contents.get(fallback ?? "")!.bytes.toString());
        assert.deepEqual(
          manifests
            .map(({ digest: of, artifactType, annotations }: Descriptor) => [of, artifactType, annotations])
            .sort(),
          [
            [signature.manifest.digest, "application/vnd.test.signature", undefined],
            [third.manifest.digest, "application/vnd.test.index", { who: "an index" }],
          ].sort(),
        );
      }
    }
  });

  test("passes over what a list of referrers names and nobody has any more, and looks at each but once", async () => {
    await using from = await startFaultyRegistry();
    await using to = await startFaultyRegistry();
    const signed = from.add("listed:1", imageFor(AMD, "listed"));
    const listed = Array.from({ length: 4 }, (_, at) => imageFor(AMD, `listed ${at}`));
    for (const [at, one] of listed.entries()) from.add(`listed:of-${at}`, one);
    const gone = imageFor(AMD, "removed").manifest;
    const rows = [gone, ...listed.map(({ manifest }) => manifest)].map(({ bytes, digest, mediaType }) => ({
      ...{ mediaType, digest, size: bytes.length },
    }));
    const list = contentOf(INDEX, Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: rows })));
    // Each of them is said to be referred to by all of them.
    for (const subject of [signed, ...listed.map(({ manifest }) => manifest.digest)]) {
      from.addManifest(`listed:${subject.replace(":", "-")}`, list);
    }
    await copyWell(engine, { from: `${from.host}/listed:1`, to: `${to.host}/listed`, signatures: "1" });
    for (const { manifest } of listed) assert.ok(to.has("listed", manifest.digest));
    const fallback = to.stock.tags.get(`listed:${signed.replace(":", "-")}`) ?? "";
    const { manifests } = JSON.parse(to.stock.contents.get(fallback)?.bytes.toString() ?? "");
    assert.deepEqual(
      manifests.map((row: Descriptor) => row.digest),
      listed.map(({ manifest }) => manifest.digest),
    );
    assert.ok(from.requests.length < 200, `${from.requests.length} requests`);
  });
});

describe("manifests of registries", { skip: SKIP }, () => {
  test("are read byte by byte", async () => {
    await using registry = await startRegistry();
    const index = indexOf([imageFor(AMD, "read")]);
    await pushTo(registry, "read:1", index);
    const name = encodeURIComponent(`${registry.host}/read:1`);
    const found = await engine.request("GET", `/gantry/distribution/${name}/manifest`);
    assert.equal(found.status, 200);
    assert.equal(found.text, index.manifest.bytes.toString());
    assert.equal(found.headers["content-type"], INDEX);
    assert.equal(found.headers["docker-content-digest"], index.manifest.digest);
    const missing = await engine.request("GET", `/gantry/distribution/${registry.host}/read:2/manifest`);
    assert.equal(missing.status, 404);
    assert.match(String(missing.json.message), /^manifest unknown/);
  });

  test("are put after what they name, which is brought from where it is", async () => {
    await using registry = await startRegistry();
    await using elsewhere = await startRegistry();
    const [amd, arm] = [imageFor(AMD, "put"), imageFor(ARM, "put")];
    await pushTo(registry, "one:1", amd);
    await pushTo(elsewhere, "two:1", arm);
    const { bytes, digest } = indexOf([amd, arm]).manifest;
    const name = encodeURIComponent(`${registry.host}/list:1`);
    const put = (query: string, body: Buffer, type = INDEX) =>
      engine.request("PUT", `/gantry/distribution/${name}/manifest${query}`, body, { "Content-Type": type });
    const refused = await put(`?from=${registry.host}/one`, bytes);
    assert.equal(refused.status, 400);
    assert.equal(
      refused.json.message,
      `cannot put the manifest: it names ${arm.manifest.digest}, which is neither there nor in ${registry.host}/one`,
    );
    assert.equal(await digestAt(registry, "list", "1"), "404");
    const done = await put(`?from=${registry.host}/one&from=${elsewhere.host}/two`, bytes);
    assert.equal(done.status, 201, done.text);
    assert.deepEqual(done.json, { Digest: digest, Size: bytes.length, MediaType: INDEX });
    assert.equal(await digestAt(registry, "list", "1"), digest);
    assert.equal(await digestAt(registry, "list", arm.manifest.digest), arm.manifest.digest);
    const hostile: [Buffer, RegExp][] = [
      [Buffer.from("{}"), /^invalid image manifest/],
      [Buffer.alloc((4 << 20) + 1, " "), /^cannot put the manifest: it is longer than 4194304 bytes$/],
      [contentOf(INDEX, Buffer.from('{"schemaVersion":2,"manifests":[],"layers":[]}')).bytes, /could be read as/],
    ];
    for (const [body, words] of hostile) {
      const answer = await put("", body);
      assert.equal(answer.status, 400, answer.text);
      assert.match(String(answer.json.message), words);
    }
  });
});
