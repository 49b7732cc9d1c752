import assert from "node:assert/strict";
import { test } from "node:test";
import { type Act, type Fault, type FaultyRegistry, startFaultyRegistry } from "../../test/faulty-registry.ts";
import { imageOf, layerOf, randomBytesOf } from "../../test/oci-image.ts";
import { giveBackSlab } from "../base/slabs.ts";
import type { Descriptor } from "../oci/image.ts";
import { parseNormalized } from "../oci/reference.ts";
import { ANONYMOUS, type Credentials } from "./credentials.ts";
import { registries, serve } from "./registry.fixture.ts";
import type { Registries } from "./registry.ts";
import type { Repository } from "./repository.ts";
import type { RemoteSettings, TimeLimits, Waiting } from "./settings.ts";

const JOE: Credentials = { ...ANONYMOUS, username: "joe", password: "secret" };
const QUICK: Partial<TimeLimits> = { backOff: 5, longestBackOff: 20, idle: 150, head: 2000, rateWindow: 200 };
const SIZE = 300_000;
const blob = layerOf(randomBytesOf("short", SIZE), { compression: "none" });
const image = imageOf({ layers: [blob] });
const layer: Descriptor = { mediaType: blob.mediaType, digest: blob.digest, size: SIZE };
/** Long enough to be read past Node's parser. */
const long = layerOf(randomBytesOf("long", 40 << 20), { compression: "none" });
const longImage = imageOf({ layers: [long] });
const longLayer: Descriptor = { mediaType: long.mediaType, digest: long.digest, size: long.bytes.length };

async function registryWith(...acts: Act[]): Promise<FaultyRegistry> {
  const registry = await startFaultyRegistry({ faults: acts.map((act): Fault => ({ on: "blob", act })) });
  registry.add("a/b:1", image);
  return registry;
}

function quick(settings: Partial<RemoteSettings> = {}, limits: Partial<TimeLimits> = {}) {
  return registries(settings, { limits: { ...QUICK, ...limits } });
}

function at<T>(
  all: Registries,
  host: string,
  act: (repository: Repository) => Promise<T>,
  credentials = ANONYMOUS,
): Promise<T> {
  return all.reading(parseNormalized(`${host}/a/b:1`), credentials, act);
}

/** The bytes from `offset` on, with what was fetched. */
async function read(all: Registries, host: string, offset = 0, waiting: Waiting = {}): Promise<Buffer> {
  return at(all, host, (repository) => collect(repository, layer, offset, waiting));
}

async function collect(repository: Repository, descriptor: Descriptor, offset = 0, waiting: Waiting = {}) {
  const pieces: Buffer[] = [];
  for await (const piece of repository.read(descriptor, offset, waiting)) {
    // As takers do: what is given back is overwritten at once.
    pieces.push(Buffer.from(piece));
    giveBackSlab(piece);
  }
  return Buffer.concat(pieces);
}

function rest(offset: number): Buffer {
  return blob.bytes.subarray(offset);
}

function ranges(registry: FaultyRegistry): (string | undefined)[] {
  return registry.asked("blob").map(({ headers }) => headers.range);
}

test("what comes again of a registry without ranges comes no faster than may be, either", async () => {
  const acts: Fault[] = [
    { on: "blob", act: { kind: "no-ranges" } },
    { on: "blob", act: { kind: "cut", after: 250_000 }, times: 1 },
  ];
  await using registry = await startFaultyRegistry({ faults: acts });
  registry.add("a/b:1", image);
  using all = quick({ maxDownloadRate: 500_000 });
  const begun = performance.now();
  assert.ok((await read(all, registry.host)).equals(blob.bytes));
  const ms = performance.now() - begun;
  // 550,000 bytes came, of which the first tenth of a second's were free.
  assert.ok(ms > 900, `${ms} ms`);
});

test("goes on by ranges where a registry cuts the line again and again", async () => {
  await using registry = await registryWith({ kind: "cut", after: 70_000 });
  using all = quick();
  assert.ok((await read(all, registry.host)).equals(blob.bytes));
  const from = [undefined, 70_000, 140_000, 210_000, 280_000].map((start) => start && `bytes=${start}-`);
  assert.deepEqual(ranges(registry), from);
  assert.equal(
    registry.asked("blob").reduce((sum, { sent }) => sum + sent, 0),
    SIZE,
  );
});

test("takes a blob from any byte on, also of a registry that knows no ranges or serves earlier ones", async () => {
  const acts: Act[] = [
    { kind: "header", name: "X-Nothing", value: "wrong" },
    { kind: "no-ranges" },
    { kind: "refuse-ranges" },
    { kind: "wrong-range", shift: -1000, isTold: true },
    { kind: "wrong-range", shift: 1000, isTold: true },
    { kind: "no-length" },
  ];
  for (const act of acts) {
    await using registry = await registryWith(act);
    using all = quick();
    for (const offset of [0, 1, 123_456, SIZE - 1, SIZE]) {
      assert.ok((await read(all, registry.host, offset)).equals(rest(offset)), `${act.kind} ${offset}`);
    }
  }
});

test("notices by the digest a registry that tells one range and serves another", async () => {
  await using registry = await startFaultyRegistry({
    faults: [
      { on: "blob", act: { kind: "cut", after: 1000 }, times: 1 },
      { on: "blob", act: { kind: "wrong-range", shift: 5, isTold: false }, skip: 1 },
    ],
  });
  registry.add("a/b:1", image);
  using all = quick({ maxDownloadAttempts: 2 });
  const verified = at(all, registry.host, async (repository) => {
    for await (const _ of repository.blob(layer, {}));
  });
  await assert.rejects(verified, /^GantryError: (filesystem layer verification failed for digest|cannot read) sha256:/);
});

test("refuses a blob of another length before or as soon as there is too much of it", async () => {
  const cases: [Act, RegExp][] = [
    [{ kind: "truncate", at: 1000 }, /^filesystem layer verification failed for digest \S+: it has 1000 bytes where/],
    [{ kind: "other-body", body: Buffer.alloc(SIZE + 1) }, /verification failed for digest \S+: it has 300001 bytes/],
    [{ kind: "endless" }, /verification failed for digest \S+: more than 300000 bytes came$/],
    [{ kind: "encoded" }, /verification failed for digest/],
  ];
  for (const [act, message] of cases) {
    await using registry = await registryWith(act);
    using all = quick();
    await assert.rejects(read(all, registry.host), (error: Error) => {
      assert.match(error.message, message, act.kind);
      return true;
    });
    assert.equal(registry.asked("blob").length, 1, act.kind);
  }
});

test("gives up after so many tries in a row that bring no byte, and says why", async () => {
  await using registry = await startFaultyRegistry({
    faults: [
      { on: "blob", act: { kind: "cut", after: 100_000 }, times: 2 },
      { on: "blob", act: { kind: "cut" }, skip: 2 },
    ],
  });
  registry.add("a/b:1", image);
  using all = quick({ maxDownloadAttempts: 3 });
  await assert.rejects(read(all, registry.host), /EOF$/);
  assert.equal(registry.asked("blob").length, 2 + 3);
});

test("gives up a registry that falls silent, and goes on where that was", async () => {
  await using registry = await startFaultyRegistry({
    faults: [{ on: "blob", act: { kind: "hang", after: 100_000 }, times: 1 }],
  });
  registry.add("a/b:1", image);
  using all = quick();
  assert.ok((await read(all, registry.host)).equals(blob.bytes));
  assert.deepEqual(ranges(registry), [undefined, "bytes=100000-"]);
});

test("ends a download that brings next to nothing for ever, unless that is allowed", async () => {
  await using registry = await registryWith({ kind: "slow", bytesPerSecond: 300_000 });
  using strict = quick({ minTransferRate: 10_000_000 }, { idle: 5000 });
  await assert.rejects(read(strict, registry.host), /it comes at \d+ bytes a second, less than min-transfer-rate/);
  assert.equal(registry.asked("blob").length, 1);
  registry.misbehave({ on: "blob", act: { kind: "slow", bytesPerSecond: 600_000 } });
  using patient = quick({ minTransferRate: 0 });
  assert.ok((await read(patient, registry.host)).equals(blob.bytes));
});

test("does not count the time that its taker takes", async () => {
  await using registry = await registryWith();
  using all = quick({ minTransferRate: 1_000_000 }, { idle: 100, rateWindow: 50 });
  await at(all, registry.host, async (repository) => {
    let count = 0;
    for await (const piece of repository.read(layer, 0, {})) {
      count += piece.length;
      if (count < 150_000) await new Promise((resolve) => setTimeout(resolve, 120));
    }
    assert.equal(count, SIZE);
  });
});

test("waits as a registry asks for by Retry-After, in seconds or until a date, and says so", async () => {
  const soon = () => new Date(Date.now() + 1100).toUTCString();
  for (const after of ["1", soon()]) {
    await using registry = await startFaultyRegistry({
      faults: [{ on: "blob", act: { kind: "status", status: 429, headers: { "Retry-After": after } }, times: 1 }],
    });
    registry.add("a/b:1", image);
    using all = quick();
    const waits: number[] = [];
    await read(all, registry.host, 0, { onWait: (milliseconds) => waits.push(milliseconds) });
    assert.equal(waits.length, 1);
    assert.ok((waits[0] ?? 0) <= 1100, String(waits));
  }
});

test("passes a Retry-After of a day on at once, and waits no longer than its caller", async () => {
  await using registry = await registryWith({ kind: "status", status: 429, headers: { "Retry-After": "86400" } });
  using all = quick();
  await assert.rejects(
    read(all, registry.host),
    /^RefusedError: toomanyrequests: You have reached your pull rate limit$/,
  );
  assert.equal(registry.asked("blob").length, 1);
  registry.misbehave({ on: "blob", act: { kind: "status", status: 503, headers: { "Retry-After": "100" } } });
  const leaving = new AbortController();
  const reading = read(all, registry.host, 0, { signal: leaving.signal, onWait: () => leaving.abort() });
  await assert.rejects(reading, /^GantryError: context canceled$/);
});

test("tries again what a registry fails at with 500, for manifests as for blobs", async () => {
  const bad: Act = { kind: "status", status: 500 };
  await using registry = await startFaultyRegistry({
    faults: [
      { on: "blob", act: bad, times: 4 },
      { on: "manifest", act: bad, times: 2 },
    ],
  });
  registry.add("a/b:1", image);
  using all = quick();
  await at(all, registry.host, async (repository) => {
    assert.equal((await repository.resolve("1", {})).digest, image.manifest.digest);
    assert.ok((await collect(repository, layer)).equals(blob.bytes));
  });
  registry.misbehave({ on: "manifest", act: bad });
  const message = /^RefusedError: received unexpected HTTP status: 500 Internal Server Error$/;
  await assert.rejects(
    at(all, registry.host, (repository) => repository.manifest("1", {})),
    message,
  );
});

test("gets a new token when one runs out in the middle of a download, once for all that need it", async () => {
  const faults: Fault[] = [{ on: "blob", act: { kind: "cut", after: 200_000 } }];
  await using registry = await startFaultyRegistry({ auth: "bearer", faults });
  registry.add("a/b:1", image);
  using all = quick();
  await at(
    all,
    registry.host,
    async (repository) => {
      await repository.resolve("1", {});
      registry.forget();
      const readers = [0, 1, 2].map(async () => {
        let count = 0;
        for await (const piece of repository.read(layer, 0, {})) {
          count += piece.length;
          if (count <= 200_000) registry.expireTokens();
        }
        assert.equal(count, SIZE);
      });
      await Promise.all(readers);
    },
    JOE,
  );
  const tokens = registry.asked("token").length;
  assert.ok(tokens >= 1 && tokens <= 3, `${tokens} tokens`);
});

test("asks for nothing but what it wants once it knows how to prove itself", async () => {
  for (const auth of ["basic", "bearer"] as const) {
    await using registry = await startFaultyRegistry({ auth });
    registry.add("a/b:1", image);
    using all = quick();
    const resolve = (credentials: Credentials) =>
      at(all, registry.host, (repository) => repository.resolve("1", {}), credentials);
    await resolve(JOE);
    registry.forget();
    await resolve(JOE);
    assert.deepEqual(
      registry.requests.filter(({ status }) => status !== 0).map(({ method, step }) => `${method} ${step}`),
      ["HEAD manifest"],
    );
    await assert.rejects(resolve(ANONYMOUS), /no basic auth credentials|unauthorized: authentication required/);
  }
});

test("undoes a compression of a manifest that nobody asked for, up to a manifest's length", async () => {
  await using registry = await startFaultyRegistry({ faults: [{ on: "manifest", act: { kind: "encoded" } }] });
  registry.add("a/b:1", image);
  using all = quick();
  const found = await at(all, registry.host, (repository) => repository.manifest("1", {}));
  assert.equal(found.descriptor.digest, image.manifest.digest);
  const bomb = { kind: "other-body", body: Buffer.alloc(9 << 20) } as const;
  registry.misbehave({ on: "manifest", act: bomb }, { on: "manifest", act: { kind: "encoded" } });
  await assert.rejects(
    at(all, registry.host, (repository) => repository.manifest("1", {})),
    /cannot read the manifest of \S+: it is longer than 8388608 bytes$/,
  );
});

test("fetches from a mirror's neighbour what the mirror lacks, has wrong, or has no more", async () => {
  await using registry = await registryWith();
  await using mirror = await startFaultyRegistry({ shares: registry });
  using all = quick({
    registries: { [registry.host]: { mirrors: [`http://${mirror.host}/`], insecure: false, onlyMirrors: false } },
  });
  const acts: Act[] = [
    { kind: "status", status: 404 },
    { kind: "status", status: 403 },
    { kind: "status", status: 500 },
    { kind: "truncate", at: 10 },
    { kind: "cut" },
    { kind: "hang" },
    { kind: "redirect", to: "loop" },
  ];
  for (const act of acts) {
    mirror.misbehave({ on: "blob", act });
    registry.forget();
    mirror.forget();
    assert.ok((await read(all, registry.host)).equals(blob.bytes), act.kind);
    assert.equal(registry.asked("blob").length, 1, act.kind);
    assert.equal(registry.asked("manifest").length, 0);
    assert.ok(mirror.asked("blob").length >= 1, act.kind);
  }
});

test("leaves a source whose bytes were wrong for the next one", async () => {
  await using registry = await registryWith();
  await using mirror = await startFaultyRegistry({
    shares: registry,
    faults: [{ on: "blob", act: { kind: "wrong-bytes" } }],
  });
  using all = quick({
    registries: { "*": { mirrors: [`http://${mirror.host}/`], insecure: false, onlyMirrors: false } },
  });
  await at(all, registry.host, async (repository) => {
    assert.ok(!(await collect(repository, layer)).equals(blob.bytes));
    assert.equal(repository.distrust(layer), true);
    assert.ok((await collect(repository, layer)).equals(blob.bytes));
    assert.equal(repository.distrust(layer), false);
    const { digest, bytes } = image.config;
    assert.deepEqual(await repository.document({ ...layer, digest, size: bytes.length }, {}), bytes);
  });
});

test("asks mirrors below their paths, in the name of the registry that is meant, and alone where that is wished", async () => {
  await using registry = await registryWith();
  await using mirror = await serve((request, response) => {
    response.writeHead(404, { "Content-Type": "application/json" }).end(request.method === "HEAD" ? "" : "{}");
  });
  const rule = (path: string, onlyMirrors = false) => ({
    mirrors: [`http://${mirror.host}${path}`],
    insecure: false,
    onlyMirrors,
  });
  const name = `${registry.host}/a/b:1`;
  const asked = async (rules: RemoteSettings["registries"]) => {
    using all = quick({ registries: rules });
    const resolved = all.reading(parseNormalized(name), JOE, (repository) => repository.resolve("1", {}));
    const outcome = await resolved.then(
      () => "found",
      (error: Error) => error.message,
    );
    const urls = mirror.requests.map(({ url }) => url);
    assert.ok(mirror.requests.every(({ headers }) => headers.authorization === undefined));
    (mirror.requests as unknown[]).splice(0);
    return { outcome, first: urls[0] };
  };
  const ns = `?ns=${encodeURIComponent(registry.host)}`;
  assert.deepEqual(await asked({ "*": rule("/cache/") }), {
    outcome: "found",
    first: `/cache/v2/a/b/manifests/1${ns}`,
  });
  assert.equal((await asked({ "*": rule("/v2/proxy/x/") })).first, `/v2/proxy/x/a/b/manifests/1${ns}`);
  const nearer = { "*": rule("/all/"), [registry.host]: rule("/host/"), [`${registry.host}/a`]: rule("/a/") };
  assert.equal((await asked(nearer)).first, `/a/v2/a/b/manifests/1${ns}`);
  assert.equal(
    (await asked({ ...nearer, [`${registry.host}/a/b`]: rule("/ab/") })).first,
    `/ab/v2/a/b/manifests/1${ns}`,
  );
  const alone = await asked({ ...nearer, [`${registry.host}/a`]: rule("/a/", true) });
  assert.equal(alone.outcome, 'error parsing HTTP 404 response body: "{}"');
});

test("is no longer kept by a mirror that is away than once", async () => {
  await using registry = await registryWith();
  using all = quick(
    { registries: { "*": { mirrors: ["http://127.0.0.1:1/"], insecure: false, onlyMirrors: false } } },
    { head: 1000 },
  );
  assert.ok((await read(all, registry.host)).equals(blob.bytes));
  assert.ok((await read(all, registry.host)).equals(blob.bytes));
});

test("fetches a foreign layer from where it says that it lies, without a word about who asks", async () => {
  await using elsewhere = await serve((_request, response) => {
    response.writeHead(200, { "Content-Length": SIZE }).end(blob.bytes);
  });
  await using registry = await startFaultyRegistry({ auth: "basic" });
  registry.add("a/b:1", image);
  using all = quick();
  await at(
    all,
    registry.host,
    async (repository) => {
      await repository.resolve("1", {});
      const foreign = { ...layer, urls: ["ftp://127.0.0.1/x", `http://${elsewhere.host}/layer`] };
      assert.ok((await collect(repository, foreign)).equals(blob.bytes));
      assert.equal(elsewhere.requests[0]?.headers.authorization, undefined);
      assert.equal(registry.asked("blob").length, 0);
      const gone = { ...layer, urls: ["http://127.0.0.1:1/layer"] };
      assert.ok((await collect(repository, gone)).equals(blob.bytes));
    },
    JOE,
  );
});

test("reads a long blob whole and in order, from any byte, at any pace, over cuts", async () => {
  await using registry = await startFaultyRegistry();
  registry.add("a/b:1", longImage);
  using all = quick({}, { idle: 5000 });
  await at(all, registry.host, async (repository) => {
    const all = await Promise.all([0, 1, 20_000_001].map((offset) => collect(repository, longLayer, offset)));
    for (const [index, offset] of [0, 1, 20_000_001].entries()) {
      assert.ok(all[index]?.equals(long.bytes.subarray(offset)), String(offset));
    }
    registry.misbehave(
      { on: "blob", act: { kind: "cut", after: 18_000_000 }, times: 1 },
      { on: "blob", act: { kind: "no-ranges" }, skip: 1 },
    );
    assert.ok((await collect(repository, longLayer)).equals(long.bytes));
  });
});

test("holds little of a long blob whose taker is slow, and nothing of one whose taker leaves", async () => {
  await using registry = await startFaultyRegistry();
  registry.add("a/b:1", longImage);
  using all = quick({}, { idle: 5000 });
  await at(all, registry.host, async (repository) => {
    let count = 0;
    for await (const piece of repository.read(longLayer, 0, {})) {
      count += piece.length;
      if (count < 8 << 20) await new Promise((resolve) => setTimeout(resolve, 5));
      else break;
    }
    // Beyond what the kernel's buffers hold nothing has left the registry.
    assert.ok((registry.asked("blob")[0]?.sent ?? 0) <= 36 << 20, String(registry.asked("blob")[0]?.sent));
    const leaving = new AbortController();
    const reading = (async () => {
      for await (const piece of repository.read(longLayer, 0, { signal: leaving.signal })) {
        if (piece.length > 0) leaving.abort();
      }
    })();
    await assert.rejects(reading, /context canceled/);
    registry.misbehave({ on: "blob", act: { kind: "hang", after: 17 << 20 } });
    const early = new AbortController();
    let got = 0;
    const stuck = (async () => {
      for await (const piece of repository.read(longLayer, 0, { signal: early.signal })) {
        got += piece.length;
        if (got >= 17 << 20) early.abort();
      }
    })();
    await assert.rejects(stuck, /context canceled/);
    assert.equal(got, 17 << 20);
  });
});

test("reads a long blob over TLS", async () => {
  await using registry = await startFaultyRegistry({ tls: "self-signed" });
  registry.add("a/b:1", longImage);
  using all = quick({}, { idle: 5000 });
  await at(all, registry.host, async (repository) => {
    assert.ok((await collect(repository, longLayer)).equals(long.bytes));
  });
});

test("ends a body that is sent in crumbs, which would cost a hundred times its length", async () => {
  const crumbs = Buffer.from("1\r\n \r\n".repeat(20_000));
  let sent = 0;
  await using server = await serve((_request, response) => {
    response.writeHead(200, { "Content-Type": "application/json", "Transfer-Encoding": "chunked" });
    response.flushHeaders();
    const { socket } = response;
    const go = (): void => {
      while (socket?.destroyed === false && sent < 100 << 20) {
        sent += crumbs.length;
        if (!socket.write(crumbs)) return;
      }
    };
    socket?.on("drain", go).on("error", () => {});
    go();
  });
  using all = quick();
  await assert.rejects(
    at(all, server.host, (repository) => repository.manifest("1", {})),
    /^GantryError: cannot read the manifest of .*: it is sent in chunks of next to nothing$/,
  );
  await assert.rejects(
    at(all, server.host, async (repository) => {
      for await (const piece of repository.read(longLayer, 0, {})) giveBackSlab(piece);
    }),
    /^GantryError: cannot read sha256:\w+: it is sent in chunks of next to nothing$/,
  );
  assert.ok(sent < 20 << 20, `${sent} bytes`);
});

test("ends an exchange in which hints come and no answer", async () => {
  await using server = await serve((_request, response) => {
    const timer = setInterval(() => response.socket?.write("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n".repeat(20)), 1);
    response.once("close", () => clearInterval(timer));
  });
  using all = quick();
  await assert.rejects(
    at(all, server.host, (repository) => repository.manifest("1", {})),
    /more than a hundred answers came before the answer/,
  );
});

test("lets downloads go on that are under way while it meets hosts by the dozen", async () => {
  await using registry = await registryWith({ kind: "slow", bytesPerSecond: SIZE * 2 });
  using all = quick();
  await at(all, registry.host, async (repository) => {
    let count = 0;
    for await (const piece of repository.read(layer, 0, {})) {
      // Each is one more host to keep connections to; nothing listens there.
      if (count === 0) {
        for (let port = 1; port <= 100; port++) {
          const asked = at(all, `127.0.0.1:${port}`, (other) => other.resolve("1", {}));
          await assert.rejects(asked, /connection refused/);
        }
      }
      count += piece.length;
    }
    assert.equal(count, SIZE);
  });
  assert.equal(registry.asked("blob").length, 1);
});
