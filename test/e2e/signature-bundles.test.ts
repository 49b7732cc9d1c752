import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { sha256 } from "../archive.ts";
import type { Finished } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { type FaultyRegistry, startFaultyRegistry } from "../faulty-registry.ts";
import { type Content, HOST_PLATFORM, imageOf, indexOf, layerOf, pushTo, type TestImage } from "../oci-image.ts";
import { pull } from "../pulling.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const ACCEPT = [{ type: "insecureAcceptAnything" }];

/** What cosign 3.1.1 wrote; the file says how. */
const recorded = JSON.parse(readFileSync(new URL("../../src/trust/testdata/cosign-3.json", import.meta.url), "utf8"));

/** An image that says a word; no two words make one image. */
function saying(word: string, platform = HOST_PLATFORM): TestImage {
  const busybox = { name: "bin/busybox", mode: 0o755, body: readFileSync("/bin/busybox") };
  const layers = [layerOf([{ name: "bin", type: "directory", mode: 0o755 }, busybox, { name: "word", body: word }])];
  return imageOf({ layers, platform, process: { Cmd: ["/bin/busybox", "echo", word] } });
}

function contentOf(mediaType: string, bytes: string | Buffer): Content {
  return { mediaType, digest: `sha256:${sha256(Buffer.from(bytes))}`, bytes: Buffer.from(bytes) };
}

describe("signatures as cosign 3 has them", { skip: registryMissing() }, () => {
  let engine: TestEngine;
  /** Without the referrers API. */
  let plain: TestRegistry;
  /** With it. */
  let modern: FaultyRegistry;
  let mirror: FaultyRegistry;
  let mirrored: FaultyRegistry;
  let keys: string;

  before(async () => {
    plain = await startRegistry();
    modern = await startFaultyRegistry({ referrers: true });
    mirror = await startFaultyRegistry();
    mirrored = await startFaultyRegistry({ referrers: true });
    engine = await startEngine({
      image: false,
      args: (root) => {
        writeFileSync(join(root, "policy.json"), JSON.stringify({ default: ACCEPT }));
        return ["--signature-policy", join(root, "policy.json"), "--registry", `${mirrored.host}=${mirror.url}`];
      },
    });
    keys = join(engine.root, "keys");
    mkdirSync(keys);
    const { code, stderr } = await gantry("image", "keygen", "--output-key-prefix", join(keys, "alice"));
    assert.equal(code, 0, stderr);
    writeFileSync(join(keys, "cosign.pub"), recorded.rows[0].publicKey);
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    for (const registry of [plain, modern, mirror, mirrored]) await registry?.[Symbol.asyncDispose]();
  });

  const gantry = (...args: readonly string[]): Promise<Finished> =>
    engine.tool("gantry", args, { env: { GANTRY_KEY_PASSWORD: "pw" } });
  const sign = async (name: string, ...more: readonly string[]): Promise<string> => {
    const { code, stderr, stdout } = await gantry("image", "sign", "--key", join(keys, "alice.key"), ...more, name);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const verify = (name: string, ...more: readonly string[]): Promise<Finished> =>
    gantry("image", "verify", ...(more.includes("--policy") ? [] : ["--key", join(keys, "alice.pub")]), ...more, name);
  const errorOf = async (name: string): Promise<string> => {
    const [, repository = "", tag = ""] = /^(.*):([^:/]*)$/.exec(name) ?? [];
    return (await pull(engine, repository, { tag })).error;
  };
  const create = (image: string) => engine.request("POST", "/containers/create", { Image: image });
  const signedBy = (key: string, signedIdentity?: object) => [
    { type: "sigstoreSigned", keyPath: join(keys, `${key}.pub`), ...(signedIdentity && { signedIdentity }) },
  ];

  /** Puts requirements into effect for these scopes; all else is accepted. */
  async function decree(docker: object, more: object = {}): Promise<void> {
    writeFileSync(
      join(engine.root, "policy.json"),
      JSON.stringify({ default: ACCEPT, transports: { docker }, ...more }),
    );
    assert.doesNotMatch(await engine.reload(), /not reloaded/);
  }

  /** What refers to a manifest by the index at its tag; undefined where there is none. */
  async function fallback(repository: string, digest: string): Promise<{ digest: string; artifactType: string }[]> {
    const path = `/v2/${repository}/manifests/${digest.replace(":", "-")}`;
    const { body, status } = await plain.request("GET", path, { headers: { Accept: INDEX } });
    return status === 200 ? JSON.parse(body.toString()).manifests : [];
  }

  /** Puts the recorded image's manifest there, and bundles as cosign put them. */
  function record(registry: FaultyRegistry, repository: string, ...bundles: readonly string[]): string {
    registry.addManifest(`${repository}:1`, contentOf(recorded.carrier.subject.mediaType, recorded.manifest));
    const entries = bundles.map((text) => {
      const bundle = contentOf(BUNDLE, text);
      const layers = [{ mediaType: BUNDLE, digest: bundle.digest, size: bundle.bytes.length }];
      const carrier = contentOf(MANIFEST, JSON.stringify({ ...recorded.carrier, layers }));
      for (const content of [bundle, carrier])
        registry.addManifest(`${repository}:${content.digest.slice(7, 19)}`, content);
      return { ...recorded.entry, digest: carrier.digest, size: carrier.bytes.length };
    });
    const index = JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: entries });
    registry.addManifest(`${repository}:${recorded.digest.replace(":", "-")}`, contentOf(INDEX, index));
    return `${registry.host}/${repository}:1`;
  }

  test("what is signed is signed for both generations of tools, where each looks for it", async () => {
    const digest = await pushTo(plain, "both:1", saying("both"));
    const name = `${plain.host}/both:1`;
    assert.match(await sign(name), /^Signed: /);
    assert.match(await sign(name), /^Signed already: /);
    assert.deepEqual(
      (await fallback("both", digest)).map(({ artifactType }) => artifactType),
      [BUNDLE],
    );
    const tag = `/v2/both/manifests/${digest.replace(":", "-")}.sig`;
    assert.equal((await plain.request("GET", tag, { headers: { Accept: MANIFEST } })).status, 200);
    const json = await verify(name, "-o", "json");
    assert.equal(JSON.parse(json.stdout)[0].critical.identity["docker-reference"], name);
    // The one form that is missing is all that is made.
    await pushTo(plain, "later:1", saying("later"));
    await sign(`${plain.host}/later:1`, "--format", "simple");
    assert.match(await sign(`${plain.host}/later:1`), /^Signed: /);
    assert.match(await sign(`${plain.host}/later:1`, "--format", "bundle"), /^Signed already: /);
    const wrong = await gantry("image", "sign", "--key", join(keys, "alice.key"), "--format", "old", name);
    assert.match(wrong.stderr, /it must be bundle, simple or both/);
  });

  test("signatures of many megabytes are told of as far as an answer may be long", async () => {
    const { manifest } = saying("many");
    modern.addManifest("many/app:1", manifest);
    const claim = {
      critical: {
        identity: { "docker-reference": `${modern.host}/many/app` },
        image: { "docker-manifest-digest": manifest.digest },
        type: "cosign container image signature",
      },
      optional: { filling: "x".repeat(60_000) },
    };
    const payload = contentOf("application/vnd.dev.cosign.simplesigning.v1+json", JSON.stringify(claim));
    modern.addManifest("many/app", payload);
    const { bytes, ...row } = payload;
    const layers = Array.from({ length: 500 }, (_, at) => ({
      ...{ ...row, size: bytes.length },
      annotations: { "dev.cosignproject.cosign/signature": Buffer.from(`signature ${at}`).toString("base64") },
    }));
    const document = { schemaVersion: 2, mediaType: MANIFEST, config: layers[0], layers };
    modern.addManifest(
      `many/app:${manifest.digest.replace(":", "-")}.sig`,
      contentOf(MANIFEST, JSON.stringify(document)),
    );
    const name = encodeURIComponent(`${modern.host}/many/app:1`);
    const { json, status, text } = await engine.request("GET", `/gantry/distribution/${name}/signatures`);
    assert.equal(status, 200);
    assert.ok(text.length < 24 << 20, `${text.length} bytes`);
    const [first] = json.Manifests;
    assert.match(first.Problem, /^only 2\d\d of its 500 signatures were read$/);
  });

  test("a signature that was removed from its registry keeps nobody from signing or copying", async () => {
    const digest = await pushTo(plain, "removed/app:1", saying("removed"));
    const name = `${plain.host}/removed/app:1`;
    await sign(name, "--format", "bundle");
    const [old] = await fallback("removed/app", digest);
    const { code, stderr } = await gantry("image", "unpush", `${plain.host}/removed/app@${old?.digest}`);
    assert.equal(code, 0, stderr);
    assert.equal((await verify(name)).code, 1);
    const copied = await gantry("image", "copy", "--signatures", name, `${plain.host}/removed/copy:1`);
    assert.equal(copied.code, 0, copied.stderr);
    await sign(name, "--format", "bundle");
    const listed = await fallback("removed/app", digest);
    assert.equal(listed.length, 1);
    assert.notEqual(listed[0]?.digest, old?.digest);
    assert.equal((await verify(name)).code, 0);
  });

  test("a bundle alone, with its name, meets a policy that wants the name; one tag is not another", async () => {
    const image = saying("bundled");
    const digest = await pushTo(plain, "bundled:1", image);
    modern.add("bundled:1", image);
    modern.add("bundled:2", image);
    for (const host of [plain.host, modern.host]) {
      await decree({ [host]: signedBy("alice") });
      const name = `${host}/bundled:1`;
      assert.match(await errorOf(name), /and it has no signature$/);
      await sign(name, "--format", "bundle", "-a", "build=1");
      assert.equal((await verify(name, "-a", "build=1")).code, 0);
      assert.match((await verify(name, "-a", "build=2")).stderr, /has other annotations$/m);
      assert.equal(await errorOf(name), "");
      assert.equal((await create(name)).status, 201);
    }
    assert.equal(modern.stock.tags.has(`bundled:${digest.replace(":", "-")}`), false);
    assert.match(await errorOf(`${modern.host}/bundled:2`), /the name signed by it is ".*bundled:1", not .*bundled:2/);
    await engine.ok("rm", ...(await engine.ok("ps", "-aq")).split("\n"));
  });

  test("an index is signed with its images", async () => {
    const other = { os: "linux", architecture: HOST_PLATFORM.architecture === "amd64" ? "arm64" : "amd64" };
    modern.add("index:1", indexOf([saying("here"), saying("there", other)]));
    const name = `${modern.host}/index:1`;
    await sign(name, "--recursive", "--format", "bundle");
    const { code, stdout } = await verify(name, "--recursive");
    assert.equal(code, 0);
    assert.equal(stdout.match(/signed as/g)?.length, 3);
  });

  test("what cosign signed is good by its key, and by a policy that takes signatures without names", async () => {
    const [signature] = recorded.rows;
    const attestation = recorded.rows.find(({ what }: { what: string }) => what === "an attestation");
    const name = record(modern, "recorded", attestation.bundle, signature.bundle);
    // Its list at the tag calls bundles by another type, as go-containerregistry writes it.
    const listed = record(mirror, "recorded", signature.bundle, attestation.bundle);
    const byCosign = ["--key", join(keys, "cosign.pub")];
    for (const one of [name, listed]) {
      const good = await gantry("image", "verify", ...byCosign, "-a", "who=me", one);
      assert.match(good.stdout, /: signed without a name by .*cosign\.pub/);
    }
    const named = await gantry("image", "verify", ...byCosign, "--identity", "quay.io/a", name);
    assert.match(named.stderr, /what is signed by it is the digest alone, not quay\.io\/a$/m);
    const json = await gantry("image", "verify", ...byCosign, "-o", "json", name);
    assert.deepEqual(JSON.parse(json.stdout), [
      {
        critical: {
          identity: { "docker-reference": "" },
          image: { "docker-manifest-digest": recorded.digest },
          type: "https://sigstore.dev/cosign/sign/v1",
        },
        optional: { who: "me" },
      },
    ]);
    const policy = join(engine.root, "other.json");
    const judged = async (signedIdentity?: object) => {
      const docker = { [modern.host]: signedBy("cosign", signedIdentity) };
      writeFileSync(policy, JSON.stringify({ default: ACCEPT, transports: { docker } }));
      return verify(name, "--policy", policy);
    };
    for (const type of [undefined, "matchRepository", "matchExact"]) {
      const { code, stderr } = await judged(type === undefined ? undefined : { type });
      assert.equal(code, 1);
      assert.match(stderr, /and what is signed by it is the digest alone, not .*; the signedIdentity matchDigestOnly/);
    }
    assert.equal((await judged({ type: "matchDigestOnly" })).code, 0);
    const attested = record(modern, "attested", attestation.bundle);
    const none = await gantry("image", "verify", ...byCosign, attested);
    assert.match(none.stderr, /is not signed by .*: it has an attestation, which is no signature$/m);
  });

  test("a copy takes bundles along, between registries of either kind", async () => {
    const digest = modern.add("moved:1", saying("moved"));
    await sign(`${modern.host}/moved:1`, "--format", "bundle");
    const copied = await gantry("image", "copy", "--signatures", `${modern.host}/moved:1`, `${plain.host}/moved:1`);
    assert.equal(copied.code, 0, copied.stderr);
    const [entry] = await fallback("moved", digest);
    assert.equal(entry?.artifactType, BUNDLE);
    const identity = ["--identity", `${modern.host}/moved`];
    assert.equal((await verify(`${plain.host}/moved:1`, ...identity)).code, 0);
    // What came there and was never listed is listed by the next copy.
    await plain.request("PUT", `/v2/moved/manifests/${digest.replace(":", "-")}`, {
      headers: { "Content-Type": INDEX },
      body: JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [] }),
    });
    assert.deepEqual(await fallback("moved", digest), []);
    await gantry("image", "copy", "--signatures", `${modern.host}/moved:1`, `${plain.host}/moved:1`);
    assert.deepEqual((await fallback("moved", digest)).length, 1);
    const back = await gantry("image", "copy", "--signatures", `${plain.host}/moved:1`, `${modern.host}/back:1`);
    assert.equal(back.code, 0, back.stderr);
    assert.equal((await verify(`${modern.host}/back:1`, ...identity)).code, 0);
  });

  test("a copy leaves the signatures that the target has", async () => {
    const image = saying("joined");
    modern.add("joined:1", image);
    await pushTo(plain, "joined:1", image);
    const as = ["--format", "simple", "--sign-container-identity", "quay.io/joined", "-a"];
    await sign(`${modern.host}/joined:1`, ...as, "by=source");
    await sign(`${plain.host}/joined:1`, ...as, "by=target");
    for (let times = 0; times < 2; times++) {
      const copied = await gantry("image", "copy", "--signatures", `${modern.host}/joined:1`, `${plain.host}/joined:1`);
      assert.equal(copied.code, 0, copied.stderr);
    }
    for (const by of ["source", "target"]) {
      const { code, stderr } = await verify(`${plain.host}/joined:1`, "--identity", "quay.io/joined", "-a", `by=${by}`);
      assert.equal(code, 0, stderr);
    }
  });

  test("signatures that a mirror lacks are read at the registry", async () => {
    const image = saying("mirrored");
    for (const registry of [mirror, mirrored]) registry.add("app:1", image);
    const name = `${mirrored.host}/app:1`;
    await decree({ [mirrored.host]: signedBy("alice") });
    assert.match(await errorOf(name), /it has no signature$/);
    await sign(name, "--format", "bundle");
    mirror.forget();
    assert.equal(await errorOf(name), "");
    assert.ok(mirror.asked("blob").length > 0);
    assert.equal((await verify(name)).code, 0);
  });

  test("what may not be run is not built on, by any of a Dockerfile's ways to name it", {
    skip: NO_DOCKER,
  }, async () => {
    modern.add("unsigned:1", saying("unsigned"));
    const name = `${modern.host}/unsigned:1`;
    assert.equal(await errorOf(name), "");
    await engine.ok("tag", name, "mine:1");
    await decree({ [modern.host]: signedBy("alice") });
    const folder = join(engine.root, "build");
    mkdirSync(folder);
    for (const from of [name, "mine:1"]) {
      for (const lines of [
        [`FROM ${from}`, 'RUN ["/bin/busybox", "true"]'],
        ["FROM scratch", `COPY --from=${from} /word /word`],
      ]) {
        writeFileSync(join(folder, "Dockerfile"), `${lines.join("\n")}\n`);
        for (const build of [
          () => gantry("build", folder),
          () => engine.tool("docker", ["build", folder], { env: { DOCKER_BUILDKIT: "0" } }),
        ]) {
          const { code, stderr, stdout } = await build();
          assert.notEqual(code, 0, lines.join("; "));
          assert.match(`${stdout}${stderr}`, /the signature policy does not accept .*unsigned:1: scope .* demands a/);
        }
      }
    }
    await sign(name);
    assert.equal(await errorOf(name), "");
    const { code, stderr } = await gantry("build", folder);
    assert.equal(code, 0, stderr);
  });

  test("a policy that changes while an image comes keeps it from being run", async () => {
    const image = saying("late");
    modern.add("late:1", image);
    await decree({});
    const name = `${modern.host}/late:1`;
    modern.misbehave({ on: "blob", of: image.layers[0]!.digest, act: { kind: "slow", bytesPerSecond: 1 } });
    const coming = errorOf(name);
    while (modern.asked("blob").every(({ path }) => !path.includes(image.layers[0]!.digest))) await pause(10);
    await decree({ [modern.host]: [{ type: "reject" }] });
    modern.heal();
    assert.equal(await coming, "");
    assert.match((await create(name)).json.message, /rejects every image/);
  });
});
