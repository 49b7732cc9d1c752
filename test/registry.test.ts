import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { ContainersTools, toolMissing } from "./containers-tools.ts";
import { contentsOf, imageOf, pushTo } from "./oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "./registry.ts";

const skip = registryMissing();
const IMAGE = imageOf();
const MANIFEST = `/v2/a/b/manifests/${IMAGE.manifest.digest}`;

/** By its recording side, as a client that nobody gave anything. */
async function statusOf(registry: TestRegistry, headers: Record<string, string> = {}): Promise<number> {
  const Accept = IMAGE.manifest.mediaType;
  return (await fetch(`${registry.url}${MANIFEST}`, { headers: { Accept, ...headers } })).status;
}

const basic = (text: string) => ({ Authorization: `Basic ${Buffer.from(text).toString("base64")}` });

test("a registry counts what is asked of it, and what goes through", { skip }, async () => {
  await using registry = await startRegistry();
  await pushTo(registry, "a/b:1", IMAGE);
  assert.equal(registry.requests.length, 0, "what a test puts there itself is not counted");
  assert.equal(await statusOf(registry), 200);
  const layer = IMAGE.layers[0]!;
  const blob = await fetch(`${registry.url}/v2/a/b/blobs/${layer.digest}`);
  assert.deepEqual(Buffer.from(await blob.arrayBuffer()), layer.bytes);
  assert.equal(registry.blobBytesServed, layer.bytes.length);
  assert.deepEqual([registry.asked("GET", "manifests").length, registry.asked("GET", "blobs").length], [1, 1]);
  const begun = await fetch(`${registry.url}/v2/a/c/blobs/uploads/`, { method: "POST" });
  await fetch(begun.headers.get("location") ?? "", { method: "PATCH", body: "x".repeat(777) });
  assert.equal(registry.blobBytesTaken, 777);
  registry.forget();
  assert.equal(registry.requests.length, 0);
});

test("a registry that was killed comes back at its address, with what it had", { skip }, async () => {
  await using registry = await startRegistry();
  await pushTo(registry, "a/b:1", IMAGE);
  const { host } = registry;
  await registry.kill();
  await assert.rejects(statusOf(registry));
  await registry.start();
  assert.deepEqual([registry.host, await statusOf(registry)], [host, 200]);
});

test("a registry with passwords takes the right ones only", { skip }, async () => {
  await using registry = await startRegistry({ htpasswd: { joe: "secret", ann: "other" } });
  await pushTo(registry, "a/b:1", IMAGE);
  const statuses = [{}, basic("joe:other"), basic("joe:secret"), basic("ann:other")].map((headers) =>
    statusOf(registry, headers),
  );
  assert.deepEqual(await Promise.all(statuses), [401, 401, 200, 200]);
});

test("a registry with tokens takes those of its own server, for what they are for, until they run out", {
  skip,
}, async () => {
  await using registry = await startRegistry({ token: { users: { joe: "secret" }, lifeS: 3 } });
  await pushTo(registry, "a/b:1", IMAGE);
  const bearer = (scope: string) => ({ Authorization: `Bearer ${registry.tokens?.token("joe", [scope])}` });
  const good = bearer("repository:a/b:pull");
  assert.deepEqual(
    [await statusOf(registry), await statusOf(registry, bearer("repository:a/c:pull")), await statusOf(registry, good)],
    [401, 401, 200],
  );
  // The registry itself says when it has had enough of it.
  const began = Date.now();
  while ((await statusOf(registry, good)) === 200 && Date.now() - began < 10_000) await pause(100);
  assert.equal(await statusOf(registry, good), 401);
});

test("a token server gives refresh tokens to those who ask, and notes who wished what", { skip }, async () => {
  await using registry = await startRegistry({ token: true });
  const { tokens } = registry;
  const url = `${tokens?.url}?service=x&scope=repository:a/b:pull&offline_token=true`;
  assert.equal((await fetch(url, { headers: basic("joe:wrong") })).status, 401);
  const first = (await (await fetch(url, { headers: basic("joe:secret") })).json()) as { refresh_token: string };
  const body = new URLSearchParams({
    grant_type: "refresh_token",
    refresh_token: first.refresh_token,
    scope: "repository:a/b:pull repository:a/c:pull",
  });
  assert.equal((await fetch(tokens?.url ?? "", { method: "POST", body })).status, 200);
  body.set("refresh_token", "another");
  assert.equal((await fetch(tokens?.url ?? "", { method: "POST", body })).status, 401);
  assert.deepEqual(
    tokens?.wishes.map(({ user, grant, status, scopes }) => [user, grant, status, scopes.length]),
    [
      [undefined, "password", 401, 1],
      ["joe", "password", 200, 1],
      ["joe", "refresh_token", 200, 2],
      [undefined, "password", 401, 2],
    ],
  );
});

for (const tls of [true, "client"] as const) {
  test(`skopeo trusts a registry by its folder of certificates (tls: ${tls})`, {
    skip: skip || toolMissing("skopeo"),
  }, async () => {
    await using registry = await startRegistry({ tls });
    await pushTo(registry, "a/b:1", IMAGE);
    const tools = new ContainersTools(join(registry.root, "tools"));
    for (const host of [registry.host, registry.directHost]) {
      const inspect = ["inspect", "--raw", `docker://${host}/a/b:1`];
      const certs = ["--cert-dir", join(registry.certsFolder, host)];
      assert.equal(await tools.ok("skopeo", ...inspect, ...certs), IMAGE.manifest.bytes.toString());
      const stranger = await tools.run("skopeo", inspect);
      assert.match(stranger.stderr, /x509: certificate signed by unknown authority/);
    }
  });
}

test("a registry may pass on and keep what another has", { skip }, async () => {
  await using origin = await startRegistry();
  await pushTo(origin, "a/b:1", IMAGE);
  await using cache = await startRegistry({ proxyOf: origin.url });
  assert.equal(await statusOf(cache), 200);
  for (const { digest } of contentsOf(IMAGE).blobs) {
    const answer = await fetch(`${cache.url}/v2/a/b/blobs/${digest}`);
    assert.equal(answer.status, 200);
    await answer.arrayBuffer();
  }
  assert.ok(origin.asked("GET", "manifests").length >= 1);
});

test("a registry takes everything with it", { skip }, async () => {
  const registry = await startRegistry({ token: true });
  const { directHost, root, tokens, url } = registry;
  const all = [`${url}/v2/`, `http://${directHost}/v2/`, tokens?.url ?? ""];
  for (const address of all) assert.ok((await fetch(address)).status < 500);
  assert.ok(readdirSync(root).length > 0);
  await registry[Symbol.asyncDispose]();
  assert.ok(!existsSync(root));
  for (const address of all) await assert.rejects(fetch(address), address);
});
