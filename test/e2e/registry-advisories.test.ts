import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { enterPrivateHost } from "../../src/kernel/private-host.fixture.ts";
import { type TarEntry, tarOf } from "../archive.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { type FaultyRegistry, startFaultyRegistry } from "../faulty-registry.ts";
import { type Content, contentOf, imageOf, indexOf, layerOf, randomImage, type TestImage } from "../oci-image.ts";
import { pull, pullWell } from "../pulling.ts";
import { copy, importRandom, push } from "../pushing.ts";

/**
 * What other clients of registries and stores of images were broken by, each under its number. In a network namespace of
 * its own, where an address can be one that is not loopback, and nothing answers at those that clouds have.
 */
enterPrivateHost();
const FAR = "198.51.100.1";
execFileSync("ip", ["addr", "add", `${FAR}/32`, "dev", "lo"]);
execFileSync("ip", ["addr", "add", "169.254.169.254/32", "dev", "lo"]);
const AUTH = { username: "joe", password: "secret" };
const SECRETS = ["secret", Buffer.from("joe:secret").toString("base64")];
const LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const BUSYBOX: TarEntry[] = [
  { name: "bin/", type: "directory" },
  { name: "bin/busybox", body: readFileSync("/bin/busybox"), mode: 0o755 },
];

let engine: TestEngine;
/** A file of the host's that no image may change. */
let victim = "";
before(async () => {
  engine = await startEngine({
    image: false,
    args: ["--insecure-registry", "198.51.100.0/24", "--registry-timeout", "2", "--max-download-attempts", "1"],
  });
  victim = join(engine.root, "victim");
  writeFileSync(victim, "untouched", { mode: 0o600 });
});
after(() => engine?.[Symbol.asyncDispose]());

/** Whatever was tried: the host is as it was, no image is here, and what is of others goes with a prune. */
async function assertNothing(): Promise<void> {
  assert.equal(readFileSync(victim, "utf8"), "untouched");
  assert.equal(statSync(victim).mode & 0o777, 0o600);
  assert.ok(!existsSync("/escaped") && !existsSync("/tmp/escaped") && !existsSync(join(engine.root, "escaped")));
  await engine.request("POST", `/images/prune?filters=${encodeURIComponent('{"dangling":["false"]}')}`);
  assert.deepEqual((await engine.request("GET", "/images/json?all=1")).json, []);
  assert.deepEqual(readdirSync(join(engine.dataRoot, "content/blobs/sha256")), []);
  assert.deepEqual(readdirSync(join(engine.dataRoot, "content/ingest")), []);
  assert.deepEqual(readdirSync(join(engine.dataRoot, "snapshots/overlay2/l")), []);
}

/** Pulls what must be refused, and returns the sentence. */
async function refused(registry: FaultyRegistry, image: TestImage, name = "evil"): Promise<string> {
  registry.add(`${name}:1`, image);
  const { error } = await pull(engine, `${registry.host}/${name}`, { tag: "1", auth: AUTH });
  assert.notEqual(error, "", `${name} was pulled`);
  assert.doesNotMatch(error, /\n|secret/);
  return error;
}

/** A server that writes down what it is asked, and wants to know who asks. */
async function listener(
  address: string,
): Promise<{ readonly host: string; readonly seen: string[] } & AsyncDisposable> {
  const seen: string[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    seen.push(`${request.method} ${request.url} ${JSON.stringify(request.rawHeaders)}`);
    request.resume();
    response.writeHead(401, { "WWW-Authenticate": 'Basic realm="here"', "Content-Length": "0" }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  return {
    host: `${address}:${(server.address() as AddressInfo).port}`,
    seen,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

function assertSecretless(seen: readonly string[]): void {
  for (const line of seen) for (const secret of SECRETS) assert.ok(!line.includes(secret), line);
}

test("CVE-2020-15157: where a foreign layer lies nobody learns who asks, however that is asked for", async () => {
  await using registry = await startFaultyRegistry({ auth: "basic", address: FAR });
  await using other = await listener(FAR);
  const layer = layerOf([{ name: "far", body: "far" }], { urls: [`http://${other.host}/layer`] });
  await refused(registry, imageOf({ layers: [layer] }));
  assert.ok(other.seen.length > 0);
  assertSecretless(other.seen);
  assert.ok(other.seen.every((line) => !/authorization/i.test(line)));
  await assertNothing();
});

test("GHSA-vh4v-2xq2-g5cg: another port of the same host is another host", async () => {
  await using registry = await startFaultyRegistry({ auth: "basic", address: FAR });
  await using other = await listener(FAR);
  registry.misbehave({ on: ["blob", "manifest"], act: { kind: "redirect", to: `http://${other.host}` } });
  await refused(registry, randomImage("ports", { layers: 1, size: 1000 }));
  assert.ok(other.seen.length > 0);
  assertSecretless(other.seen);
  await assertNothing();
});

test("CVE-2026-50151: an upload that goes on elsewhere does so without credentials", async () => {
  await using registry = await startFaultyRegistry({ auth: "basic", address: FAR });
  await using other = await listener(FAR);
  await importRandom(engine, `${registry.host}/mine:1`, "mine", 1000);
  registry.misbehave({ on: ["upload-start", "mount"], act: { kind: "location", to: `http://${other.host}` } });
  assert.notEqual((await push(engine, `${registry.host}/mine`, "1", { auth: AUTH })).error, "");
  assert.ok(other.seen.some((line) => /^P(ATCH|UT)/.test(line)));
  assertSecretless(other.seen);
  await assertNothing();
});

test("CVE-2026-48978, CVE-2026-33990: a registry sends nobody to this machine's own services", async () => {
  const says =
    /cannot follow 198\.51\.100\.1:\d+ to \S+: \S+ is an address of this machine alone, or of its link; add \S+ to insecure-registries if it is meant$/;
  for (const inward of ["127.0.0.1", "169.254.169.254"]) {
    await using other = await listener(inward);
    const to = `http://${other.host}`;
    // A token server.
    await using realm = await startFaultyRegistry({ address: FAR });
    const header = { "WWW-Authenticate": `Bearer realm="${to}/token",service="x"` };
    realm.misbehave({ on: "manifest", act: { kind: "status", status: 401, headers: header } });
    assert.match(await refused(realm, randomImage("realm", { layers: 1, size: 1000 })), says);
    // Redirects of a manifest, a layer, an upload; the place of an upload; of a foreign layer; either end of a copy.
    await using registry = await startFaultyRegistry({ address: FAR });
    const image = randomImage("inward", { layers: 1, size: 1000 });
    for (const on of ["manifest", "blob"] as const) {
      registry.misbehave({ on, act: { kind: "redirect", to } });
      assert.match(await refused(registry, image), says, on);
    }
    assert.match((await copy(engine, { from: `${registry.host}/evil:1`, to: `${realm.host}/b` })).error, says);
    const foreign = layerOf([{ name: "far", body: "far" }], { urls: [`${to}/layer`] });
    await refused(registry, imageOf({ layers: [foreign] }), "foreign");
    await importRandom(engine, `${registry.host}/mine:1`, "mine", 1000);
    for (const act of [
      { kind: "redirect", to },
      { kind: "location", to },
    ] as const) {
      registry.misbehave({ on: ["upload-start", "mount"], act });
      assert.match((await push(engine, `${registry.host}/mine`, "1")).error, says, act.kind);
    }
    registry.heal();
    await assertNothing();
    assert.deepEqual(other.seen, []);
  }
});

test("CVE-2021-41190: a manifest is what it says itself, or nothing", async () => {
  await using registry = await startFaultyRegistry();
  const image = randomImage("both", { layers: 1, size: 1000 });
  const index = indexOf([randomImage("inner", { layers: 1, size: 1000 })]);
  const rows = JSON.parse(index.manifest.bytes.toString());
  const both = (mediaType?: string): Content => {
    const plain = JSON.parse(image.manifest.bytes.toString());
    const { mediaType: _, ...rest } = { ...rows, ...plain };
    return contentOf(
      mediaType ?? MANIFEST,
      Buffer.from(JSON.stringify(mediaType === undefined ? rest : { ...rest, mediaType })),
    );
  };
  for (const [at, manifest] of [both(), both(MANIFEST), both(INDEX)].entries()) {
    registry.add("both:1", image);
    registry.add("both:2", index);
    registry.addManifest(`both:both-${at}`, manifest);
    const { error } = await pull(engine, `${registry.host}/both`, { tag: `both-${at}` });
    assert.match(error, /its manifest could be read as an image and as an index$/);
  }
  // The answer's type changes nothing of what a digest means.
  const digest = registry.add("both:1", image);
  for (const type of [INDEX, MANIFEST, "application/json"]) {
    registry.misbehave({ on: "manifest", act: { kind: "header", name: "Content-Type", value: type } });
    await pullWell(engine, `${registry.host}/both@${digest}`);
    const { json } = await engine.request("GET", `/images/${registry.host}/both@${digest}/json`);
    assert.equal(json.Id, image.config.digest);
    await engine.request("DELETE", `/images/${json.Id}?force=1`);
  }
  await assertNothing();
});

test("CVE-2021-21285, CVE-2024-3727, GHSA-f36w-mj3v-6jqv: documents that are none, digests that are paths, sizes beyond memory", async () => {
  await using registry = await startFaultyRegistry();
  const { pid } = engine;
  const good = randomImage("odd", { layers: 1, size: 1000 });
  const plain = JSON.parse(good.manifest.bytes.toString());
  const digests = [
    "",
    "sha256:",
    `sha256:${"../".repeat(21)}a`,
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "sha256:ABC",
    `sha256:${"A".repeat(64)}`,
    `sha256:${"0".repeat(63)}/`,
    `x/../sha256:${"0".repeat(64)}`,
    "sha512:00",
    null,
    5,
    {},
    "__proto__:x",
  ];
  const row = (digest: unknown, size: unknown = 5): object => ({ mediaType: LAYER, digest, size });
  const sizes = [-1, 0.5, 2 ** 53, 1e308, "5", null, Number.MAX_SAFE_INTEGER];
  const documents: unknown[] = [
    null,
    [],
    5,
    "text",
    {},
    { schemaVersion: 2 },
    { schemaVersion: 3, config: {}, layers: [] },
    { ...plain, layers: null },
    { ...plain, layers: {} },
    { ...plain, layers: [null] },
    { ...plain, config: null },
    { ...plain, config: [] },
    { schemaVersion: 2, mediaType: INDEX, manifests: [null] },
    { schemaVersion: 2, mediaType: INDEX, manifests: [{ digest: 5 }] },
    ...digests.flatMap((digest) => [
      { ...plain, layers: [row(digest)] },
      { ...plain, config: { ...plain.config, digest } },
      { schemaVersion: 2, mediaType: INDEX, manifests: [{ ...row(digest), mediaType: MANIFEST }] },
    ]),
    ...sizes.flatMap((size) => [
      { ...plain, layers: [row(plain.layers[0].digest, size)] },
      { ...plain, config: { ...plain.config, size } },
    ]),
  ];
  const before = engine.residentBytes;
  for (const [at, document] of documents.entries()) {
    registry.add("odd:good", good);
    registry.addManifest(`odd:${at}`, contentOf(MANIFEST, Buffer.from(JSON.stringify(document))));
    const { error } = await pull(engine, `${registry.host}/odd`, { tag: String(at) });
    assert.notEqual(error, "", JSON.stringify(document));
    assert.doesNotMatch(error, /\n|\[object|TypeError|RangeError|Cannot read/, JSON.stringify(document));
  }
  for (const diffId of digests) await refused(registry, imageOf({ diffIds: [diffId as string] }), "diffs");
  assert.equal(engine.pid, pid);
  assert.ok(engine.residentBytes - before < 100 << 20, "a told size is no reason to take memory");
  await assertNothing();
});

test("CVE-2021-32760, CVE-2026-50163, CVE-2021-29136: links and roots of a layer lead nowhere else", async () => {
  await using registry = await startFaultyRegistry();
  const layers: Record<string, TarEntry[]> = {
    "a hard link to a link": [
      { name: "link", type: "symlink", link: victim },
      { name: "hard", type: "hardlink", link: "link", mode: 0o777 },
      { name: "hard", body: "changed", mode: 0o777 },
    ],
    "a hard link by a name that the engine's own folder has": [
      { name: "hard", type: "hardlink", link: "package.json" },
    ],
    "a hard link upwards": [{ name: "hard", type: "hardlink", link: `../../../../../../../..${victim}` }],
    "a root that is a link": [
      { name: ".", type: "symlink", link: engine.root },
      { name: "victim", body: "changed" },
    ],
    "a root that is a link, by another name": [
      { name: "/", type: "symlink", link: engine.root },
      { name: "escaped", body: "out" },
    ],
    "a folder that becomes a link": [
      { name: "dir/", type: "directory" },
      { name: "dir", type: "symlink", link: engine.root },
      { name: "dir/victim", body: "changed", mode: 0o777 },
    ],
  };
  for (const [title, entries] of Object.entries(layers)) {
    for (const compression of ["gzip", "zstd"] as const) {
      registry.add("links:1", imageOf({ layers: [layerOf(entries, { compression })] }));
      const { error } = await pull(engine, `${registry.host}/links`, { tag: "1" });
      assert.doesNotMatch(error, /\n/, title);
      if (error === "") await engine.request("DELETE", `/images/${registry.host}/links:1`);
      await assertNothing();
    }
  }
});

test("CVE-2022-23648: volumes that an image names lie in its root", async () => {
  await using registry = await startFaultyRegistry();
  for (const path of ["/../../../etc", "..", `/x/../../../../..${victim}`]) {
    assert.match(
      await refused(registry, imageOf({ process: { Volumes: { [path]: {} } } })),
      /a volume's path cannot have ".."$/,
    );
  }
  const layer = layerOf([...BUSYBOX, { name: "data", type: "symlink", link: `/../../../../../..${engine.root}` }]);
  registry.add(
    "volume:1",
    imageOf({ layers: [layer], process: { Volumes: { "/data": {} }, Cmd: ["/bin/busybox", "ls", "/data/"] } }),
  );
  await pullWell(engine, `${registry.host}/volume`, { tag: "1" });
  const { code, stdout, stderr } = await engine.gantry("run", "--rm", "--network", "none", `${registry.host}/volume:1`);
  assert.doesNotMatch(stdout + stderr, /victim/, String(code));
  await engine.request("DELETE", `/images/${registry.host}/volume:1`);
  await assertNothing();
});

test("CVE-2024-40635, CVE-2026-46680: a user whose number is too large is nobody, also where a table says so", async () => {
  await using registry = await startFaultyRegistry();
  for (const User of ["4294967296", "2147483648", "99999999999999999999", "0:4294967296"]) {
    const passwd = `${User.split(":").at(-1)}:x:0:0::/:/bin/sh\n`;
    const layer = layerOf([...BUSYBOX, { name: "etc/passwd", body: passwd }, { name: "etc/group", body: passwd }]);
    registry.add("user:1", imageOf({ layers: [layer], process: { User, Cmd: ["/bin/busybox", "id"] } }));
    await pullWell(engine, `${registry.host}/user`, { tag: "1" });
    const { code, stdout, stderr } = await engine.gantry("run", "--rm", "--network", "none", `${registry.host}/user:1`);
    assert.notEqual(code, 0, stdout);
    assert.match(stderr, /uids and gids must be in range 0-2147483647/);
    assert.doesNotMatch(stdout, /uid=/);
    await engine.request("DELETE", `/images/${registry.host}/user:1?force=1`);
  }
  await assertNothing();
});

test("CVE-2026-47262: tables of users without end cost neither time nor memory", async () => {
  await using registry = await startFaultyRegistry();
  const tables: Record<string, [string, RegExp]> = {
    rows: ["a\n".repeat(2_000_000), /cannot read \/etc\/group: it has more than 65536 rows/],
    long: [`g:x:1:${"a".repeat(60 << 20)}\n`, /cannot read \/etc\/group: /],
  };
  for (const [name, [body, says]] of Object.entries(tables)) {
    const layer = layerOf([...BUSYBOX, { name: "etc/passwd", body: "root:x:0:0::/:\n" }, { name: "etc/group", body }]);
    registry.add("table:1", imageOf({ layers: [layer], process: { User: "root", Cmd: ["/bin/busybox", "true"] } }));
    await pullWell(engine, `${registry.host}/table`, { tag: "1" });
    const before = engine.residentBytes;
    const { code, stderr } = await engine.gantry("run", "--rm", "--network", "none", `${registry.host}/table:1`);
    assert.notEqual(code, 0, name);
    assert.match(stderr, says);
    assert.ok(engine.residentBytes - before < 150 << 20, `${(engine.residentBytes - before) >> 20} MiB`);
    await engine.request("DELETE", `/images/${registry.host}/table:1?force=1`);
  }
  await assertNothing();
});

test("CVE-2025-58183: maps of sparse files and headers without end are refused before they are kept", async () => {
  await using registry = await startFaultyRegistry();
  const record = (key: string, value: string): string => {
    const rest = ` ${key}=${value}\n`;
    const length = rest.length + String(rest.length + String(rest.length).length).length;
    return `${length}${rest}`;
  };
  const before = engine.residentBytes;
  const bombs: Record<string, Buffer> = {
    "a map of a hundred megabytes": sparseTar(record, "1\n".repeat(50 << 20)),
    "a header of a hundred megabytes": headed("x", Buffer.from(record("comment", "a".repeat(100 << 20)))),
    "a header for all of a hundred megabytes": headed("g", Buffer.from(record("comment", "a".repeat(100 << 20)))),
    "a name of a hundred megabytes": headed("L", Buffer.alloc(100 << 20, "a")),
  };
  for (const [title, tar] of Object.entries(bombs)) {
    const error = await refused(registry, imageOf({ layers: [layerOf(tar)] }));
    assert.match(error, /cannot extract layer sha256:\w{64}: /, title);
    assert.ok(engine.residentBytes - before < 200 << 20, `${title}: ${(engine.residentBytes - before) >> 20} MiB`);
  }
  await assertNothing();
});

function sparseTar(record: (key: string, value: string) => string, map: string): Buffer {
  const pax = ["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=a", "GNU.sparse.realsize=10"];
  const fields = Buffer.from(pax.map((row) => record(...(row.split("=") as [string, string]))).join(""));
  return Buffer.concat([
    headed("x", fields).subarray(0, -1024),
    tarOf([{ name: "a", body: `${map.length / 4}\n${map}` }]),
  ]);
}

/** An archive whose first member is a header of one kind, with this text. */
function headed(flag: string, text: Buffer): Buffer {
  const tar = tarOf([{ name: "header", body: text }]);
  tar.write(flag, 156);
  tar.fill(" ", 148, 156);
  const sum = tar.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  tar.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([tar.subarray(0, -1024), Buffer.alloc(1024)]);
}

test("CVE-2026-53488: labels of an image are told and followed nowhere", async () => {
  await using registry = await startFaultyRegistry();
  const uri = `binary:///bin/sh?-c=touch%20${victim}`;
  const Labels = Object.fromEntries(
    ["containerd.io/restart.loguri", "io.containerd.image.logger", "gantry.log", "com.docker.volume.anonymous"].map(
      (key) => [key, uri],
    ),
  );
  const layer = layerOf(BUSYBOX);
  registry.add("labels:1", imageOf({ layers: [layer], process: { Labels, Cmd: ["/bin/busybox", "true"] } }));
  await pullWell(engine, `${registry.host}/labels`, { tag: "1" });
  const { code, stderr } = await engine.gantry("run", "--rm", "--network", "none", `${registry.host}/labels:1`);
  assert.equal(code, 0, stderr);
  await engine.request("DELETE", `/images/${registry.host}/labels:1?force=1`);
  await assertNothing();
});

test("CVE-2021-41091, CVE-2021-41089, CVE-2024-25621: other users of the machine read nothing of images and records", async () => {
  await using registry = await startFaultyRegistry();
  const setuid: TarEntry = { name: "bin/root", body: readFileSync("/bin/busybox"), mode: 0o4755 };
  const layer = layerOf([...BUSYBOX, setuid, { name: "private", body: "private", mode: 0o644 }]);
  registry.add("modes:1", imageOf({ layers: [layer], process: { Cmd: ["/bin/busybox", "sleep", "1000"] } }));
  await pullWell(engine, `${registry.host}/modes`, { tag: "1" });
  const Env = ["PASSWORD=of-the-container"];
  const { json } = await engine.request("POST", "/containers/create", {
    Image: `${registry.host}/modes:1`,
    Env,
    HostConfig: { NetworkMode: "none" },
  });
  assert.equal((await engine.request("POST", `/containers/${json.Id}/start`)).status, 204);
  chmodSync(engine.root, 0o755);
  // By names that are known to whoever looks: nobody can list the folders themselves.
  const all = execFileSync("find", [engine.dataRoot, engine.execRoot, "-type", "f"], { encoding: "utf8" })
    .trim()
    .split("\n");
  const readable = execFileSync(
    "setpriv",
    [
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      "sh",
      "-c",
      'while read -r path; do [ ! -r "$path" ] || echo "$path"; done',
    ],
    { encoding: "utf8", input: `${all.join("\n")}\n` },
  );
  chmodSync(engine.root, 0o700);
  await engine.request("DELETE", `/containers/${json.Id}?force=1`);
  await engine.request("DELETE", `/images/${registry.host}/modes:1?force=1`);
  // The engine's pid is everybody's.
  assert.deepEqual(readable.trim().split("\n"), [join(engine.execRoot, "gantryd.pid")]);
  assert.ok(all.some((path) => path.endsWith("/rootfs/bin/root")));
  await assertNothing();
});
