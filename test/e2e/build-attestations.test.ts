import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { GitRepository, GitServer, gitPrograms } from "../../src/build/sources/git-server.fixture.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { registryMissing, startRegistry } from "../registry.ts";

const STATUS = `Package: made
Status: install ok installed
Maintainer: Some One <one@example.com>
Architecture: amd64
Source: making (1.0-0)
Version: 1.0-1
Description: a package
`;
const OS = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian"\n';
const MODULE = JSON.stringify({ name: "@scope/left", version: "1.2.3", license: "MIT" });

/** A statement's parts that these tests look into; its predicate is what they test. */
interface Statement {
  readonly _type: string;
  readonly predicateType: string;
  readonly subject: readonly { readonly name: string; readonly digest: { readonly sha256: string } }[];
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into documents whose shape is what it tests
  readonly predicate: any;
}

describe("attestations", () => {
  let engine: TestEngine;

  before(async () => {
    engine = await startEngine();
  });
  after(() => engine?.[Symbol.asyncDispose]());

  function folder(files: Readonly<Record<string, string>>): string {
    const path = mkdtempSync(join(engine.root, "context-"));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(path, name)), { recursive: true });
      writeFileSync(join(path, name), text);
    }
    return path;
  }

  async function build(...args: readonly string[]): Promise<string> {
    const { code, stderr } = await engine.gantry("build", ...args);
    assert.equal(code, 0, stderr);
    return stderr;
  }

  async function refused(...args: readonly string[]): Promise<string> {
    const { code, stderr } = await engine.gantry("build", ...args);
    assert.equal(code, 1, stderr);
    return stderr;
  }

  function statement(path: string): Statement {
    return JSON.parse(readFileSync(path, "utf8"));
  }

  test("lie beside files: what is in them, how they came about, and the digest of each", async () => {
    const context = folder({
      Dockerfile: "FROM scratch\nCOPY root /\n",
      "root/etc/os-release": OS,
      "root/var/lib/dpkg/status": STATUS,
      "root/app/node_modules/@scope/left/package.json": MODULE,
    });
    const out = join(engine.root, "out");
    await build("--sbom=true", "--provenance=mode=min,version=v1", "--output", `type=local,dest=${out}`, context);
    const bom = statement(join(out, "sbom.spdx.json"));
    assert.equal(bom._type, "https://in-toto.io/Statement/v0.1");
    assert.equal(bom.predicateType, "https://spdx.dev/Document");
    assert.equal(bom.predicate.spdxVersion, "SPDX-2.3");
    const found = bom.predicate.packages
      .slice(1)
      .map((one: Record<string, unknown>) => [
        one.name,
        one.versionInfo,
        one.licenseDeclared,
        (one.externalRefs as { referenceLocator: string }[])[0]!.referenceLocator,
      ]);
    assert.deepEqual(found, [
      ["made", "1.0-1", "NOASSERTION", "pkg:deb/debian/made@1.0-1?arch=amd64&distro=debian-12&upstream=making%401.0-0"],
      ["@scope/left", "1.2.3", "MIT", "pkg:npm/%40scope/left@1.2.3"],
    ]);
    const provenance = statement(join(out, "provenance.json"));
    assert.equal(provenance.predicateType, "https://slsa.dev/provenance/v1");
    assert.deepEqual(provenance.predicate.buildDefinition.externalParameters.request.locals, [{ name: "context" }]);
    const digests = new Map(provenance.subject.map(({ digest, name }) => [name, digest.sha256]));
    assert.deepEqual([...digests.keys()].sort(), [
      "app/node_modules/@scope/left/package.json",
      "etc/os-release",
      "var/lib/dpkg/status",
    ]);
    assert.equal(digests.get("etc/os-release"), createHash("sha256").update(OS).digest("hex"));
  });

  test("tell of secrets nothing but their ids, and of arguments only where all is to be told", async () => {
    const secret = join(engine.root, "secret");
    writeFileSync(secret, "canary-of-a-secret");
    const context = folder({
      Dockerfile: [
        "FROM busybox",
        "ARG WHO",
        'RUN --mount=type=secret,id=token test -s /run/secrets/token && echo "$WHO" > /who',
      ].join("\n"),
    });
    const shared = ["--secret", `id=token,src=${secret}`, "--build-arg", "WHO=nobody", context];
    const inMode = async (mode: string): Promise<{ text: string; told: Statement }> => {
      const out = join(engine.root, `out-${mode}`);
      const metadata = join(engine.root, `metadata-${mode}`);
      const output = ["--output", `type=local,dest=${out}`, "--metadata-file", metadata];
      await build(`--attest=type=provenance,mode=${mode}`, ...output, ...shared);
      const text = readFileSync(join(out, "provenance.json"), "utf8");
      const { "buildx.build.provenance": shown } = JSON.parse(readFileSync(metadata, "utf8"));
      const told = JSON.parse(text) as Statement;
      // Clients are shown the short one of both.
      assert.deepEqual(shown.materials, told.predicate.materials);
      assert.equal(shown.buildConfig, undefined);
      return { text, told };
    };
    const max = await inMode("max");
    const { buildConfig, invocation, materials, metadata } = max.told.predicate;
    assert.doesNotMatch(max.text, /canary/);
    assert.deepEqual(invocation.parameters.secrets, [{ id: "token", optional: true }]);
    assert.equal(invocation.parameters.args["build-arg:WHO"], "nobody");
    assert.match(materials[0].uri, /^pkg:docker\/busybox@latest\?platform=linux%2F/);
    assert.match(materials[0].digest.sha256, /^[0-9a-f]{64}$/);
    const kinds = buildConfig.llbDefinition.map(({ op }: { op: { kind: string } }) => op.kind);
    assert.deepEqual(kinds, ["image", "exec"]);
    assert.deepEqual(buildConfig.llbDefinition[1].inputs, ["step0:0"]);
    const { infos, locations } = metadata["https://mobyproject.org/buildkit@v1#metadata"].source;
    assert.match(Buffer.from(infos[0].data, "base64").toString(), /^FROM busybox/);
    assert.deepEqual(locations.step1.locations[0].ranges, [{ start: { line: 3 }, end: { line: 3 } }]);
    assert.equal(metadata.completeness.parameters, true);
    const min = await inMode("min");
    assert.doesNotMatch(min.text, /nobody|canary/);
    assert.equal(min.told.predicate.buildConfig, undefined);
    assert.equal(min.told.predicate.metadata.completeness.parameters, false);
  });

  test("go to registries in the index of their image", { skip: registryMissing() }, async () => {
    await using registry = await startRegistry();
    const context = folder({ Dockerfile: "FROM busybox\nCOPY . /made\n", "node_modules/x/package.json": MODULE });
    const name = `${registry.host}/made/attested:1`;
    const output = ["--output", `type=registry,name=${name},registry.insecure=true`];
    await build("--sbom=true", "--provenance=mode=max", ...output, context);
    const fetchJson = async (path: string) => {
      const Accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
      const answer = await fetch(`http://${registry.host}/v2/made/attested/${path}`, { headers: { Accept } });
      assert.equal(answer.status, 200, path);
      return JSON.parse(await answer.text());
    };
    const index = await fetchJson("manifests/1");
    const [image, attested] = index.manifests;
    assert.deepEqual(attested.platform, { architecture: "unknown", os: "unknown" });
    assert.deepEqual(attested.annotations, {
      "vnd.docker.reference.digest": image.digest,
      "vnd.docker.reference.type": "attestation-manifest",
    });
    const { layers } = await fetchJson(`manifests/${attested.digest}`);
    const [bom, provenance] = await Promise.all(
      layers.map(({ digest }: { digest: string }) => fetchJson(`blobs/${digest}`)),
    );
    assert.deepEqual(
      layers.map(({ annotations }: { annotations: object }) => annotations),
      [
        { "in-toto.io/predicate-type": "https://spdx.dev/Document" },
        { "in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2" },
      ],
    );
    const [subject] = provenance.subject;
    assert.equal(`sha256:${subject.digest.sha256}`, image.digest);
    assert.deepEqual(bom.subject, provenance.subject);
    assert.match(subject.name, /^pkg:docker\/.+\/made\/attested@1\?platform=linux%2F/);
    const manifest = await fetchJson(`manifests/${image.digest}`);
    const { layers: told } = provenance.predicate.metadata["https://mobyproject.org/buildkit@v1#metadata"];
    const digests = manifest.layers.map(({ digest }: { digest: string }) => digest);
    const [last] = Object.values(told).map((chains) => (chains as { digest: string }[][])[0]);
    assert.deepEqual(
      last?.map(({ digest }) => digest),
      digests,
    );
  });

  test("name the commit of a repository that is built, and no password of its address", {
    skip: gitPrograms() === undefined && "git-http-backend is not installed",
  }, async () => {
    const repositories = folder({ "app.git/Dockerfile": "FROM scratch\nCOPY file /\n", "app.git/file": "1" });
    const commit = new GitRepository(join(repositories, "app.git")).commit("first");
    await using server = await GitServer.start(repositories);
    const url = `${server.url.replace("://", "://me:hidden@")}/app.git/.git#main`;
    const out = join(engine.root, "out-git");
    await build("--provenance=mode=max", "--output", `type=local,dest=${out}`, url);
    const text = readFileSync(join(out, "provenance.json"), "utf8");
    assert.doesNotMatch(text, /hidden/);
    const { invocation, materials, metadata } = (JSON.parse(text) as Statement).predicate;
    const uri = `${server.url.replace("://", "://xxxxx@")}/app.git/.git#main`;
    assert.deepEqual(materials, [{ uri, digest: { sha1: commit } }]);
    assert.deepEqual(invocation.configSource, { uri, digest: { sha1: commit }, entryPoint: "Dockerfile" });
    assert.deepEqual(metadata.completeness, { parameters: true, environment: true, materials: true });
    assert.equal(metadata["https://mobyproject.org/buildkit@v1#hermetic"], true);
  });

  test("of several platforms lie in the folder of each, and clients are told of each", async () => {
    const context = folder({ Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
    const out = join(engine.root, "out-platforms");
    const metadata = join(engine.root, "metadata-platforms");
    const output = ["--output", `type=local,dest=${out}`, "--metadata-file", metadata];
    const platforms = ["--platform", "linux/amd64,linux/arm64"];
    await build(...platforms, ...output, "--build-arg", "BUILDKIT_ATTEST_PROVENANCE=mode=min,version=v1", context);
    for (const platform of ["linux/amd64", "linux/arm64"]) {
      const { predicateType } = statement(join(out, platform.replace("/", "_"), "provenance.json"));
      assert.equal(predicateType, "https://slsa.dev/provenance/v1");
      const told = JSON.parse(readFileSync(metadata, "utf8"));
      assert.ok(told[`buildx.build.provenance/${platform}`].buildDefinition);
    }
  });

  test("are kept with an image, and pushed with it whenever that is", { skip: registryMissing() }, async () => {
    await using registry = await startRegistry();
    const context = folder({ Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
    const name = `${registry.host}/made/kept`;
    const metadata = join(engine.root, "metadata-kept");
    const told = () => JSON.parse(readFileSync(metadata, "utf8"));
    const attested = async (...args: readonly string[]) => {
      const stderr = await build("--sbom=true", "--metadata-file", metadata, ...args, context);
      assert.doesNotMatch(stderr, /WARN|without/);
      return told();
    };
    const digestAt = async (tag: string) => {
      const headers = { Accept: "application/vnd.oci.image.index.v1+json" };
      const answer = await fetch(`http://${registry.host}/v2/made/kept/manifests/${tag}`, { headers });
      return answer.headers.get("docker-content-digest");
    };
    const inspect = async (reference: string) =>
      (await engine.request("GET", `/images/${reference}/json?manifests=1`)).json;
    const later = await attested("--platform", "linux/amd64,linux/arm64", "-t", `${name}:later`);
    assert.equal(later["containerimage.descriptor"].mediaType, "application/vnd.oci.image.index.v1+json");
    const kept = await inspect(`${name}:later`);
    assert.equal(kept.Descriptor.digest, later["containerimage.digest"]);
    assert.deepEqual(
      kept.Manifests.map(({ Kind }: { Kind: string }) => Kind),
      ["image", "image", "attestation", "attestation"],
    );
    assert.equal(await digestAt("later"), null);
    await engine.gantry("push", `${name}:later`);
    assert.equal(await digestAt("later"), later["containerimage.digest"]);
    const output = ["--output", `type=image,name=${name}:now,push=true,registry.insecure=true`];
    const now = await attested(...output);
    assert.equal(await digestAt("now"), now["containerimage.digest"]);
    const { Descriptor, RepoDigests } = await inspect(`${name}:now`);
    assert.equal(Descriptor.digest, now["containerimage.digest"]);
    assert.ok(RepoDigests.includes(`${name}@${Descriptor.digest}`));
    // What is meant for indexes alone makes none of a lone image.
    await build("--provenance=inline-only=true", "-t", "plain", context);
    assert.equal((await inspect("plain")).Descriptor.mediaType, "application/vnd.oci.image.manifest.v1+json");
  });

  test("tell of stages and of the context what is in them, where a Dockerfile asks for that", async () => {
    const module = (name: string) => JSON.stringify({ name, version: "1.0.0" });
    const context = folder({
      Dockerfile: `ARG BUILDKIT_SBOM_SCAN_CONTEXT=true
FROM busybox AS tools
ARG BUILDKIT_SBOM_SCAN_STAGE=true
COPY tool /node_modules/tool/
FROM busybox AS unseen
COPY lib /node_modules/lib/
FROM scratch
COPY --from=tools /bin/true /true
COPY --from=unseen /bin/true /other
COPY app /node_modules/app/
`,
      "tool/package.json": module("tool"),
      "lib/package.json": module("lib"),
      "app/package.json": module("app"),
      "node_modules/ours/package.json": module("ours"),
    });
    const out = join(engine.root, "out-scanned");
    await build("--sbom=true", "--output", `type=local,dest=${out},platform-split=false`, context);
    assert.deepEqual(readdirSync(out).sort(), [
      "node_modules",
      "other",
      "sbom-context.spdx.json",
      "sbom-tools.spdx.json",
      "sbom.spdx.json",
      "true",
    ]);
    const found = (end: string) => {
      const { predicate, subject } = statement(join(out, `sbom${end}.spdx.json`));
      assert.equal(subject.length, 3);
      const [root, ...packages] = predicate.packages as {
        readonly name: string;
        readonly primaryPackagePurpose: string;
      }[];
      return [root?.name, root?.primaryPackagePurpose, ...packages.map(({ name }) => name)];
    };
    assert.deepEqual(found(""), ["build", "CONTAINER", "app"]);
    assert.deepEqual(found("-tools"), ["tools", "CONTAINER", "tool"]);
    // Of the context what is read is here: no step reads its own node_modules.
    assert.deepEqual(found("-context"), ["context", "SOURCE"]);
    const told = async (...args: readonly string[]) => {
      const archive = join(engine.root, "scanned.tar");
      await build("--sbom=true", "--output", `type=oci,dest=${archive}`, ...args, context);
      const names = (await engine.run("tar", ["-tf", archive])).stdout
        .split("\n")
        .filter((name) => /^blobs\/.*\w$/.test(name));
      const texts = await Promise.all(names.map((name) => engine.run("tar", ["-xOf", archive, name])));
      const statements = texts.flatMap(({ stdout }) =>
        /^{"_type"/.test(stdout) ? [JSON.parse(stdout) as Statement] : [],
      );
      return statements.map(({ predicate }) => predicate.name).sort();
    };
    assert.deepEqual(await told(), ["build", "context", "tools"]);
    const args = ["--build-arg", "BUILDKIT_SBOM_SCAN_CONTEXT=0", "--build-arg", "BUILDKIT_SBOM_SCAN_STAGE=unseen"];
    assert.deepEqual(await told(...args), ["build"]);
  });

  test("are refused in one sentence where they can't be made", async () => {
    const context = folder({ Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" });
    assert.match(
      await refused("--attest=type=sbom,generator=some/scanner", context),
      /cannot make an SBOM with the generator "some\/scanner": the engine scans by itself/,
    );
    assert.match(await refused("--provenance=mode=much", context), /invalid mode "much": provenance has min and max/);
    assert.match(await refused("--provenance=version=v3", context), /invalid provenance SLSA version: v3/);
  });

  test("a step reaches by name what is on the network that the build is on", async () => {
    const run = async (...args: readonly string[]): Promise<void> => {
      const { code, stderr } = await engine.gantry(...args);
      assert.equal(code, 0, stderr);
    };
    await run("network", "create", "workshop");
    await run("run", "-d", "--name", "neighbour", "--network", "workshop", "busybox", "sleep", "600");
    const context = folder({ Dockerfile: "FROM busybox\nRUN ping -c 1 -W 5 neighbour\n" });
    await build("--network", "workshop", context);
    assert.match(await refused("--network", "nowhere", "--no-cache", context), /network nowhere not found/);
    await run("rm", "-f", "neighbour");
    await run("network", "rm", "workshop");
  });
});
