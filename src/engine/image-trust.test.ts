import assert from "node:assert/strict";
import { before, beforeEach, test } from "node:test";
import { GantryError } from "../base/errors.ts";
import { EventBus } from "../events/bus.ts";
import type { ImageRegistry, ResolvedImage } from "../images/image.ts";
import type { Admission } from "../images/ports.ts";
import { sha256Of } from "../oci/digest.ts";
import type { Descriptor, Manifest } from "../oci/image.ts";
import { parseManifest } from "../oci/image-config.ts";
import { parseNormalized } from "../oci/reference.ts";
import { RefusedError } from "../remote/failure.ts";
import { openMemory } from "../state/memory.ts";
import type { Store } from "../state/store.ts";
import { makePayload } from "../trust/payload.ts";
import { type Policy, parsePolicy } from "../trust/policy.ts";
import { makeKeyPair, type PrivateKey, readPrivateKey } from "../trust/private-key.ts";
import { signatureTag, withSignatures } from "../trust/signature-manifest.ts";
import { ImageTrust } from "./image-trust.ts";

const ID = sha256Of("config");
const INDEX = sha256Of("index");
const MANIFEST = sha256Of("manifest");
const NAME = "quay.io/team/app:1";

let key: PrivateKey;
let publicKey: string;
let store: Store;
let policy: Policy | undefined;
/** Names by image, in familiar form. */
let images: Map<string, string[]>;
let shelf: { readonly manifests: Map<string, Manifest>; readonly blobs: Map<string, Buffer>; asked: number };

before(async () => {
  const pair = await makeKeyPair("");
  publicKey = pair.publicKey;
  key = await readPrivateKey(pair.privateKey, "key", () => "");
});

beforeEach(() => {
  store = openMemory();
  policy = policyOf({ "quay.io": [{ type: "sigstoreSigned", keyPath: "/key" }] });
  images = new Map();
  shelf = { manifests: new Map(), blobs: new Map(), asked: 0 };
});

function policyOf(docker: object, local: object = {}): Policy {
  const document = { default: [{ type: "reject" }], transports: { docker, "docker-daemon": local } };
  return parsePolicy(Buffer.from(JSON.stringify(document)), "/policy", () => publicKey);
}

async function sign(digest: string, identity = NAME): Promise<void> {
  const payload = makePayload({ digest, identity, annotations: {} });
  const made = withSignatures(undefined, [{ payload, signature: await key.sign(payload) }]);
  for (const { descriptor, bytes } of made?.payloads ?? []) shelf.blobs.set(descriptor.digest, bytes);
  if (made !== undefined) shelf.manifests.set(signatureTag(digest), parseManifest(made.manifest.bytes));
}

const repository = {
  manifest: async (tag: string) => {
    shelf.asked++;
    const manifest = shelf.manifests.get(tag);
    if (manifest === undefined) throw new RefusedError(404, "not-found", "manifest unknown");
    return { kind: "image", descriptor: { digest: sha256Of(JSON.stringify(manifest)) }, manifest };
  },
  document: async ({ digest }: Descriptor) => shelf.blobs.get(digest),
  referrers: async () => [],
} as unknown as Admission["repository"];

function trust(): ImageTrust {
  return new ImageTrust({
    store,
    policy: () => policy,
    images: () =>
      ({
        resolve: (id: string) => {
          if (!images.has(id)) throw new GantryError("not-found", `No such image: ${id}`);
          return { id };
        },
        inspect: (id: string) => {
          const names = images.get(id) ?? [];
          const isDigest = (name: string) => name.includes("@");
          return { RepoTags: names.filter((name) => !isDigest(name)), RepoDigests: names.filter(isDigest) };
        },
      }) as unknown as ImageRegistry,
  });
}

function pullOf(name: string, digests: readonly string[], id = ID): Admission {
  return { reference: parseNormalized(name), digests, id, repository, signal: new AbortController().signal };
}

async function create(asked: string, id = ID): Promise<string> {
  try {
    await trust().admitCreated({ id, name: asked } as ResolvedImage, asked);
    return "accepted";
  } catch (error) {
    assert.equal((error as GantryError).kind, "forbidden");
    return (error as GantryError).message;
  }
}

test("without a policy nothing is asked for, and where images came from is known nevertheless", async () => {
  policy = undefined;
  await trust().admitPulled(pullOf(NAME, [MANIFEST]));
  assert.equal(shelf.asked, 0);
  images.set(ID, [NAME]);
  assert.equal(await create(NAME), "accepted");
  policy = policyOf(
    { "quay.io": [{ type: "sigstoreSigned", keyPath: "/key" }] },
    { "": [{ type: "insecureAcceptAnything" }] },
  );
  assert.match(await create(NAME), /it has no signature; that was so at its last pull/);
});

test("an image is accepted for its own signature or that of the index it was chosen from", async () => {
  await assert.rejects(trust().admitPulled(pullOf(NAME, [INDEX, MANIFEST])), { kind: "forbidden" });
  await sign(INDEX);
  await trust().admitPulled(pullOf(NAME, [INDEX, MANIFEST]));
  shelf.manifests.clear();
  await sign(MANIFEST);
  await trust().admitPulled(pullOf(NAME, [INDEX, MANIFEST], sha256Of("other config")));
});

test("a pull that finds the image here asks for no signature again, by the index alone", async () => {
  await sign(MANIFEST);
  await trust().admitPulled(pullOf(NAME, [INDEX, MANIFEST]));
  const { asked } = shelf;
  await trust().admitPulled(pullOf(NAME, [INDEX]));
  await trust().admitPulled(pullOf(NAME, [INDEX]));
  assert.equal(shelf.asked, asked);
  images.set(ID, [NAME]);
  assert.equal(await create(NAME), "accepted");
});

test("signatures that were kept outlast a policy that asked for none", async () => {
  await sign(MANIFEST);
  await trust().admitPulled(pullOf(NAME, [MANIFEST]));
  const strict = policy;
  policy = undefined;
  await trust().admitPulled(pullOf(NAME, [MANIFEST]));
  policy = strict;
  images.set(ID, [NAME]);
  assert.equal(await create(NAME), "accepted");
});

test("a repository that needs no signature lends none to one that does", async () => {
  policy = policyOf({
    "quay.io/free": [{ type: "insecureAcceptAnything" }],
    "quay.io/team": [{ type: "sigstoreSigned", keyPath: "/key" }],
  });
  const free = "quay.io/free/app:1";
  await trust().admitPulled(pullOf(free, [MANIFEST]));
  images.set(ID, [free, NAME, "mine:1", `quay.io/free/app@${MANIFEST}`]);
  assert.equal(await create(free), "accepted");
  assert.equal(await create(`quay.io/free/app@${MANIFEST}`), "accepted");
  assert.equal(await create("mine:1"), "accepted");
  assert.equal(await create(ID), "accepted");
  assert.equal(await create(ID.slice(7, 19)), "accepted");
  assert.match(await create(NAME), /quay.io\/team\/app:1: scope "quay.io\/team" demands/);
});

test("what an image came from is forgotten with it, and after a crash at the next start", async () => {
  await sign(MANIFEST);
  await trust().admitPulled(pullOf(NAME, [MANIFEST]));
  images.set(ID, [NAME]);
  const events = new EventBus({ now: () => 0n });
  using _ = trust().recover(events);
  assert.equal(await create(NAME), "accepted");
  const deleted = { type: "image", action: "delete", id: ID, attributes: {} } as const;
  // Pulled again before its removal was told of.
  events.publish(deleted);
  assert.equal(await create(NAME), "accepted");
  images.delete(ID);
  events.publish(deleted);
  images.set(ID, [NAME]);
  assert.match(await create(NAME), /the default rejects every image/);
  images.delete(ID);
  await trust().admitPulled(pullOf(NAME, [MANIFEST]));
  using __ = trust().recover(events);
  images.set(ID, [NAME]);
  assert.match(await create(NAME), /the default rejects every image/);
});

test("a trial is judged as a pull is, and leaves nothing behind", async () => {
  const trial: Admission = { ...pullOf(NAME, [MANIFEST]), isTrial: true };
  await assert.rejects(trust().admitPulled(trial), { kind: "forbidden", message: /it has no signature$/ });
  await sign(MANIFEST);
  await trust().admitPulled(trial);
  assert.deepEqual(store.collection("image-origins").list(), []);
});

test("a registry that fails lets nothing in, and says what it kept from being read", async () => {
  const failing = {
    ...repository,
    manifest: async () => {
      throw new RefusedError(503, "unavailable", "received unexpected HTTP status: 503 Service Unavailable");
    },
  } as unknown as Admission["repository"];
  await assert.rejects(trust().admitPulled({ ...pullOf(NAME, [MANIFEST]), repository: failing }), {
    kind: "unavailable",
    message: `cannot read the signatures of ${NAME}: received unexpected HTTP status: 503 Service Unavailable`,
  });
});

test("a registry that has thousands of signatures of one image fills no record", async () => {
  const payload = makePayload({ digest: MANIFEST, identity: NAME, annotations: {} });
  const fake = Array.from({ length: 900 }, (_, at) => ({ payload, signature: Buffer.from(`forged ${at}`) }));
  const made = withSignatures(undefined, [...fake, { payload, signature: await key.sign(payload) }]);
  for (const { descriptor, bytes } of made?.payloads ?? []) shelf.blobs.set(descriptor.digest, bytes);
  if (made !== undefined) shelf.manifests.set(signatureTag(MANIFEST), parseManifest(made.manifest.bytes));
  await trust().admitPulled(pullOf(NAME, [MANIFEST]));
  images.set(ID, [NAME]);
  assert.equal(await create(NAME), "accepted");
  const kept = JSON.stringify(store.collection("image-origins").list());
  assert.ok(kept.length < 100_000, String(kept.length));
});
