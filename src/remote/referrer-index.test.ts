import assert from "node:assert/strict";
import { test } from "node:test";
import { type FaultyRegistry, startFaultyRegistry } from "../../test/faulty-registry.ts";
import { imageOf } from "../../test/oci-image.ts";
import { sha256Of } from "../oci/digest.ts";
import { type Descriptor, MEDIA_TYPE } from "../oci/image.ts";
import { parseNormalized } from "../oci/reference.ts";
import { ANONYMOUS } from "./credentials.ts";
import { addReferrers } from "./referrer-index.ts";
import { registries } from "./registry.fixture.ts";

const SUBJECT = sha256Of("subject");
const TAG = SUBJECT.replace(":", "-");

const entry = (name: string): Descriptor => ({ mediaType: MEDIA_TYPE.ociManifest, digest: sha256Of(name), size: 1 });

/** Registries take an index only of what they have. */
async function startRegistry(): Promise<FaultyRegistry> {
  const registry = await startFaultyRegistry();
  for (const name of ["a", "b", "c", "d", "there", "one", "two", "late", "mine", "theirs"]) {
    const { digest, mediaType } = entry(name);
    registry.addManifest(`a:${name}`, { mediaType, digest, bytes: Buffer.from(name) });
  }
  return registry;
}

async function add(registry: FaultyRegistry, names: readonly string[], signal?: AbortSignal): Promise<void> {
  using all = registries({});
  await all.writing(parseNormalized(`${registry.host}/a`), ANONYMOUS, {}, (repository) =>
    addReferrers(repository, SUBJECT, names.map(entry), signal === undefined ? {} : { signal }),
  );
}

function listed(registry: FaultyRegistry): string[] {
  const digest = registry.stock.tags.get(`a:${TAG}`) ?? "";
  const { manifests } = JSON.parse(registry.stock.contents.get(digest)?.bytes.toString() ?? '{"manifests":[]}');
  return manifests.map((one: Descriptor) => one.digest).sort();
}

/** What another writer does who had looked before and writes over what is there. */
function overwrite(registry: FaultyRegistry, names: readonly string[], more: object = {}): void {
  const index = { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: names.map(entry), ...more };
  const bytes = Buffer.from(JSON.stringify(index));
  registry.addManifest(`a:${TAG}`, { mediaType: MEDIA_TYPE.ociIndex, digest: sha256Of(bytes), bytes });
}

const digests = (...names: readonly string[]) => names.map((name) => sha256Of(name)).sort();

test("entries are added to those that are there, once, and what else the index says stays", async () => {
  await using registry = await startRegistry();
  overwrite(registry, ["there"], { annotations: { kept: "yes" } });
  await add(registry, ["one", "two"]);
  assert.deepEqual(listed(registry), digests("there", "one", "two"));
  const digest = registry.stock.tags.get(`a:${TAG}`) ?? "";
  assert.equal(JSON.parse(registry.stock.contents.get(digest)?.bytes.toString() ?? "").annotations.kept, "yes");
  registry.forget();
  await add(registry, ["two", "there"]);
  assert.equal(registry.asked("manifest", "PUT").length, 0);
});

test("many at once lose none of their entries", async () => {
  await using registry = await startRegistry();
  const names = ["a", "b", "c", "d"];
  await Promise.all(names.map((name) => add(registry, [name])));
  assert.deepEqual(listed(registry), digests(...names));
});

test("one who had looked before and writes over it is noticed", async () => {
  await using registry = await startRegistry();
  overwrite(registry, ["there"]);
  let writes = 0;
  registry.onRequest = ({ method }) => {
    if (method !== "PUT" || ++writes > 1) return;
    // After this writer's own.
    setTimeout(() => overwrite(registry, ["there", "late"]), 20);
  };
  await add(registry, ["mine"]);
  assert.equal(writes, 2);
  assert.deepEqual(listed(registry), digests("there", "late", "mine"));
});

test("who is written over at every try gives up and says so", async () => {
  await using registry = await startRegistry();
  registry.onRequest = ({ method }) => {
    if (method === "PUT") setTimeout(() => overwrite(registry, ["theirs"]), 20);
  };
  await assert.rejects(add(registry, ["mine"]), {
    kind: "conflict",
    message: `cannot refer to ${SUBJECT}: others wrote its referrers at every try`,
  });
});

test("an image at the index's tag is not written over", async () => {
  await using registry = await startRegistry();
  const digest = registry.add(`a:${TAG}`, imageOf());
  await assert.rejects(add(registry, ["mine"]), { kind: "conflict", message: /at which the index .* is an image's$/ });
  assert.equal(registry.stock.tags.get(`a:${TAG}`), digest);
});

test("one who waits to see that it lasts can be called off", async () => {
  await using registry = await startRegistry();
  const abort = new AbortController();
  registry.onRequest = ({ method }) => {
    if (method === "PUT") setTimeout(() => abort.abort(), 50);
  };
  await assert.rejects(add(registry, ["mine"], abort.signal), { kind: "cancelled" });
});

test("what was removed from the registry is left out of the list where that refuses it, and only there", async () => {
  await using registry = await startRegistry();
  overwrite(registry, ["there", "removed", "late"], { annotations: { kept: "yes" } });
  await add(registry, ["mine"]);
  assert.deepEqual(listed(registry), digests("there", "late", "mine"));
  const digest = registry.stock.tags.get(`a:${TAG}`) ?? "";
  assert.equal(JSON.parse(registry.stock.contents.get(digest)?.bytes.toString() ?? "").annotations.kept, "yes");
  registry.forget();
  await add(registry, ["one"]);
  assert.equal(registry.asked("manifest", "HEAD").length, 0);
});

test("a list that is refused though all of it is there is not made shorter", async () => {
  await using registry = await startRegistry();
  overwrite(registry, ["there", "late"]);
  await assert.rejects(add(registry, ["nowhere"]), /blob unknown to registry$/);
  assert.deepEqual(listed(registry), digests("there", "late"));
});
