import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { enterPrivateHost } from "../../src/kernel/private-host.fixture.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import {
  artifact,
  bomb,
  cutArchive,
  cutGzip,
  imageMissingLayer,
  imageOfLayers,
  imageOfTooFewDiffIds,
  imageOfWrongDiffId,
  imageWithManifestOf,
  indexOfOthers,
  schema1,
} from "../faulty-images.ts";
import {
  type Act,
  type Fault,
  type FaultyOptions,
  type FaultyRegistry,
  startFaultyRegistry,
} from "../faulty-registry.ts";
import { contentsOf, imageOf, randomImage, type TestImage, type TestIndex } from "../oci-image.ts";

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

const IMAGE = randomImage("faults", { layers: 3, size: 200_000 });
const BAD = IMAGE.layers[1]!;
const BLOB = BAD.digest;

interface Case {
  readonly faults?: readonly Fault[];
  /** What is pulled; the whole image above unless told. */
  readonly image?: TestImage | TestIndex;
  readonly without?: readonly string[];
  readonly registry?: FaultyOptions;
  /** All that the client says on its error stream, HOST for the registry; undefined where nothing fails. */
  readonly says: RegExp | undefined;
}

const badLayer = (act: Act, more: Partial<Fault> = {}): Fault[] => [{ on: "blob", of: BLOB, act, ...more }];
const badManifest = (act: Act): Fault[] => [{ on: "manifest", act }];
const refuses = (status: number, body?: string, headers?: Record<string, string>): Act => ({
  kind: "status",
  status,
  ...(body !== undefined && { body }),
  ...(headers !== undefined && { headers }),
});
const HTML = { "Content-Type": "text/html" };
const DAEMON = "Error response from daemon: ";

const PULLS: Readonly<Record<string, Case>> = {
  "a layer has other bytes": {
    faults: badLayer({ kind: "wrong-bytes" }),
    says: /^filesystem layer verification failed for digest BLOB$/,
  },
  "a layer is truncated": {
    faults: badLayer({ kind: "truncate", at: 1000 }),
    says: /^filesystem layer verification failed for digest BLOB: it has 1000 bytes where \d+ were told$/,
  },
  "a layer never ends": {
    faults: badLayer({ kind: "endless" }),
    says: /^filesystem layer verification failed for digest BLOB: more than \d+ bytes came$/,
  },
  "a layer's length is told too long": {
    faults: badLayer({ kind: "told-length", length: 300_000 }),
    says: /^filesystem layer verification failed for digest BLOB: it has 300000 bytes where \d+ were told$/,
  },
  "a layer's length is told too short": {
    faults: badLayer({ kind: "told-length", length: 3000 }),
    says: /^filesystem layer verification failed for digest BLOB: it has 3000 bytes where \d+ were told$/,
  },
  "a layer comes without a length": { faults: badLayer({ kind: "no-length" }), says: undefined },
  "a layer is compressed once more, unasked": {
    faults: badLayer({ kind: "encoded" }),
    says: /^(cannot read BLOB: it was sent as gzip, unasked|filesystem layer verification failed for digest BLOB: .*)$/,
  },
  "the connection is cut every 50,000 bytes": { faults: badLayer({ kind: "cut", after: 50_000 }), says: undefined },
  "the connection is cut once, and the registry knows no ranges": {
    faults: [...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }), ...badLayer({ kind: "no-ranges" })],
    says: undefined,
  },
  "the connection is cut once, and the registry refuses ranges": {
    faults: [...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }), ...badLayer({ kind: "refuse-ranges" })],
    says: undefined,
  },
  "the connection is cut once, and another range comes, as it says": {
    faults: [
      ...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }),
      ...badLayer({ kind: "wrong-range", shift: 10, isTold: true }),
    ],
    says: undefined,
  },
  "the connection is cut once, and an earlier range comes, as it says": {
    faults: [
      ...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }),
      ...badLayer({ kind: "wrong-range", shift: -10, isTold: true }),
    ],
    says: undefined,
  },
  "the connection is cut once, and another range comes that pretends to be the one": {
    faults: [
      ...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }),
      ...badLayer({ kind: "wrong-range", shift: -10, isTold: false }),
    ],
    says: /^filesystem layer verification failed for digest BLOB(: more than \d+ bytes came)?$/,
  },
  "the connection is cut before anything comes": {
    faults: badLayer({ kind: "cut" }),
    says: /^Get "http:\/\/HOST\/v2\/a\/b\/blobs\/BLOB": EOF$/,
  },
  "the connection is cut always at the same byte, without ranges": {
    faults: [...badLayer({ kind: "cut", after: 50_000 }), ...badLayer({ kind: "no-ranges" })],
    says: /^cannot read BLOB: unexpected EOF$/,
  },
  "the registry says nothing when it is asked for a layer": {
    faults: badLayer({ kind: "hang" }),
    says: /^Get "http:\/\/HOST\/v2\/a\/b\/blobs\/BLOB": net\/http: request canceled \(Client\.Timeout exceeded while awaiting headers\)$/,
  },
  "the registry falls silent in the middle of a layer, once": {
    faults: badLayer({ kind: "hang", after: 50_000 }, { times: 1 }),
    says: undefined,
  },
  "the registry falls silent in the middle of a layer, always": {
    faults: [...badLayer({ kind: "hang", after: 50_000 }), ...badLayer({ kind: "no-ranges" })],
    says: /^cannot read BLOB: nothing more arrived in time$/,
  },
  "the registry says nothing when it is asked for a manifest": {
    faults: badManifest({ kind: "hang" }),
    says: /^DAEMONGet "http:\/\/HOST\/v2\/a\/b\/manifests\/1": net\/http: request canceled \(Client\.Timeout exceeded while awaiting headers\)$/,
  },
  "a layer is redirected in a circle": {
    faults: badLayer({ kind: "redirect", to: "loop" }),
    says: /^Get "http:\/\/HOST\/v2\/a\/b\/blobs\/BLOB": stopped after 10 redirects$/,
  },
  "a layer is refused with 401": { faults: badLayer(refuses(401)), says: /^unauthorized: authentication required$/ },
  "a layer is refused with 403": {
    faults: badLayer(refuses(403)),
    says: /^denied: requested access to the resource is denied$/,
  },
  "a layer is refused with 404": { faults: badLayer(refuses(404)), says: /^unknown blob: HOST does not have BLOB$/ },
  "a layer is refused with 429, and a time to wait": {
    faults: badLayer(refuses(429, undefined, { "Retry-After": "1" }), { times: 1 }),
    says: undefined,
  },
  "a layer is refused with 429, and a day to wait": {
    faults: badLayer(refuses(429, undefined, { "Retry-After": "86400" })),
    says: /^toomanyrequests: You have reached your pull rate limit$/,
  },
  "a layer is refused with 500, once": { faults: badLayer(refuses(500), { times: 1 }), says: undefined },
  "a layer is refused with 500": {
    faults: badLayer(refuses(500)),
    says: /^received unexpected HTTP status: 500 Internal Server Error$/,
  },
  "a proxy answers for a layer with a page of its own": {
    faults: badLayer(refuses(502, "<html><body>Bad gateway</body></html>", HTML)),
    says: /^received unexpected HTTP status: 502 Bad Gateway$/,
  },
  "a manifest is refused with 401, and no way to prove oneself": {
    faults: badManifest(refuses(401)),
    says: /^DAEMONunauthorized: authentication required$/,
  },
  "a manifest is refused with 403": {
    faults: badManifest(refuses(403)),
    says: /^DAEMONpull access denied for HOST\/a\/b, repository does not exist or may require 'docker login': denied: requested access to the resource is denied$/,
  },
  "a manifest is refused with 404": {
    faults: badManifest(refuses(404)),
    says: /^DAEMONrepository HOST\/a\/b not found: name unknown: repository name not known to registry$/,
  },
  "a manifest is refused with 429": {
    faults: badManifest(refuses(429, undefined, { "Retry-After": "86400" })),
    says: /^DAEMONtoomanyrequests: You have reached your pull rate limit$/,
  },
  "a manifest is refused with 500": {
    faults: badManifest(refuses(500)),
    says: /^DAEMONreceived unexpected HTTP status: 500 Internal Server Error$/,
  },
  "a manifest is a page": {
    faults: badManifest({ kind: "other-body", body: "<html>welcome</html>", type: "text/html" }),
    says: /^DAEMONmanifest verification failed for digest sha256:[0-9a-f]{64}$/,
  },
  "a manifest never ends": {
    faults: badManifest({ kind: "endless" }),
    says: /^DAEMONcannot read the manifest of HOST\/a\/b:1: it is longer than 8388608 bytes$/,
  },
  "a config has other bytes": {
    faults: [{ on: "blob", of: IMAGE.config.digest, act: { kind: "wrong-bytes" } }],
    says: /^error pulling image configuration: image config verification failed for digest CONFIG$/,
  },
  "a config never ends": {
    faults: [{ on: "blob", of: IMAGE.config.digest, act: { kind: "endless" } }],
    says: /^error pulling image configuration: cannot read CONFIG: it is longer than 8388608 bytes$/,
  },
  "the registry wants a name and a password": {
    registry: { auth: "basic" },
    says: /^DAEMON(Get|Head) "http:\/\/HOST\/v2\/a\/b\/manifests\/1": no basic auth credentials$/,
  },
  "the token server knows nobody": {
    registry: { auth: "bearer" },
    says: /^DAEMON(Get|Head) "http:\/\/HOST\/v2\/a\/b\/manifests\/1": unauthorized: authentication required$/,
  },
  "the token server is a page": {
    registry: { auth: "bearer" },
    faults: [{ on: "token", act: refuses(200, "<html>log in</html>", HTML) }],
    says: /^DAEMONGet "http:\/\/HOST\/token": authorization server did not include a token in the response$/,
  },
  "the token server says nothing": {
    registry: { auth: "bearer" },
    faults: [{ on: "token", act: { kind: "hang" } }],
    says: /^DAEMONGet "http:\/\/HOST\/token": net\/http: request canceled \(Client\.Timeout exceeded while awaiting headers\)$/,
  },
  "the token server's answer never ends": {
    registry: { auth: "bearer" },
    faults: [{ on: "token", act: { kind: "endless" } }],
    says: /^DAEMONcannot read the token of HOST: it is longer than 1048576 bytes$/,
  },
};

const missing = imageMissingLayer();

/** Images that are wrong themselves: what comes next is another one. */
const WRONG: Readonly<Record<string, Case>> = {
  "names a layer that there isn't": {
    image: missing.image,
    without: [missing.missing],
    says: new RegExp(`^unknown blob: HOST does not have ${missing.missing}$`),
  },
  "has a manifest of 4 MB": { image: imageWithManifestOf(4 << 20), says: undefined },
  "has a manifest of 9 MB": {
    image: imageWithManifestOf(9 << 20),
    says: /^DAEMONcannot read the manifest of HOST\/a\/b:1: it is longer than 8388608 bytes$/,
  },
  "has 40,000 layers": {
    image: imageOfLayers(40_000),
    says: /^DAEMONinvalid image manifest: layers: max depth exceeded: more than 500 layers$/,
  },
  "has 20,000 layers, no two alike": {
    image: imageOfLayers(20_000, { isDistinct: true }),
    says: /^DAEMONinvalid image manifest: layers: max depth exceeded: more than 500 layers$/,
  },
  "is for other platforms": {
    image: indexOfOthers(),
    says: /^no matching manifest for linux\/\w+ in the manifest list entries: there is one for linux\/s390x, linux\/arm\/v7, windows\/amd64$/,
  },
  "has fewer diff ids than layers": {
    image: imageOfTooFewDiffIds(),
    says: /^layers from manifest don't match image configuration$/,
  },
  "has another diff id than its layer": {
    image: imageOfWrongDiffId(),
    says: /^layers from manifest don't match image configuration$/,
  },
  "is a gzip bomb": {
    image: imageOf({ layers: [bomb(1.2 * 2 ** 30)] }),
    says: /^cannot extract layer sha256:[0-9a-f]{64}: its \d+ bytes unpack to more than 1073741824; the engine's setting max-unpack-ratio \(200\) allows no more$/,
  },
  "is a zstd bomb": {
    image: imageOf({ layers: [bomb(1.2 * 2 ** 30, "zstd")] }),
    says: /^cannot extract layer sha256:[0-9a-f]{64}: its \d+ bytes unpack to more than 1073741824; the engine's setting max-unpack-ratio \(200\) allows no more$/,
  },
  "has a layer whose archive is cut off": {
    image: imageOf({ layers: [cutArchive()] }),
    says: /^cannot extract layer sha256:[0-9a-f]{64}: unexpected EOF$/,
  },
  "has a layer whose compression is cut off": {
    image: imageOf({ layers: [cutGzip()] }),
    says: /^cannot extract layer sha256:[0-9a-f]{64}: unexpected EOF$/,
  },
  "is no image": {
    image: artifact(),
    says: /^unsupported media type application\/vnd\.example\.config\.v1\+json: HOST\/a\/b:1 is an artifact and not an image$/,
  },
};

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

const sending = (act: Act, more: Partial<Fault> = {}): Fault[] => [
  { on: ["upload-chunk", "upload-end"], act, ...more },
];
const at = (on: Fault["on"], act: Act, more: Partial<Fault> = {}): Fault[] => [{ on, act, ...more }];
const UPLOAD = "http:\\/\\/HOST\\/v2\\/a\\/b\\/blobs\\/uploads\\/";

interface PushCase extends Case {
  /** Uploads whose answers never came: nobody but the registry knows of them. */
  readonly leavesUploads?: boolean;
}

const PUSHES: Readonly<Record<string, PushCase>> = {
  "an upload is cut once": { faults: sending({ kind: "cut-upload", after: 50_000 }, { times: 1 }), says: undefined },
  "an upload is cut every 50,000 bytes": { faults: sending({ kind: "cut-upload", after: 50_000 }), says: undefined },
  "an upload is cut at its first byte, always": {
    faults: sending({ kind: "cut-upload", after: 0 }),
    says: new RegExp(`^Put "${UPLOAD}[0-9a-f]{16}": EOF$`),
  },
  "an upload is forgotten once": { faults: sending({ kind: "forget-session" }, { times: 1 }), says: undefined },
  "an upload is forgotten always": {
    faults: sending({ kind: "forget-session" }),
    says: /^blob upload unknown: blob upload unknown to registry$/,
  },
  "a body is too large": {
    faults: sending(refuses(413)),
    says: /^cannot push to HOST: it or a proxy before it refuses a body of \d+ bytes as too large \(413\): its limit has to be raised$/,
  },
  "a proxy ends a body that is too large before it is there": {
    faults: sending({ kind: "status", status: 413, isEarly: true, body: "<html>too large</html>", headers: HTML }),
    says: /^cannot push to HOST: it or a proxy before it refuses a body of \d+ bytes as too large \(413\): its limit has to be raised$/,
  },
  "an upload is refused with 401": {
    faults: at("upload-start", refuses(401)),
    says: /^unauthorized: authentication required$/,
  },
  "an upload is refused with 403": {
    faults: at("upload-start", refuses(403)),
    says: /^denied: requested access to the resource is denied$/,
  },
  "an upload is refused with 404": {
    faults: at("upload-start", refuses(404)),
    says: /^name unknown: repository name not known to registry$/,
  },
  "an upload is refused with 429, and a time to wait": {
    faults: at("upload-start", refuses(429, undefined, { "Retry-After": "1" }), { times: 1 }),
    says: undefined,
  },
  "an upload is refused with 429, and a day to wait": {
    faults: at("upload-start", refuses(429, undefined, { "Retry-After": "86400" })),
    says: /^toomanyrequests: You have reached your pull rate limit$/,
  },
  "the end of an upload is refused with 500, once": {
    faults: at("upload-end", refuses(500), { times: 1 }),
    says: undefined,
  },
  "the end of an upload is refused with 500": {
    faults: at("upload-end", refuses(500)),
    says: /^received unexpected HTTP status: 500 Internal Server Error$/,
  },
  "a manifest is refused with 500, once": {
    faults: at("manifest-put", refuses(500), { times: 1 }),
    says: undefined,
  },
  "a manifest is refused with 403": {
    faults: at("manifest-put", refuses(403)),
    says: /^denied: requested access to the resource is denied$/,
  },
  "a manifest is refused as invalid": {
    faults: at(
      "manifest-put",
      refuses(400, '{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{}}]}'),
    ),
    says: /^manifest invalid: manifest invalid$/,
  },
  "nothing is said to what begins an upload": {
    faults: at("upload-start", { kind: "hang" }),
    says: new RegExp(
      `^Post "${UPLOAD}": net\\/http: request canceled \\(Client\\.Timeout exceeded while awaiting headers\\)$`,
    ),
    leavesUploads: true,
  },
  "the connection is cut before an upload is open": {
    faults: at("upload-start", { kind: "cut" }, { times: 1 }),
    says: undefined,
    leavesUploads: true,
  },
  "an upload goes on at a place that is told without a host": {
    faults: at(["upload-start", "upload-chunk"], { kind: "location", to: "relative" }),
    says: undefined,
  },
  "no place is told where an upload goes on": {
    faults: at("upload-start", { kind: "header", name: "Location", value: undefined }),
    says: /^cannot push to HOST: it names no place to upload to$/,
    leavesUploads: true,
  },
  "an upload is redirected in a circle": {
    faults: at("upload-end", { kind: "redirect", to: "loop" }),
    says: new RegExp(`^Put "${UPLOAD}[0-9a-f]{16}": stopped after 10 redirects$`),
  },
  "the registry wants a name and a password": {
    registry: { auth: "basic" },
    says: /^no basic auth credentials$/,
  },
};

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
