import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { sha256 } from "../archive.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { type FaultyRegistry, startFaultyRegistry } from "../faulty-registry.ts";
import { putBlob, randomImage, type TestImage } from "../oci-image.ts";
import { pullWell } from "../pulling.ts";
import { followPush, importRandom, push, pushWell } from "../pushing.ts";

const LAYER = 3 << 20;

const engine = await startEngine({ image: false });
after(() => engine[Symbol.asyncDispose]());

/** An image that came compressed from a registry: the sizes of its blobs are known. */
async function pulled(seed: string, to: FaultyRegistry, name: string, size = LAYER): Promise<TestImage> {
  await using source = await startFaultyRegistry();
  const image = randomImage(seed, { layers: 1, size });
  source.add("from:1", image);
  await pullWell(engine, `${source.host}/from`, { tag: "1" });
  const tagged = await engine.request("POST", `/images/${source.host}/from:1/tag?repo=${to.host}/${name}&tag=1`);
  assert.equal(tagged.status, 201, tagged.text);
  return image;
}

function receivedBy(registry: FaultyRegistry, ...steps: ("upload-chunk" | "upload-end")[]): number {
  return steps.flatMap((step) => registry.asked(step)).reduce((sum, { received }) => sum + received, 0);
}

/** The tar of the only layer of what is at `name:1` there. */
function tarAt(registry: FaultyRegistry, name: string): Buffer {
  const manifest = registry.stock.contents.get(registry.stock.tags.get(`${name}:1`) ?? "")!;
  const { layers } = JSON.parse(manifest.bytes.toString()) as { layers: { digest: string }[] };
  assert.ok(registry.has(name, layers[0]!.digest));
  return gunzipSync(registry.stock.contents.get(layers[0]!.digest)!.bytes);
}

describe("uploads that are disturbed", () => {
  test("go on where the connection was cut, of a blob of known size", async () => {
    await using registry = await startFaultyRegistry();
    const image = await pulled("cut", registry, "cut");
    await putBlob(registry, "cut", image.config);
    registry.misbehave({ on: "upload-end", act: { kind: "cut-upload", after: 1 << 20 }, times: 2 });
    const { digest } = await pushWell(engine, `${registry.host}/cut`, "1");
    assert.equal(digest, image.manifest.digest);
    const whole = image.layers[0]!.bytes.length + image.config.bytes.length;
    const received = receivedBy(registry, "upload-chunk", "upload-end");
    assert.ok(received < whole * 1.2, `${received} bytes for ${whole}`);
    assert.ok(registry.asked("upload-status").length >= 1);
    assert.ok(registry.asked("upload-end").some(({ headers }) => /^1048576-/.test(String(headers["content-range"]))));
  });

  test("go on where the connection was cut, of a layer that is compressed on its way", async () => {
    await using registry = await startFaultyRegistry();
    const tar = await importRandom(engine, `${registry.host}/packed:1`, "packed", LAYER);
    registry.misbehave({ on: "upload-chunk", act: { kind: "cut-upload", after: 700_000 }, times: 2 });
    await pushWell(engine, `${registry.host}/packed`, "1");
    assert.equal(sha256(tarAt(registry, "packed")), sha256(tar));
    const received = receivedBy(registry, "upload-chunk");
    assert.ok(received < tar.length * 1.2, `${received} bytes for ${tar.length}`);
    assert.equal(registry.stock.uploads.size, 0);
  });

  test("begin anew where the registry has forgotten them", async () => {
    await using registry = await startFaultyRegistry();
    const image = await pulled("forgotten", registry, "forgotten");
    registry.misbehave({ on: "upload-end", act: { kind: "forget-session" }, times: 2 });
    assert.equal((await pushWell(engine, `${registry.host}/forgotten`, "1")).digest, image.manifest.digest);
  });

  test("are given up when the registry forgets them each time, and say so", async () => {
    await using registry = await startFaultyRegistry();
    await pulled("forgetful", registry, "forgetful", 100_000);
    registry.misbehave({ on: ["upload-end", "upload-chunk", "upload-status"], act: { kind: "forget-session" } });
    const { error } = await push(engine, `${registry.host}/forgetful`, "1");
    assert.equal(error, "blob upload unknown: blob upload unknown to registry");
    assert.ok(registry.requests.length < 60, `${registry.requests.length} requests`);
  });

  test("are tried again after an error of the server, and after the time that it asks for", async () => {
    await using registry = await startFaultyRegistry();
    await pulled("again", registry, "again", 100_000);
    registry.misbehave(
      { on: "upload-end", act: { kind: "status", status: 500 }, times: 1 },
      { on: "upload-start", act: { kind: "status", status: 429, headers: { "Retry-After": "1" } }, times: 1 },
      { on: "manifest-put", act: { kind: "status", status: 503 }, times: 1 },
    );
    const began = performance.now();
    const { lines } = await pushWell(engine, `${registry.host}/again`, "1");
    assert.ok(performance.now() - began >= 1000);
    assert.ok(lines.some(({ status }) => status === "Pushed"));
  });

  test("end with the server's words if it doesn't recover, and leave nothing there", async () => {
    await using registry = await startFaultyRegistry();
    await pulled("broken", registry, "broken", 100_000);
    const body = JSON.stringify({ errors: [{ code: "DENIED", message: "quota of 1 GiB exceeded" }] });
    registry.misbehave({ on: "upload-end", act: { kind: "status", status: 403, body } });
    assert.equal((await push(engine, `${registry.host}/broken`, "1")).error, "denied: quota of 1 GiB exceeded");
    assert.equal(registry.stock.uploads.size, 0);
    assert.ok(registry.asked("upload-cancel").length >= 1);
    registry.misbehave({ on: "upload-end", act: { kind: "status", status: 500 } });
    assert.equal(
      (await push(engine, `${registry.host}/broken`, "1")).error,
      "received unexpected HTTP status: 500 Internal Server Error",
    );
    assert.equal(registry.stock.uploads.size, 0);
    registry.heal();
    await pushWell(engine, `${registry.host}/broken`, "1");
  });

  test("are split where a body is too large, and say what to do if that doesn't help", async () => {
    await using registry = await startFaultyRegistry();
    const image = await pulled("large", registry, "large", 10 << 20);
    await putBlob(registry, "large", image.config);
    registry.misbehave({ on: "upload-end", act: { kind: "status", status: 413, isEarly: true }, times: 1 });
    assert.equal((await pushWell(engine, `${registry.host}/large`, "1")).digest, image.manifest.digest);
    assert.ok(registry.asked("upload-chunk").every(({ received }) => received <= 8 << 20));
    await using other = await startFaultyRegistry({
      faults: [{ on: ["upload-chunk", "upload-end"], act: { kind: "status", status: 413 } }],
    });
    await importRandom(engine, `${other.host}/large:1`, "large", LAYER);
    const { error } = await push(engine, `${other.host}/large`, "1");
    assert.match(
      error,
      /^cannot push to 127\.0\.0\.1:\d+: it or a proxy before it refuses a body of \d+ bytes as too large \(413\)/,
    );
    assert.equal(other.stock.uploads.size, 0);
  });

  test("go by chunks of the size that the registry asks for", async () => {
    await using registry = await startFaultyRegistry({ minChunk: 9 << 20 });
    const image = await pulled("chunks", registry, "chunks", 20 << 20);
    assert.equal((await pushWell(engine, `${registry.host}/chunks`, "1")).digest, image.manifest.digest);
    const tar = await importRandom(engine, `${registry.host}/own:1`, "own chunks", 20 << 20);
    await pushWell(engine, `${registry.host}/own`, "1");
    assert.equal(sha256(tarAt(registry, "own")), sha256(tar));
    const sizes = registry.asked("upload-chunk").map(({ received }) => received);
    assert.deepEqual([...new Set(sizes)], [9 << 20]);
    assert.equal(sizes.length, 4);
    assert.ok(registry.asked("upload-chunk").every(({ status }) => status === 202));
  });

  test("go on with the upload that was opened in place of a mount", async () => {
    await using registry = await startFaultyRegistry();
    const image = await pulled("mounted", registry, "first", 100_000);
    await pushWell(engine, `${registry.host}/first`, "1");
    await engine.request("POST", `/images/${registry.host}/first:1/tag?repo=${registry.host}/second&tag=1`);
    registry.misbehave({ on: "mount", act: { kind: "ignore-mount" } });
    registry.forget();
    assert.equal((await pushWell(engine, `${registry.host}/second`, "1")).digest, image.manifest.digest);
    assert.equal(registry.asked("mount").length, 2);
    assert.equal(registry.asked("upload-start").length, 0);
    assert.equal(registry.stock.uploads.size, 0);
  });

  test("follow a location, without credentials to another host", async () => {
    await using registry = await startFaultyRegistry({ auth: "basic" });
    await using elsewhere = await startFaultyRegistry({ shares: registry });
    await pulled("located", registry, "located", 100_000);
    const auth = { username: "joe", password: "secret" };
    registry.misbehave({ on: "upload-start", act: { kind: "location", to: elsewhere.url } });
    await pushWell(engine, `${registry.host}/located`, "1", { auth });
    assert.ok(elsewhere.asked("upload-end").length >= 2);
    for (const { headers } of elsewhere.requests) assert.equal(headers.authorization, undefined);
    await using plain = await startFaultyRegistry();
    await pulled("relative", plain, "relative", 100_000);
    plain.misbehave({ on: ["upload-start", "upload-chunk"], act: { kind: "location", to: "relative" } });
    await pushWell(engine, `${plain.host}/relative`, "1");
  });

  test("prove themselves anew when their token has run out", async () => {
    await using registry = await startFaultyRegistry({ auth: "bearer", tokenUses: 2 });
    const image = await pulled("tokens", registry, "tokens");
    const auth = { username: "joe", password: "secret" };
    assert.equal((await pushWell(engine, `${registry.host}/tokens`, "1", { auth })).digest, image.manifest.digest);
    assert.ok(registry.asked("token").length >= 3);
  });

  test("are refused in Docker's words", async () => {
    await using registry = await startFaultyRegistry();
    await importRandom(engine, `${registry.host}/refused:1`, "refused", 1000);
    const refusals: [number, string][] = [
      [403, "denied: requested access to the resource is denied"],
      [401, "unauthorized: authentication required"],
    ];
    for (const [status, words] of refusals) {
      registry.misbehave({ on: ["upload-start", "mount"], act: { kind: "status", status } });
      const { error, lines } = await push(engine, `${registry.host}/refused`, "1");
      assert.equal(error, words);
      assert.equal(lines[0]?.status, `The push refers to repository [${registry.host}/refused]`);
    }
    registry.misbehave({ on: "manifest-put", act: { kind: "status", status: 403 } });
    assert.equal((await push(engine, `${registry.host}/refused`, "1")).error, refusals[0]![1]);
  });
});

describe("pushes that end before their end", () => {
  test("delete their uploads when the client leaves", async () => {
    await using registry = await startFaultyRegistry();
    await importRandom(engine, `${registry.host}/left:1`, "left", 8 << 20);
    // It takes the layer, and doesn't say so.
    registry.misbehave({ on: "upload-chunk", act: { kind: "hang" } });
    const moving = Promise.withResolvers<void>();
    const push = followPush(engine, `${registry.host}/left`, "1", ({ status }) => {
      if (status === "Pushing") moving.resolve();
    });
    await moving.promise;
    push.leave();
    await until(() => registry.asked("upload-cancel").length >= 1 && registry.stock.uploads.size === 0);
    assert.deepEqual(await digestsOf(registry.host), []);
    registry.heal();
    await pushWell(engine, `${registry.host}/left`, "1");
  });

  test("of several, one that leaves doesn't end the others' upload", async () => {
    await using registry = await startFaultyRegistry();
    await importRandom(engine, `${registry.host}/shared:1`, "shared", 8 << 20);
    await engine.request("POST", `/images/${registry.host}/shared:1/tag?repo=${registry.host}/shared&tag=2`);
    registry.misbehave({ on: "upload-start", act: { kind: "slow", bytesPerSecond: 1 } });
    const moving = Promise.withResolvers<void>();
    const first = followPush(engine, `${registry.host}/shared`, "1", ({ status }) => {
      if (status === "Pushing" || status === "Pushed") moving.resolve();
    });
    const second = pushWell(engine, `${registry.host}/shared`, "2");
    await moving.promise;
    first.leave();
    await second;
    const chunks = registry.asked("upload-chunk").filter(({ status }) => status === 202);
    assert.equal(chunks.length, 1);
  });

  test("leave nothing here when the engine is killed, and the next one goes through", async () => {
    await using own = await startEngine({ image: false });
    await using registry = await startFaultyRegistry();
    const tar = await importRandom(own, `${registry.host}/killed:1`, "killed", 8 << 20);
    const before = stored(own);
    registry.misbehave({ on: "upload-chunk", act: { kind: "hang" } });
    const moving = Promise.withResolvers<void>();
    followPush(own, `${registry.host}/killed`, "1", ({ status }) => {
      if (status === "Pushing") moving.resolve();
    });
    await moving.promise;
    await own.kill();
    await own.start();
    assert.deepEqual(stored(own), before);
    assert.deepEqual(await digestsOf(registry.host, own), []);
    registry.heal();
    await pushWell(own, `${registry.host}/killed`, "1");
    assert.equal(sha256(tarAt(registry, "killed")), sha256(tar));
  });

  test("keep what they send while images are removed and pruned", async () => {
    await using registry = await startFaultyRegistry();
    const tar = await importRandom(engine, `${registry.host}/pruned:1`, "pruned", LAYER);
    registry.misbehave({
      on: "upload-start",
      act: { kind: "status", status: 503, headers: { "Retry-After": "1" } },
      times: 2,
    });
    const waiting = Promise.withResolvers<void>();
    const push = followPush(engine, `${registry.host}/pruned`, "1", ({ status }) => {
      if (status?.startsWith("Retrying")) waiting.resolve();
    });
    await waiting.promise;
    const removed = await engine.request("DELETE", `/images/${registry.host}/pruned:1?force=1`);
    assert.equal(removed.status, 200, removed.text);
    await engine.request("POST", "/images/prune");
    const lines = await push.ended;
    assert.equal(lines.at(-1)?.error, undefined);
    assert.equal(sha256(tarAt(registry, "pruned")), sha256(tar));
    assert.deepEqual(await digestsOf(registry.host), []);
  });

  test("send no layer that the disk has changed", async () => {
    await using registry = await startFaultyRegistry();
    const tar = await importRandom(engine, `${registry.host}/changed:1`, "changed", 100_000);
    const blob = join(engine.dataRoot, "content/blobs/sha256", sha256(tar));
    tar[600] = tar[600]! ^ 1;
    writeFileSync(blob, tar);
    const { error } = await push(engine, `${registry.host}/changed`, "1");
    assert.match(error, /^filesystem layer verification failed for digest sha256:/);
    assert.equal(registry.stock.uploads.size, 0);
    assert.equal(registry.stock.tags.size, 0);
  });
});

/** Digests by which images are known at a registry. */
async function digestsOf(host: string, of: TestEngine = engine): Promise<string[]> {
  const rows = (await of.request("GET", "/images/json?all=1")).json as { RepoDigests: string[] }[];
  return rows.flatMap(({ RepoDigests }) => RepoDigests).filter((name) => name.startsWith(`${host}/`));
}

function stored(of: TestEngine): string[] {
  const content = join(of.dataRoot, "content");
  return [...readdirSync(join(content, "blobs/sha256")).sort(), ...readdirSync(join(content, "ingest"))];
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, "it did not happen in time");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
