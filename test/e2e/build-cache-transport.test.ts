import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { CacheReference } from "../../src/build/builder.ts";
import type { CachedStep } from "../../src/build/parts.ts";
import { openResults, outputOf, type ResultsFixture, requestOf } from "../../src/build/results/results.fixture.ts";
import { sha256Of } from "../../src/oci/digest.ts";
import { registries } from "../../src/remote/registry.fixture.ts";
import { ContainersTools, toolMissing } from "../containers-tools.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { makeTestRoot, removeTestRoot } from "../leftovers.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const SIGNAL = new AbortController().signal;
const key = (index: number): string => sha256Of(`key ${index}`);

function reference(type: CacheReference["type"], attributes: Readonly<Record<string, string>> = {}): CacheReference {
  return { type, attributes: new Map(Object.entries(attributes)) };
}

/** Three steps, and one of another stage; and what a solver says of them. */
async function built(fixture: ResultsFixture) {
  const names = await fixture.steps({ a: "1".repeat(50_000) }, {}, { b: "2" });
  const [other = ""] = await fixture.steps({ other: "3" });
  const target = fixture.target(names);
  const stage = fixture.roots.snapshot(other);
  const steps: CachedStep[] = names.map((_, index) => ({
    key: key(index),
    inputs: index === 0 ? [] : [key(index - 1)],
    definitions: [],
    get snapshot() {
      return target.root?.layers[index]?.snapshot;
    },
    description: `step ${index}`,
    createdAt: 1_000,
  }));
  steps.push({
    ...{ key: key(9), inputs: [], definitions: [], description: "", createdAt: 1_000 },
    get snapshot() {
      return stage.snapshot;
    },
  });
  return { target, steps };
}

async function lookUp(fixture: ResultsFixture, cacheFrom: readonly CacheReference[], wanted: string) {
  const onEvent = (event: (typeof fixture.events)[number]) => void fixture.events.push(event);
  const request = requestOf({ cacheFrom });
  fixture.results.check(request);
  const imports = await fixture.results.imports(request, { signal: SIGNAL, onEvent });
  const root = await imports[0]?.lookup(wanted, { signal: SIGNAL, onEvent });
  return {
    root,
    warnings: fixture.events.flatMap((event) => (event.type === "warning" ? [event.warning.short] : [])),
    end: async () => {
      for (const each of imports) await each[Symbol.asyncDispose]();
    },
  };
}

async function engineAt(t: TestContext): Promise<ResultsFixture & { readonly close: () => void }> {
  const made = registries();
  t.after(() => made[Symbol.dispose]());
  return { ...openResults(t, { registries: made }), close: () => made[Symbol.dispose]() };
}

function blobsRead(registry: TestRegistry, from: number): string[] {
  return registry.requests
    .slice(from)
    .filter(({ method, path }) => method === "GET" && path.includes("/blobs/"))
    .map(({ path }) => path.split("/").at(-1) ?? "");
}

test("a cache at a registry brings what a step wants and no more, and gives the same image elsewhere", {
  skip: registryMissing() || toolMissing("skopeo"),
  timeout: 120_000,
}, async (t) => {
  await using registry = await startRegistry();
  const root = makeTestRoot();
  t.after(() => removeTestRoot(root));
  const tools = new ContainersTools(root);
  const ways: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    manifest: {},
    index: { "image-manifest": "false" },
    docker: { "oci-mediatypes": "false" },
    zstd: { compression: "zstd", mode: "max" },
  };
  for (const [tag, attributes] of Object.entries(ways)) {
    const one = await engineAt(t);
    const { steps, target } = await built(one);
    const ref = `${registry.host}/cache/${tag}:1`;
    const cacheTo = [reference("registry", { ref, ...attributes })];
    const made = await one.export([target], [outputOf("image")], { cacheTo }, steps);
    // Others read it as a manifest of the kind that was asked for.
    const raw = JSON.parse(await tools.ok("skopeo", "inspect", "--tls-verify=false", "--raw", `docker://${ref}`));
    assert.equal(raw.layers === undefined, tag === "index" || tag === "docker");
    const two = await engineAt(t);
    const before = registry.requests.length;
    const found = await lookUp(two, [reference("registry", { ref })], key(0));
    assert.deepEqual(found.warnings, []);
    assert.equal(found.root?.layers.length, 1);
    // The table, and one layer.
    assert.equal(new Set(blobsRead(registry, before)).size, 2);
    await found.root?.[Symbol.asyncDispose]();
    await found.end();
    const whole = await lookUp(two, [reference("registry", { ref })], key(2));
    const again = await two.export([{ ...target, root: whole.root }], [outputOf("image")]);
    assert.equal(again.imageId, made.imageId, tag);
    await whole.root?.[Symbol.asyncDispose]();
    await whole.end();
    const others = await lookUp(two, [reference("registry", { ref })], key(9));
    assert.equal(others.root !== undefined, tag === "zstd", "other stages are in caches of mode=max");
    await others.root?.[Symbol.asyncDispose]();
    await others.end();
  }
});

test("an image that was pushed is a cache by itself where its config has one", {
  skip: registryMissing(),
  timeout: 120_000,
}, async (t) => {
  await using registry = await startRegistry();
  const one = await engineAt(t);
  const { steps, target } = await built(one);
  const name = `${registry.host}/made/inline:1`;
  const made = await one.export(
    [target],
    [outputOf("image", { name, push: "true" })],
    { cacheTo: [reference("inline")] },
    steps,
  );
  const two = await engineAt(t);
  const found = await lookUp(two, [reference("registry", { ref: name })], key(2));
  assert.deepEqual(found.warnings, []);
  assert.equal(found.root?.layers.length, 3);
  const again = await two.export([{ ...target, root: found.root }], [outputOf("image")], {}, steps);
  assert.deepEqual(two.images.resolve(again.imageId!).config.rootfs, one.images.resolve(made.imageId!).config.rootfs);
  await found.root?.[Symbol.asyncDispose]();
  await found.end();
  const plain = await engineAt(t);
  const without = `${registry.host}/made/plain:1`;
  await one.export([target], [outputOf("image", { name: without, push: "true" })], {}, steps);
  const none = await lookUp(plain, [reference("registry", { ref: without })], key(2));
  assert.equal(none.root, undefined);
  assert.match(none.warnings[0] ?? "", /the image has no cache in its config$/);
  await none.end();
});

test("a cache that is missing, damaged or unreachable is none, and the build hears of it", {
  skip: registryMissing(),
  timeout: 120_000,
}, async (t) => {
  await using registry = await startRegistry();
  const one = await engineAt(t);
  const { steps, target } = await built(one);
  const ref = `${registry.host}/cache/damaged:1`;
  await one.export([target], [], { cacheTo: [reference("registry", { ref })] }, steps);
  const missing = await lookUp(await engineAt(t), [reference("registry", { ref: `${ref}x` })], key(0));
  assert.equal(missing.root, undefined);
  assert.match(missing.warnings[0] ?? "", /^cannot use the cache .*damaged:1x: /);
  await missing.end();
  // The largest blob is the first layer's: its bytes are others now, of the same length.
  const folder = join(registry.storage, "docker/registry/v2/blobs/sha256");
  const blobs = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith("/data"));
  for (const blob of blobs) {
    const bytes = readFileSync(join(folder, blob));
    if (bytes[0] !== 0x1f) continue;
    bytes[bytes.length - 20]! ^= 0xff;
    writeFileSync(join(folder, blob), bytes);
  }
  const damaged = await lookUp(await engineAt(t), [reference("registry", { ref })], key(2));
  assert.equal(damaged.root, undefined);
  assert.match(damaged.warnings[0] ?? "", /^cannot use a layer of the cache: /);
  await damaged.end();
  const two = await engineAt(t);
  const other = await built(two);
  const nowhere = { ref: "127.0.0.1:1/cache:1" };
  const fails = (more: Record<string, string>) =>
    two.export([other.target], [], { cacheTo: [reference("registry", { ...nowhere, ...more })] }, other.steps);
  await assert.rejects(fails({}));
  await fails({ "ignore-error": "true" });
  assert.ok(
    two.events.some((event) => event.type === "warning" && /^cannot export the cache/.test(event.warning.short)),
  );
});

const DOCKERFILE = `FROM busybox AS tools
RUN --mount=type=cache,target=/cache,id=packages echo fetched >> /cache/log && cp /cache/log /log
FROM busybox
COPY --from=tools /log /log
RUN true
COPY file /file
`;

test("a machine that begins with nothing takes steps and cache mounts from a registry and a folder", {
  skip: registryMissing(),
  timeout: 180_000,
}, async (t) => {
  await using registry = await startRegistry();
  const root = makeTestRoot();
  t.after(() => removeTestRoot(root));
  writeFileSync(join(root, "Dockerfile"), DOCKERFILE);
  writeFileSync(join(root, "file"), "1");
  const ref = `type=registry,ref=${registry.host}/cache:1`;
  const folder = join(root, "cache");
  writeFileSync(join(root, ".dockerignore"), "cache\n");
  const buildAt = async (engine: TestEngine, ...args: string[]) => {
    const done = await engine.gantry("build", "--progress", "plain", ...args, root);
    assert.equal(done.code, 0, done.stderr);
    return done.stderr;
  };
  const idOf = (engine: TestEngine) => engine.ok("image", "inspect", "--format", "{{.Id}}", "made");
  await using first = await startEngine();
  const both = ["--cache-to", `${ref},mode=max,cache-mounts=true`, "--cache-to", `type=local,dest=${folder}`];
  await buildAt(first, "-t", "made", ...both);
  const made = await idOf(first);
  {
    await using second = await startEngine();
    const told = await buildAt(second, "-t", "made", "--cache-from", `${ref},cache-mounts=true`);
    assert.equal(await idOf(second), made, told);
    // Another change: the cache mount goes on where the other machine's was.
    await buildAt(second, "-t", "made", "--no-cache");
    assert.equal(await second.ok("run", "--rm", "--network", "none", "made", "cat", "/log"), "fetched\nfetched");
  }
  await using third = await startEngine();
  writeFileSync(join(root, "file"), "2");
  const told = await buildAt(third, "-t", "made", "--cache-from", `type=local,src=${folder}`);
  assert.equal((told.match(/ CACHED$/gm) ?? []).length >= 2, true, told);
  assert.equal(await third.ok("run", "--rm", "--network", "none", "made", "cat", "/log", "/file"), "fetched\n2");
});
