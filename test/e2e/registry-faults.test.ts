import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { enterPrivateHost } from "../../src/kernel/private-host.fixture.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { BLOB, DAEMON, IMAGE, PULLS, PUSHES, WRONG } from "../fault-cases.ts";
import { schema1 } from "../faulty-images.ts";
import { type FaultyOptions, type FaultyRegistry, startFaultyRegistry } from "../faulty-registry.ts";
import { contentsOf, type TestImage, type TestIndex } from "../oci-image.ts";

/**
 * Each fault of a registry once, by the docker CLI: one sentence, nothing half-visible, nothing orphaned, and the next
 * pull or push goes on from what is whole. In a network namespace of its own, where an address can be one that is not
 * loopback, whose registries must prove themselves.
 */
enterPrivateHost();
const FAR = "198.51.100.1";
execFileSync("ip", ["addr", "add", `${FAR}/32`, "dev", "lo"]);
// What administrators put there, without touching the machine's.
const overlay = "lowerdir=/etc,upperdir=/run/etc-upper,workdir=/run/etc-work";
execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
for (const name of ["etc-upper", "etc-work"]) mkdirSync(join("/run", name));
execFileSync("mount", ["-t", "overlay", "overlay", "-o", overlay, "/etc"]);
const CERTS = "/etc/gantry/certs.d";

let engine: TestEngine;

function outcome(says: RegExp | undefined): string {
  return says === undefined ? "it goes well" : "one sentence, and the next goes on from what is whole";
}

/** The words of a failed command, compared with what is expected; HOST, DAEMON, BLOB and CONFIG stand for what they are. */
function check(stderr: string, expected: RegExp, host: string): void {
  const source = expected.source
    .replaceAll("HOST", host.replaceAll(".", "\\."))
    .replaceAll("DAEMON", DAEMON)
    .replaceAll("BLOB", BLOB)
    .replaceAll("CONFIG", IMAGE.config.digest);
  assert.match(stderr.trimEnd(), new RegExp(source));
}

/** All files and folders that hold what is of images, by their names; `leases` are told apart by what they hold. */
function stored(): { readonly blobs: string[]; readonly ingests: string[]; readonly snapshots: string[] } {
  const content = join(engine.dataRoot, "content");
  const [driver = ""] = readdirSync(join(engine.dataRoot, "snapshots"));
  return {
    blobs: readdirSync(join(content, "blobs/sha256")).sort(),
    ingests: readdirSync(join(content, "ingest")).sort(),
    snapshots: readdirSync(join(engine.dataRoot, "snapshots", driver, "l")).sort(),
  };
}

async function images(): Promise<string[]> {
  const rows = (await engine.request("GET", "/images/json?all=1")).json as { Id: string; RepoTags: string[] }[];
  return rows.flatMap(({ Id, RepoTags }) => [Id, ...RepoTags]);
}

/** What a failure may leave: whole blobs of this image, and the beginning of others; nothing that isn't it. */
function checkLeft(image: TestImage | TestIndex): void {
  const digests = contentsOf(image).blobs.map(({ digest }) => digest.slice("sha256:".length));
  const { blobs, ingests } = stored();
  for (const name of blobs) {
    assert.ok(digests.includes(name), `a blob of no image: ${name}`);
    const bytes = readFileSync(join(engine.dataRoot, "content/blobs/sha256", name));
    assert.equal(createHash("sha256").update(bytes).digest("hex"), name, "a blob that isn't whole");
  }
  for (const name of ingests) {
    assert.match(name, /^sha256-[0-9a-f]{64}\.part$/);
    assert.ok(digests.includes(name.slice("sha256-".length, -".part".length)), `the beginning of no image: ${name}`);
  }
}

/** Nothing of images is left when the last of them, and what failed pulls left, is removed. */
async function checkEmpty(): Promise<void> {
  await engine.ok("image", "prune", "--all", "--force");
  assert.deepEqual(await images(), []);
  assert.deepEqual(stored(), { blobs: [], ingests: [], snapshots: [] });
}

async function pull(registry: FaultyRegistry): Promise<{ readonly code: number; readonly stderr: string }> {
  return engine.docker("pull", "--quiet", `${registry.host}/a/b:1`);
}

describe("a pull from a registry with a fault", { skip: NO_DOCKER }, () => {
  before(async () => {
    engine = await startEngine({
      image: false,
      args: ["--registry-timeout", "1", "--max-download-attempts", "2"],
    });
  });
  after(() => engine?.[Symbol.asyncDispose]());

  for (const [title, { faults = [], registry: options = {}, says }] of Object.entries(PULLS)) {
    test(`${title}: ${outcome(says)}`, async () => {
      await using registry = await startFaultyRegistry({ ...options, faults });
      registry.add("a/b:1", IMAGE);
      const { code, stderr } = await pull(registry);
      assert.equal(code, says === undefined ? 0 : 1, stderr);
      if (says !== undefined) {
        check(stderr, says, registry.host);
        assert.deepEqual(await images(), []);
        checkLeft(IMAGE);
        const whole = stored().blobs;
        // A registry that doesn't know who asks stays as it is.
        if (options.auth === undefined) {
          registry.heal();
          registry.forget();
          const next = await pull(registry);
          assert.equal(next.code, 0, next.stderr);
          for (const { path } of registry.asked("blob", "GET")) {
            const again = whole.find(
              (hex) => path.includes(hex) && hex !== IMAGE.config.digest.slice("sha256:".length),
            );
            assert.equal(again, undefined, `a whole blob was fetched again: ${path}`);
          }
        }
      }
      await checkEmpty();
    });
  }

  for (const [title, { image, without, says }] of Object.entries(WRONG)) {
    test(`an image that ${title} ${says === undefined ? "is pulled" : "is refused in one sentence"}`, async () => {
      await using registry = await startFaultyRegistry();
      registry.add("a/b:1", image!, { without });
      const { code, stderr } = await pull(registry);
      assert.equal(code, says === undefined ? 0 : 1, stderr);
      if (says !== undefined) {
        check(stderr, says, registry.host);
        assert.deepEqual(await images(), []);
        checkLeft(image!);
        registry.add("a/b:1", IMAGE);
        const next = await pull(registry);
        assert.equal(next.code, 0, next.stderr);
      }
      await checkEmpty();
    });
  }

  test("a manifest of Docker's schema 1 is refused by name", async () => {
    await using registry = await startFaultyRegistry();
    registry.addManifest("a/b:1", schema1());
    const says =
      /^DAEMONcannot use HOST\/a\/b:1: its manifest is of Docker's schema 1, which is not supported any more: let its author push it again$/;
    check((await pull(registry)).stderr, says, registry.host);
    await checkEmpty();
  });

  test("a layer that lies at another host is fetched there, without a word about who asks", async () => {
    await using registry = await startFaultyRegistry({ auth: "basic" });
    await using other = await startFaultyRegistry({ shares: registry });
    registry.add("a/b:1", IMAGE);
    registry.misbehave({ on: "blob", act: { kind: "redirect", to: other.url } });
    const login = ["login", "--username", "joe", "--password-stdin", registry.host];
    assert.equal((await engine.tool("docker", login, { input: "secret" })).code, 0);
    const { code, stderr } = await pull(registry);
    assert.equal(code, 0, stderr);
    assert.equal(other.asked("blob", "GET").length, 4);
    for (const { headers } of other.requests) assert.equal(headers.authorization, undefined);
    await engine.ok("logout", registry.host);
    await checkEmpty();
  });

  test("a token that runs out in the middle of a pull is asked for again", async () => {
    await using registry = await startFaultyRegistry({ auth: "bearer" });
    registry.add("a/b:1", IMAGE);
    let isFirst = true;
    registry.onRequest = ({ step, path }) => {
      if (step !== "blob" || !path.includes(BLOB) || !isFirst) return;
      isFirst = false;
      registry.expireTokens();
    };
    const login = ["login", "--username", "joe", "--password-stdin", registry.host];
    assert.equal((await engine.tool("docker", login, { input: "secret" })).code, 0);
    const { code, stderr } = await pull(registry);
    assert.equal(code, 0, stderr);
    assert.ok(registry.asked("token").length >= 2);
    assert.equal(registry.asked("blob", "GET").filter(({ path }) => path.includes(BLOB)).length, 2);
    await engine.ok("logout", registry.host);
    await checkEmpty();
  });
});

describe("a push to a registry with a fault", { skip: NO_DOCKER }, () => {
  let source: FaultyRegistry;
  before(async () => {
    engine = await startEngine({ image: false, args: ["--registry-timeout", "1"] });
    source = await startFaultyRegistry();
    source.add("a/b:1", IMAGE);
    await engine.ok("pull", `${source.host}/a/b:1`);
  });
  after(async () => {
    await source?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
  });

  for (const [title, { faults = [], registry: options = {}, says, leavesUploads = false }] of Object.entries(PUSHES)) {
    const ending = says === undefined ? "it goes well" : "one sentence, and the next goes on from what is there";
    test(`${title}: ${ending}`, async () => {
      await using registry = await startFaultyRegistry({ ...options, faults });
      const name = `${registry.host}/a/b:1`;
      await engine.ok("tag", `${source.host}/a/b:1`, name);
      const [before, held] = [await images(), stored()];
      const { code, stderr } = await engine.docker("push", "--quiet", name);
      assert.equal(code, says === undefined ? 0 : 1, stderr);
      const { tags, uploads, contents } = registry.stock;
      if (!leavesUploads) assert.equal(uploads.size, 0, "an upload is left at the registry");
      if (says === undefined) assert.equal(tags.get("a/b:1"), IMAGE.manifest.digest);
      else {
        check(stderr, says, registry.host);
        assert.equal(tags.size, 0, "the tag is there, and the image isn't");
        if (options.auth === undefined) {
          const whole = [...contents.keys()];
          registry.heal();
          registry.forget();
          await engine.ok("push", "--quiet", name);
          assert.equal(tags.get("a/b:1"), IMAGE.manifest.digest);
          for (const { path } of registry.asked("upload-end")) {
            const again = whole.find((digest) => path.includes(encodeURIComponent(digest)));
            assert.equal(again, undefined, `sent once more: ${path}`);
          }
        }
      }
      assert.deepEqual(await images(), before);
      assert.deepEqual(stored(), held);
      await engine.ok("rmi", name);
    });
  }
});

describe("a registry that must prove itself", { skip: NO_DOCKER }, () => {
  before(async () => {
    engine = await startEngine({ image: false, args: ["--registry-timeout", "2"] });
  });
  after(() => engine?.[Symbol.asyncDispose]());

  const X509 = "tls: failed to verify certificate: x509:";
  const WHAT_TO_DO = `put its CA into ${CERTS}/HOST/ca.crt, or add HOST to insecure-registries`;
  const cases: readonly {
    readonly title: string;
    readonly tls: FaultyOptions["tls"];
    readonly isKnown: boolean;
    readonly says: string;
  }[] = [
    {
      title: "has signed its certificate itself",
      tls: "self-signed",
      isKnown: false,
      says: `${X509} certificate signed by unknown authority: ${WHAT_TO_DO}`,
    },
    {
      title: "has a certificate of an authority that nobody knows",
      tls: "trusted",
      isKnown: false,
      says: `${X509} certificate signed by unknown authority: ${WHAT_TO_DO}`,
    },
    {
      title: "has a certificate that has run out",
      tls: "expired",
      isKnown: true,
      says: `${X509} certificate has expired or is not yet valid: HOST needs a new one, unless this machine's clock is wrong`,
    },
    {
      title: "has a certificate of another name",
      tls: "wrong-name",
      isKnown: true,
      says: `${X509} certificate is valid for registry.invalid, not ${FAR}: use a name that it is valid for`,
    },
    { title: "speaks no TLS", tls: undefined, isKnown: false, says: "http: server gave HTTP response to HTTPS client" },
  ];
  for (const { title, tls, isKnown, says } of cases) {
    test(`is told of in one sentence that says what to do, if it ${title}`, async () => {
      await using registry = await startFaultyRegistry({ address: FAR, tls });
      registry.add("a/b:1", IMAGE);
      if (isKnown) registry.writeCertificates(CERTS);
      const { code, stderr } = await pull(registry);
      assert.equal(code, 1);
      const words = says.replaceAll("HOST", registry.host);
      const told = `${DAEMON}Get "https://${registry.host}/v2/a/b/manifests/1": `;
      assert.ok(stderr.startsWith(`${told}${words}`), stderr);
      assert.equal(stderr.trimEnd().split("\n").length, 1);
      assert.equal(registry.requests.length, 0, "nothing is asked before it is trusted");
      await checkEmpty();
    });
  }

  test("is trusted as soon as its authority lies in certs.d", async () => {
    await using registry = await startFaultyRegistry({ address: FAR, tls: "trusted" });
    registry.add("a/b:1", IMAGE);
    assert.equal((await pull(registry)).code, 1);
    registry.writeCertificates(CERTS);
    const { code, stderr } = await pull(registry);
    assert.equal(code, 0, stderr);
    await checkEmpty();
  });

  test("doesn't see the credentials of one that it redirects to without TLS, which is refused", async () => {
    await using plain = await startFaultyRegistry({ address: FAR });
    await using registry = await startFaultyRegistry({ address: FAR, tls: "trusted", shares: plain });
    registry.add("a/b:1", IMAGE);
    registry.writeCertificates(CERTS);
    registry.misbehave({ on: "blob", act: { kind: "redirect", to: plain.url } });
    const { code, stderr } = await pull(registry);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /the registry redirects from https to http \(198\.51\.100\.1:\d+\), which anybody on the way could change$/m,
    );
    assert.equal(plain.requests.length, 0);
    await checkEmpty();
  });

  test("cannot be reached without a network, and that is said", async () => {
    const refused = await engine.docker("pull", "--quiet", `${FAR}:1/a/b:1`);
    assert.equal(
      refused.stderr.trimEnd(),
      `${DAEMON}Get "https://${FAR}:1/v2/a/b/manifests/1": dial tcp ${FAR}:1: connect: connection refused`,
    );
    const nowhere = await engine.docker("pull", "--quiet", "203.0.113.1:5000/a/b:1");
    assert.equal(
      nowhere.stderr.trimEnd(),
      `${DAEMON}Get "https://203.0.113.1:5000/v2/a/b/manifests/1": dial tcp 203.0.113.1:5000: connect: network is unreachable`,
    );
    const hub = await engine.docker("pull", "--quiet", "busybox");
    assert.match(
      hub.stderr.trimEnd(),
      /^Error response from daemon: Get "https:\/\/registry-1\.docker\.io\/v2\/library\/busybox\/manifests\/latest": dial tcp: lookup registry-1\.docker\.io: (server misbehaving|no such host)$/,
    );
    await checkEmpty();
  });
});
