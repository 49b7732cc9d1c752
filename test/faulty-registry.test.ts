import assert from "node:assert/strict";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { ContainersTools, toolMissing } from "./containers-tools.ts";
import { type Act, type Fault, type FaultyRegistry, startFaultyRegistry } from "./faulty-registry.ts";
import { makeTestRoot, removeTestRoot } from "./leftovers.ts";
import { contentsOf, imageOf, indexOf, pushTo, randomImage } from "./oci-image.ts";

const NO_SKOPEO = toolMissing("skopeo");
const IMAGE = randomImage("faulty", { layers: 1, size: 20_000 });
const LAYER = IMAGE.layers[0]!;
const PATH = `/v2/a/b/blobs/${LAYER.digest}`;

let root: string;

before(() => {
  root = makeTestRoot();
});

after(() => removeTestRoot(root));

interface Got {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
  /** How it ended. */
  readonly ending: "end" | "cut" | "silence" | "abandoned";
}

/** One request as a client without mercy makes it: waits so long for more, takes so much. */
function get(
  registry: FaultyRegistry,
  path: string,
  options: { readonly headers?: Record<string, string>; readonly silenceMs?: number; readonly most?: number } = {},
): Promise<Got> {
  const { headers = {}, silenceMs = 300, most = 1 << 20 } = options;
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    let head: IncomingMessage | undefined;
    const done = (ending: Got["ending"]): void => {
      timer.close();
      call.destroy();
      resolve({ status: head?.statusCode ?? 0, headers: head?.headers ?? {}, body: Buffer.concat(pieces), ending });
    };
    const timer = setTimeout(() => done("silence"), silenceMs);
    const call = httpRequest(`${registry.url}${path}`, { headers, agent: false }, (answer) => {
      head = answer;
      answer.on("data", (piece: Buffer) => {
        pieces.push(piece);
        timer.refresh();
        if (pieces.reduce((sum, { length }) => sum + length, 0) > most) done("abandoned");
      });
      answer.once("end", () => done("end"));
      answer.once("error", () => done("cut"));
    });
    call.once("error", () => done("cut"));
    call.end();
  });
}

async function withFault(act: Act, more: Partial<Fault> = {}): Promise<FaultyRegistry> {
  const registry = await startFaultyRegistry({ faults: [{ on: "blob", act, ...more }] });
  registry.add("a/b:1", IMAGE);
  return registry;
}

const { bytes } = LAYER;
const cases: readonly {
  readonly name: string;
  readonly act: Act;
  readonly is: Partial<Got>;
  readonly range?: string;
}[] = [
  { name: "refuses", act: { kind: "status", status: 429 }, is: { status: 429, ending: "end" } },
  { name: "hangs before the head", act: { kind: "hang" }, is: { status: 0, ending: "silence" } },
  {
    name: "hangs in the middle",
    act: { kind: "hang", after: 5000 },
    is: { status: 200, body: bytes.subarray(0, 5000), ending: "silence" },
  },
  { name: "cuts before the head", act: { kind: "cut" }, is: { status: 0, ending: "cut" } },
  {
    name: "cuts in the middle",
    act: { kind: "cut", after: 5000 },
    is: { body: bytes.subarray(0, 5000), ending: "cut" },
  },
  {
    name: "cuts in the middle of a range",
    range: "bytes=5000-",
    act: { kind: "cut", after: 5000 },
    is: { status: 206, body: bytes.subarray(5000, 10_000), ending: "cut" },
  },
  { name: "truncates", act: { kind: "truncate", at: 77 }, is: { body: bytes.subarray(0, 77), ending: "end" } },
  {
    name: "lies by a length too long",
    act: { kind: "told-length", length: bytes.length + 9 },
    is: { body: bytes, ending: "cut" },
  },
  {
    name: "lies by a length too short",
    act: { kind: "told-length", length: 9 },
    is: { body: bytes.subarray(0, 9), ending: "end" },
  },
  { name: "tells no length", act: { kind: "no-length" }, is: { body: bytes, ending: "end" } },
  { name: "never ends", act: { kind: "endless" }, is: { status: 200, ending: "abandoned" } },
  { name: "knows no ranges", range: "bytes=5-", act: { kind: "no-ranges" }, is: { status: 200, body: bytes } },
  {
    name: "serves another range and says so",
    range: "bytes=50-99",
    act: { kind: "wrong-range", shift: -10, isTold: true },
    is: { status: 206, body: bytes.subarray(40, 100) },
  },
  {
    name: "serves another range and lies",
    range: "bytes=50-99",
    act: { kind: "wrong-range", shift: 10, isTold: false },
    is: { status: 206, body: bytes.subarray(60, 100) },
  },
  { name: "refuses ranges", range: "bytes=50-", act: { kind: "refuse-ranges" }, is: { status: 416 } },
  { name: "redirects in a circle", act: { kind: "redirect", to: "loop" }, is: { status: 307 } },
  { name: "is slow", act: { kind: "slow", bytesPerSecond: 40_000 }, is: { status: 200, body: bytes, ending: "end" } },
];

for (const { name, act, is, range } of cases) {
  test(`a faulty registry ${name}, and only where it is told to`, async () => {
    await using registry = await withFault(act, { method: "GET" });
    const got = await get(registry, PATH, { headers: range === undefined ? {} : { Range: range }, most: 200_000 });
    for (const [key, value] of Object.entries(is)) assert.deepEqual(got[key as keyof Got], value, key);
    const manifest = await get(registry, "/v2/a/b/manifests/1");
    assert.deepEqual(manifest.body, IMAGE.manifest.bytes);
    registry.heal();
    assert.deepEqual((await get(registry, PATH)).body, bytes);
  });
}

test("a fault happens as often as it was told to, after as many requests as it was told to let pass", async () => {
  await using registry = await withFault({ kind: "status", status: 500 }, { skip: 1, times: 2 });
  const statuses: number[] = [];
  for (let at = 0; at < 5; at++) statuses.push((await get(registry, PATH)).status);
  assert.deepEqual(statuses, [200, 500, 500, 200, 200]);
  assert.deepEqual(
    registry.asked("blob", "GET").map(({ status }) => status),
    statuses,
  );
});

test("wrong bytes have the right length and the wrong digest, a body compressed unasked says so", async () => {
  await using registry = await withFault({ kind: "wrong-bytes" });
  const got = await get(registry, PATH);
  assert.equal(got.body.length, bytes.length);
  assert.notDeepEqual(got.body, bytes);
  registry.misbehave({ on: "blob", act: { kind: "encoded" } });
  assert.equal((await get(registry, PATH)).headers["content-encoding"], "gzip");
});

for (const options of [{}, { auth: "basic" }, { auth: "bearer" }, { tls: "trusted" }, { minChunk: 1 }] as const) {
  const title = JSON.stringify(options);
  test(`skopeo pushes to and pulls from a faulty registry without faults: ${title}`, { skip: NO_SKOPEO }, async () => {
    await using registry = await startFaultyRegistry(options);
    const source = await startFaultyRegistry();
    await using _ = source;
    const index = indexOf([imageOf(), imageOf({ platform: { os: "linux", architecture: "s390x" } })]);
    await pushTo(source, "from/here:1", index);
    const certs = join(root, "certs.d");
    registry.writeCertificates(certs);
    const isTls = "tls" in options;
    const side = (name: "src" | "dest", target: FaultyRegistry) => [
      ...(target === registry && isTls
        ? [`--${name}-cert-dir`, join(certs, target.host)]
        : [`--${name}-tls-verify=false`]),
      ...(target === registry && "auth" in options ? [`--${name}-creds`, "joe:secret"] : []),
    ];
    const copy = async (from: FaultyRegistry, fromName: string, to: FaultyRegistry, toName: string) => {
      const flags = ["copy", "--all", ...side("src", from), ...side("dest", to)];
      const names = [`docker://${from.host}/${fromName}`, `docker://${to.host}/${toName}`];
      await new ContainersTools(join(root, "tools")).ok("skopeo", ...flags, ...names);
    };
    await copy(source, "from/here:1", registry, "there/x:2");
    await copy(registry, "there/x:2", source, "back/y:3");
    const { blobs, manifests } = contentsOf(index);
    for (const { digest } of [...blobs, ...manifests]) assert.ok(source.has("back/y", digest), digest);
    assert.equal(source.stock.tags.get("back/y:3"), index.manifest.digest);
  });
}

test("what a cut upload brought is kept, and the upload goes on there", async () => {
  await using registry = await startFaultyRegistry({
    faults: [{ on: "upload-chunk", times: 1, act: { kind: "cut-upload", after: 10_000 } }],
  });
  const begun = await registry.request("POST", "/v2/a/b/blobs/uploads/");
  const place = begun.headers.location ?? "";
  await assert.rejects(fetch(place, { method: "PATCH", body: new Uint8Array(bytes) }));
  const status = await fetch(place);
  assert.equal(status.headers.get("range"), "0-9999");
  const wrong = await fetch(place, { method: "PATCH", body: "x", headers: { "Content-Range": "5-5" } });
  assert.equal(wrong.status, 416);
  const rest = new Uint8Array(bytes.subarray(10_000));
  const end = await fetch(`${place}&digest=${LAYER.digest}`, { method: "PUT", body: rest });
  assert.equal(end.status, 201);
  assert.ok(registry.has("a/b", LAYER.digest));
});

test("a token is good for what it was given for, for as many uses as were told, and until it is expired", async () => {
  await using registry = await startFaultyRegistry({ auth: "bearer", tokenUses: 2 });
  registry.add("a/b:1", IMAGE);
  const tokenFor = async (scope: string): Promise<Record<string, string>> => {
    const Authorization = `Basic ${Buffer.from("joe:secret").toString("base64")}`;
    const { body } = await get(registry, `/token?scope=${scope}`, { headers: { Authorization } });
    return { Authorization: `Bearer ${JSON.parse(body.toString()).token}` };
  };
  const good = await tokenFor("repository:a/b:pull,push");
  const other = await tokenFor("repository:a/c:pull");
  const status = async (headers: Record<string, string>) => (await get(registry, PATH, { headers })).status;
  assert.equal(await status(other), 401);
  assert.deepEqual([await status(good), await status(good), await status(good)], [200, 200, 401]);
  const late = await tokenFor("repository:a/b:pull");
  registry.expireTokens();
  assert.equal(await status(late), 401);
  const challenge = (await get(registry, PATH)).headers["www-authenticate"] ?? "";
  assert.match(challenge, /^Bearer realm="http:.*\/token",service="a test",scope="repository:a\/b:pull"$/);
});

test("a registry that hangs lets go of its connections when it is disposed of", async () => {
  const registry = await withFault({ kind: "hang" });
  const waiting = get(registry, PATH, { silenceMs: 20_000 });
  while (registry.requests.length === 0) await pause(5);
  await registry[Symbol.asyncDispose]();
  assert.equal((await waiting).ending, "cut");
});
