import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { sha256 } from "../archive.ts";
import { type Finished, findProgram, finish } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { HOST_PLATFORM, imageOf, indexOf, layerOf, pushTo, putBlob, type TestImage } from "../oci-image.ts";
import { pull } from "../pulling.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const PASSWORD = "open sesame";
const PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE = "dev.cosignproject.cosign/signature";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** An image that says a word; no two words make one image. */
function saying(word: string, platform = HOST_PLATFORM): TestImage {
  const busybox = { name: "bin/busybox", mode: 0o755, body: readFileSync("/bin/busybox") };
  const layers = [layerOf([{ name: "bin", type: "directory", mode: 0o755 }, busybox, { name: "word", body: word }])];
  return imageOf({ layers, platform, process: { Cmd: ["/bin/busybox", "echo", word] } });
}

describe("signatures", { skip: registryMissing() }, () => {
  let engine: TestEngine;
  let registry: TestRegistry;
  let keys: string;
  let policy: string;

  before(async () => {
    registry = await startRegistry({ htpasswd: { joe: "secret" } });
    engine = await startEngine({
      image: false,
      args: (root) => {
        writeFileSync(join(root, "policy.json"), '{"default":[{"type":"insecureAcceptAnything"}]}');
        return ["--signature-policy", join(root, "policy.json")];
      },
    });
    policy = join(engine.root, "policy.json");
    keys = join(engine.root, "keys");
    mkdirSync(keys);
    mkdirSync(join(engine.root, "config"), { recursive: true });
    const auth = Buffer.from("joe:secret").toString("base64");
    writeFileSync(join(engine.root, "config/config.json"), JSON.stringify({ auths: { [registry.host]: { auth } } }));
    for (const name of ["alice", "bob"]) {
      const { code, stderr } = await gantry("image", "keygen", "--output-key-prefix", join(keys, name));
      assert.equal(code, 0, stderr);
    }
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const gantry = (...args: readonly string[]): Promise<Finished> =>
    engine.tool("gantry", args, { env: { GANTRY_KEY_PASSWORD: PASSWORD } });
  const sign = async (name: string, by = "alice", ...more: readonly string[]): Promise<string> => {
    const line = ["image", "sign", "--key", join(keys, `${by}.key`), ...more, `${registry.host}/${name}`];
    const { code, stderr, stdout } = await gantry(...line);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const verify = (name: string, ...more: readonly string[]): Promise<Finished> =>
    gantry("image", "verify", ...more, `${registry.host}/${name}`);
  const byAlice = () => ["--key", join(keys, "alice.pub")];
  const signedBy = (name: string, more: object = {}) => [
    { type: "sigstoreSigned", keyPath: join(keys, `${name}.pub`), ...more },
  ];
  const pulled = (name: string, tag = "1") =>
    pull(engine, `${registry.host}/${name}`, { tag, auth: { username: "joe", password: "secret" } });
  const create = (image: string) => engine.request("POST", "/containers/create", { Image: image });

  /** Puts the policy into effect; resolves when the engine has it, or has refused it. */
  async function decree(document: unknown): Promise<string> {
    writeFileSync(policy, typeof document === "string" ? document : JSON.stringify(document));
    return engine.reload();
  }

  const demanding = (requirements: unknown, more: Readonly<Record<string, unknown>> = {}) => ({
    default: [{ type: "reject" }],
    transports: { docker: { [registry.host]: requirements }, ...more },
  });

  async function signatureManifest(repository: string, digest: string) {
    const path = `/v2/${repository}/manifests/${digest.replace(":", "-")}.sig`;
    const { body, status } = await registry.request("GET", path, { headers: { Accept: MANIFEST } });
    return status === 200 ? JSON.parse(body.toString()) : undefined;
  }

  async function putSignatureManifest(repository: string, digest: string, layers: readonly object[]): Promise<void> {
    const config = { mediaType: "application/vnd.oci.image.config.v1+json", bytes: Buffer.from("{}") };
    await putBlob(registry, repository, { ...config, digest: `sha256:${sha256(config.bytes)}` });
    const document = {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: config.mediaType, digest: `sha256:${sha256(config.bytes)}`, size: config.bytes.length },
      layers,
    };
    const path = `/v2/${repository}/manifests/${digest.replace(":", "-")}.sig`;
    const body = JSON.stringify(document);
    const { status } = await registry.request("PUT", path, { headers: { "Content-Type": MANIFEST }, body });
    assert.equal(status, 201);
  }

  test("a pair of keys is made once, sealed, and for nobody else to read", async () => {
    const prefix = join(keys, "alice");
    assert.equal(statSync(`${prefix}.key`).mode & 0o777, 0o600);
    assert.match(readFileSync(`${prefix}.key`, "utf8"), /^-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----/);
    assert.match(readFileSync(`${prefix}.pub`, "utf8"), /^-----BEGIN PUBLIC KEY-----/);
    const again = await gantry("image", "keygen", "--output-key-prefix", prefix);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /alice\.key is there already: give another --output-key-prefix, or --force/);
  });

  test("at a terminal the password is asked for and not shown, twice for a new key", async () => {
    await pushTo(registry, "typed:1", saying("typed"));
    const prefix = join(keys, "typed");
    await using making = engine.terminal("gantry", "image", "keygen", "--output-key-prefix", prefix);
    await making.shows(/Enter a password for the new key: $/);
    making.type("tüped word\r");
    await making.shows(/Enter it again: $/);
    making.type("tüped word\r");
    assert.equal(await making.exit, 0, making.text);
    assert.doesNotMatch(making.text, /word\r/);
    await using signing = engine.terminal(
      "gantry",
      "image",
      "sign",
      "--key",
      `${prefix}.key`,
      `${registry.host}/typed:1`,
    );
    await signing.shows(/Enter the password of .*typed\.key: $/);
    signing.type("tüped word\r");
    assert.equal(await signing.exit, 0, signing.text);
    assert.match(signing.text, /Signed: /);
    await using differing = engine.terminal("gantry", "image", "keygen", "--output-key-prefix", `${prefix}2`);
    await differing.shows(/new key: $/);
    differing.type("one\r");
    await differing.shows(/again: $/);
    differing.type("other\r");
    assert.equal(await differing.exit, 1);
    assert.match(differing.text, /the two passwords differ: nothing was written/);
    assert.equal(existsSync(`${prefix}2.key`), false);
  });

  test("a signature lies where cosign looks for it, and openssl finds it good", async (t) => {
    const digest = await pushTo(registry, "plain:1", saying("plain"));
    assert.equal(await sign("plain:1"), `Signed: ${registry.host}/plain@${digest}\n`);
    assert.equal(await sign("plain:1"), `Signed already: ${registry.host}/plain@${digest}\n`);
    const { layers } = await signatureManifest("plain", digest);
    assert.equal(layers.length, 1);
    assert.equal(layers[0].mediaType, PAYLOAD_TYPE);
    const payload = await registry.request("GET", `/v2/plain/blobs/${layers[0].digest}`);
    assert.deepEqual(JSON.parse(payload.body.toString()), {
      critical: {
        identity: { "docker-reference": `${registry.host}/plain:1` },
        image: { "docker-manifest-digest": digest },
        type: "cosign container image signature",
      },
      optional: null,
    });
    const openssl = findProgram("openssl");
    if (openssl === undefined) return t.skip("openssl is not installed");
    writeFileSync(join(keys, "signature"), Buffer.from(layers[0].annotations[SIGNATURE], "base64"));
    writeFileSync(join(keys, "payload"), payload.body);
    const checked = await finish(openssl, [
      ...["dgst", "-sha256", "-verify", join(keys, "alice.pub")],
      ...["-signature", join(keys, "signature"), join(keys, "payload")],
    ]);
    assert.equal(checked.stdout, "Verified OK\n");
  });

  test("what openssl signs by the format is verified, whatever the kind of key", async (t) => {
    const openssl = findProgram("openssl");
    if (openssl === undefined) return t.skip("openssl is not installed");
    for (const [kind, options] of [
      ["EC", ["-pkeyopt", "ec_paramgen_curve:P-256"]],
      ["RSA", ["-pkeyopt", "rsa_keygen_bits:2048"]],
      ["ED25519", []],
    ] as const) {
      const repository = `by-${kind.toLowerCase()}`;
      const digest = await pushTo(registry, `${repository}:1`, saying(kind));
      const [key, pub] = [join(keys, `${kind}.pem`), join(keys, `${kind}.pub`)];
      assert.equal((await finish(openssl, ["genpkey", "-algorithm", kind, ...options, "-out", key])).code, 0);
      assert.equal((await finish(openssl, ["pkey", "-in", key, "-pubout", "-out", pub])).code, 0);
      // Spaces and another order: what is signed is bytes, not a document.
      const payload = Buffer.from(
        `{ "optional": {"creator": "a test", "timestamp": 1}, "critical": { "type": "cosign container image signature", "image": {"docker-manifest-digest": "${digest}"}, "identity": {"docker-reference": "${registry.host}/${repository}"} } }\n`,
      );
      const [bytes, made] = [join(keys, "bytes"), join(keys, "made")];
      writeFileSync(bytes, payload);
      const signing =
        kind === "ED25519"
          ? ["pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", bytes, "-out", made]
          : ["dgst", "-sha256", "-sign", key, "-out", made, bytes];
      assert.equal((await finish(openssl, signing)).code, 0);
      await putBlob(registry, repository, {
        mediaType: PAYLOAD_TYPE,
        digest: `sha256:${sha256(payload)}`,
        bytes: payload,
      });
      const annotations = { [SIGNATURE]: readFileSync(made).toString("base64") };
      const row = { mediaType: PAYLOAD_TYPE, digest: `sha256:${sha256(payload)}`, size: payload.length, annotations };
      await putSignatureManifest(repository, digest, [row]);
      const good = await verify(`${repository}:1`, "--key", pub);
      assert.equal(good.code, 0, good.stderr);
      assert.equal((await verify(`${repository}:1`, ...byAlice())).code, 1);
      // Our own signing by the same plain key is added beside it.
      await sign(`${repository}:1`, "alice");
      const { code } = await gantry("image", "sign", "--key", key, `${registry.host}/${repository}:1`);
      assert.equal(code, 0);
      assert.equal((await signatureManifest(repository, digest)).layers.length, 3);
    }
  });

  test("verify prints what was signed, and says of each miss what it was", async () => {
    const digest = await pushTo(registry, "team/app:1", saying("app"));
    const name = `${registry.host}/team/app@${digest}`;
    const none = await verify("team/app:1", ...byAlice());
    assert.equal(none.code, 1);
    assert.equal(none.stderr, `${name} is not signed by ${join(keys, "alice.pub")}: it has no signature\n`);
    await sign("team/app:1", "alice", "-a", "stage=test", "-a", "by=ci");
    const good = await verify("team/app:1", ...byAlice(), "-a", "stage=test");
    assert.match(good.stdout, new RegExp(`^${name}: signed as ${registry.host}/team/app:1 by .*alice.pub \\(SHA256:`));
    const json = await verify("team/app:1", ...byAlice(), "-o", "json");
    assert.deepEqual(JSON.parse(json.stdout)[0].optional, { by: "ci", stage: "test" });
    const misses: [readonly string[], RegExp][] = [
      [["--key", join(keys, "bob.pub")], /its 2 signatures are by other keys$/m],
      [[...byAlice(), "-a", "stage=live"], /none of its 2 signatures has these annotations$/m],
      [[...byAlice(), "--identity", "quay.io/other"], /the name signed by it is ".*team\/app:1", not quay.io\/other/],
    ];
    for (const [flags, message] of misses) {
      const { code, stderr, stdout } = await verify("team/app:1", ...flags);
      assert.equal(code, 1);
      assert.match(stderr, message);
      assert.equal(stdout, "");
    }
    // Moved to another repository with its signatures, it is still signed as what it was.
    await pushTo(registry, "team/copy:1", saying("app"));
    await sign("team/copy:1", "alice", "--sign-container-identity", `${registry.host}/team/app:1`);
    assert.match((await verify("team/copy:1", ...byAlice())).stderr, /give --identity to accept another name/);
    assert.equal((await verify("team/copy:1", ...byAlice(), "--identity", `${registry.host}/team/app`)).code, 0);
  });

  test("a wrong password, key or name is one sentence, and nothing is signed", async () => {
    const digest = await pushTo(registry, "refused:1", saying("refused"));
    const name = `${registry.host}/refused:1`;
    const alice = join(keys, "alice.key");
    const cases: [readonly string[], RegExp, Record<string, string>?][] = [
      [["--key", alice, name], /the password is wrong, or the file is damaged/, { GANTRY_KEY_PASSWORD: "no" }],
      [["--key", join(keys, "alice.pub"), name], /it is a public key: signing needs the private one/],
      [["--key", join(keys, "none.key"), name], /the key .*none\.key cannot be read: no such file/],
      [["--key", "env://NOT_SET", name], /the key env:\/\/NOT_SET cannot be read: NOT_SET is not set/],
      [["--key", "awskms:///alias/x", name], /keys are files or env:\/\/NAME/],
      [[name], /no key to sign with: give --key FILE/],
      [["--key", alice, "a".repeat(64)], /is an image's id: signatures lie in registries/],
      [
        ["--key", alice, `${registry.host}/refused:2`],
        /manifest for 127\.0\.0\.1:\d+\/refused:2 not found: manifest unknown/,
      ],
      [["--key", alice, "-a", "novalue", name], /is not of the form key=value/],
    ];
    for (const [args, message, env] of cases) {
      const line = ["image", "sign", ...args];
      const { code, stderr } = await engine.tool("gantry", line, { env: { GANTRY_KEY_PASSWORD: PASSWORD, ...env } });
      assert.notEqual(code, 0, line.join(" "));
      assert.match(stderr, message);
      assert.ok(stderr.trim().split("\n").length <= 5, stderr);
    }
    assert.equal(await signatureManifest("refused", digest), undefined);
    const noTerminal = await engine.tool("gantry", ["image", "sign", "--key", alice, name]);
    assert.match(noTerminal.stderr, /there is no terminal to ask for it: set GANTRY_KEY_PASSWORD or COSIGN_PASSWORD/);
  });

  test("many signers at once lose none of their signatures", async () => {
    const digest = await pushTo(registry, "crowd:1", saying("crowd"));
    await Promise.all([1, 2, 3, 4].map((n) => sign("crowd:1", n % 2 === 0 ? "alice" : "bob", "-a", `n=${n}`)));
    assert.equal((await signatureManifest("crowd", digest)).layers.length, 4);
    for (const n of [1, 2, 3, 4]) {
      const key = join(keys, n % 2 === 0 ? "alice.pub" : "bob.pub");
      assert.equal((await verify("crowd:1", "--key", key, "-a", `n=${n}`)).code, 0);
    }
  });

  test("an index is signed alone or with its images", async () => {
    const other = { os: "linux", architecture: HOST_PLATFORM.architecture === "amd64" ? "arm64" : "amd64" };
    const index = indexOf([saying("here"), saying("there", other)]);
    const digest = await pushTo(registry, "index:1", index);
    await sign("index:1");
    assert.equal((await verify("index:1", ...byAlice())).code, 0);
    assert.equal((await verify("index:1", ...byAlice(), "--recursive")).code, 1);
    const lines = await sign("index:1", "alice", "--recursive");
    assert.equal(lines.match(/^Signed: /gm)?.length, 2);
    assert.match(lines, new RegExp(`^Signed already: ${registry.host}/index@${digest}`));
    assert.equal((await verify("index:1", ...byAlice(), "--recursive")).code, 0);
    assert.equal(await decree(demanding(signedBy("alice"))).then(() => pulled("index").then(({ error }) => error)), "");
  });

  test("a policy keeps out what isn't signed, and keeps nothing of it", async () => {
    await decree(demanding(signedBy("alice")));
    await pushTo(registry, "unsigned:1", saying("unsigned"));
    const scope = `scope ${JSON.stringify(registry.host)}`;
    const name = `${registry.host}/unsigned:1`;
    registry.forget();
    const { error } = await pulled("unsigned");
    const demand = `the signature policy does not accept ${name}: ${scope} demands a signature by the key ${join(keys, "alice.pub")}, and`;
    assert.equal(error, `${demand} it has no signature`);
    assert.equal((await engine.request("GET", `/images/${name}/json`)).status, 404);
    assert.equal(registry.asked("GET", "blobs").length, 0);
    await sign("unsigned:1", "bob");
    assert.equal((await pulled("unsigned")).error, `${demand} its 2 signatures are by other keys`);
    const dry = await verify("unsigned:1", "--policy", policy);
    assert.deepEqual([dry.code, dry.stderr], [1, `${demand} its 2 signatures are by other keys\n`]);
    await sign("unsigned:1");
    const accepted = await verify("unsigned:1", "--policy", policy);
    assert.equal(accepted.stdout, `${name}: accepted by ${scope} of ${policy}\n`);
    assert.equal((await pulled("unsigned")).error, "");
    const elsewhere = await pull(engine, "127.0.0.1:1/x", { tag: "1" });
    assert.doesNotMatch(elsewhere.error, /policy/);
  });

  test("a container is made of what today's policy accepts, by what was kept at the pull", {
    skip: NO_DOCKER,
  }, async () => {
    await decree({ default: [{ type: "insecureAcceptAnything" }] });
    await pushTo(registry, "kept:1", saying("kept"));
    await pushTo(registry, "stray:1", saying("stray"));
    assert.equal((await pulled("stray")).error, "");
    await decree(demanding(signedBy("alice")));
    await sign("kept:1");
    assert.equal((await pulled("kept")).error, "");
    registry.forget();
    assert.equal((await pulled("kept")).error, "");
    assert.equal(registry.requests.filter(({ path }) => /\.sig$|referrers/.test(path)).length, 0);
    const [kept, stray] = [`${registry.host}/kept:1`, `${registry.host}/stray:1`];
    assert.equal(await engine.ok("run", "--rm", kept), "kept");
    const refused = await create(stray);
    assert.equal(refused.status, 403);
    assert.match(
      refused.json.message,
      /stray:1: scope .* and it has no signature; that was so at its last pull: 'gantry pull /,
    );
    const idOf = async (name: string) => (await engine.request("GET", `/images/${name}/json`)).json.Id;
    assert.equal((await create(await idOf(stray))).status, 403);
    assert.equal((await create((await idOf(stray)).slice(7, 19))).status, 403);
    assert.equal((await create(await idOf(kept))).status, 201);
    // A name of one's own changes nothing; a name that is demanded to be signed must have been.
    await engine.ok("tag", stray, "mine:1");
    assert.equal((await create("mine:1")).status, 403);
    await engine.ok("tag", kept, "yours:1");
    assert.equal((await create("yours:1")).status, 201);
    await engine.ok("tag", kept, `${registry.host}/kept:2`);
    assert.match((await create(`${registry.host}/kept:2`)).json.message, /the name signed by it is ".*kept:1", not /);
    // The engine's end and start change nothing.
    await engine.kill();
    await engine.start();
    assert.equal((await create(kept)).status, 201);
    // Another key's day.
    await decree(demanding(signedBy("bob")));
    assert.match(
      (await create(kept)).json.message,
      /its only signature is by another key; that was so at its last pull/,
    );
    await sign("kept:1", "bob");
    registry.forget();
    assert.equal((await pulled("kept")).error, "");
    assert.equal(registry.asked("GET", "blobs").filter(({ path }) => !path.includes("uploads")).length <= 2, true);
    assert.equal((await create(kept)).status, 201);
    const containers = await engine.ok("ps", "-aq");
    await engine.ok("rm", ...containers.split("\n"));
  });

  test("what was made here goes by the rows of docker-daemon, unless its name says otherwise", {
    skip: NO_DOCKER,
  }, async () => {
    await decree(
      demanding(signedBy("alice"), {
        "docker-daemon": { "docker.io/library/local": [{ type: "insecureAcceptAnything" }] },
      }),
    );
    await engine.bootstrap("busybox");
    assert.match((await create("busybox")).json.message, /the default rejects every image/);
    await engine.ok("tag", "busybox", "local:1");
    assert.equal((await create("local:1")).status, 201);
    await engine.ok("tag", "busybox", `${registry.host}/local:1`);
    assert.match((await create(`${registry.host}/local:1`)).json.message, /the default rejects every image/);
    await decree(demanding(signedBy("alice"), { "docker-daemon": { "": [{ type: "insecureAcceptAnything" }] } }));
    assert.match((await create(`${registry.host}/local:1`)).json.message, /demands a signature .* it has no signature/);
    assert.equal((await create("busybox")).status, 201);
    await engine.ok("rm", ...(await engine.ok("ps", "-aq")).split("\n"));
    await engine.ok("rmi", "local:1", `${registry.host}/local:1`, "busybox");
  });

  test("other identities are accepted only by a policy that says so", async () => {
    await pushTo(registry, "tags:1", saying("tags"));
    await pushTo(registry, "tags:2", saying("tags"));
    await sign("tags:1");
    await decree(demanding(signedBy("alice")));
    assert.match((await pulled("tags", "2")).error, /the name signed by it is ".*tags:1", not .*tags:2/);
    await decree(demanding(signedBy("alice", { signedIdentity: { type: "matchRepository" } })));
    assert.equal((await pulled("tags", "2")).error, "");
    await pushTo(registry, "mirrored:1", saying("tags"));
    await sign("mirrored:1", "alice", "--sign-container-identity", "vendor.example/app:1");
    assert.match((await pulled("mirrored")).error, /the name signed by it is "vendor.example\/app:1"/);
    const remap = { type: "remapIdentity", prefix: `${registry.host}/mirrored`, signedPrefix: "vendor.example/app" };
    await decree(demanding(signedBy("alice", { signedIdentity: remap })));
    assert.equal((await pulled("mirrored")).error, "");
  });

  test("what lies in the place of signatures can be anything, and the good ones among it count", async () => {
    await decree(demanding(signedBy("alice")));
    const digest = await pushTo(registry, "hostile:1", saying("hostile"));
    const twin = await pushTo(registry, "twin:1", saying("twin"));
    await sign("twin:1");
    const { layers: stolen } = await signatureManifest("twin", twin);
    const stolenPayload = (await registry.request("GET", `/v2/twin/blobs/${stolen[0].digest}`)).body;
    await putBlob(registry, "hostile", { mediaType: PAYLOAD_TYPE, digest: stolen[0].digest, bytes: stolenPayload });
    await putSignatureManifest("hostile", digest, stolen);
    assert.match((await pulled("hostile")).error, /and its only signature is of another image$/);
    // The registry has the blob, so that five thousand rows of it can be put.
    const rows = Array.from({ length: 4000 }, (_, at) => ({
      ...stolen[0],
      annotations: { [SIGNATURE]: Buffer.from(`forged ${at}`).toString("base64") },
    }));
    await putSignatureManifest("hostile", digest, rows);
    const many = await pulled("hostile");
    assert.match(many.error, /its 1000 signatures are of other images \(only 1000 of its 4000 signatures were read\)$/);
    const full = await gantry("image", "sign", "--key", join(keys, "alice.key"), `${registry.host}/hostile:1`);
    assert.match(full.stderr, /it has 1000 signatures, no more are read/);
    await putSignatureManifest("hostile", digest, [{ ...stolen[0], annotations: { [SIGNATURE]: "!" } }, ...stolen]);
    await sign("hostile:1");
    assert.equal((await pulled("hostile")).error, "");
  });

  test("the engine takes no signature that no reader would", async () => {
    const digest = await pushTo(registry, "put:1", saying("put"));
    const auth = Buffer.from(JSON.stringify({ username: "joe", password: "secret" })).toString("base64url");
    const put = (signatures: unknown, repository = "put") =>
      engine.request(
        "PUT",
        `/gantry/distribution/${encodeURIComponent(`${registry.host}/${repository}`)}/signatures`,
        { Signatures: signatures },
        { "X-Registry-Auth": auth },
      );
    const payloadOf = (of: string) =>
      Buffer.from(
        JSON.stringify({
          critical: {
            identity: { "docker-reference": "a/b" },
            image: { "docker-manifest-digest": of },
            type: "cosign container image signature",
          },
          optional: null,
        }),
      ).toString("base64");
    const none = `sha256:${"0".repeat(64)}`;
    const good = { Digest: digest, Payload: payloadOf(digest), Signature: "aGk=" };
    for (const [signatures, status, message] of [
      [[], 400, /no signature was given/],
      [Array(1000).fill(good), 400, /more than 512 signatures/],
      [[{ ...good, Digest: "../../x" }], 400, /invalid digest/],
      [[{ ...good, Signature: "*" }], 400, /must be base64/],
      [[{ ...good, Payload: "aGVsbG8=" }], 400, /its payload is none/],
      [[{ ...good, Payload: payloadOf(none) }], 400, /its payload is of sha256:000/],
      [[{ Digest: none, Payload: payloadOf(none), Signature: "aGk=" }], 404, /the registry has no such manifest/],
    ] as const) {
      const answer = await put(signatures);
      assert.equal(answer.status, status, answer.text);
      assert.match(answer.json.message, message);
    }
    assert.equal(await signatureManifest("put", digest), undefined);
    const anonymous = await engine.request(
      "GET",
      `/gantry/distribution/${encodeURIComponent(`${registry.host}/put:1`)}/signatures`,
    );
    assert.ok([401, 500].includes(anonymous.status), anonymous.text);
  });

  test("a policy that can't be read changes nothing while the engine runs, and keeps it from starting", async () => {
    await decree(demanding(signedBy("alice")));
    for (const [document, why] of [
      ["{", "it is not JSON"],
      [{ default: [] }, "a list of requirements must not be empty"],
      [demanding(signedBy("nobody")), "nobody.pub cannot be read: no such file"],
    ] as const) {
      const said = await decree(document);
      assert.match(said, /^configuration not reloaded: cannot use the signature policy /);
      assert.ok(said.includes(why), said);
    }
    assert.match((await pulled("put")).error, /demands a signature/);
    const doctor = await gantry("system", "doctor", "engine.signatures");
    assert.equal(doctor.code, 1);
    assert.match(doctor.stdout, /nobody.pub can't be read/);
    await engine.stop();
    await assert.rejects(
      engine.start(),
      /gantryd: cannot use the signature policy .*nobody\.pub cannot be read: no such/,
    );
    writeFileSync(policy, JSON.stringify(demanding(signedBy("alice"))));
    await engine.start();
    const healthy = await gantry("system", "doctor", "engine.signatures");
    assert.match(healthy.stdout, /policy\.json: 1 scope, 1 key/);
  });

  test("who asks for Docker's content trust is told what there is instead", async () => {
    const instead = /Docker Content Trust is not available: sign by `gantry image sign`/;
    for (const command of ["pull", "push", "run", "create"]) {
      const name = `${registry.host}/none`;
      const asked = await engine.tool("gantry", [command, name], { env: { DOCKER_CONTENT_TRUST: "1" } });
      assert.match(asked.stderr, instead, command);
      assert.notEqual(asked.code, 0);
      const flagged = await gantry(command, "--disable-content-trust=false", name);
      assert.match(flagged.stderr, instead, command);
    }
    assert.match((await gantry("trust", "sign", "busybox")).stderr, /gantry image sign/);
  });
});
