import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { GantryError } from "../base/errors.ts";
import { sha256Of } from "../oci/digest.ts";
import type { Descriptor, Manifest } from "../oci/image.ts";
import { parseManifest } from "../oci/image-config.ts";
import { type AttachmentTarget, attachSignatures } from "./attach.ts";
import { allSignatures, signaturesByTag } from "./attached.ts";
import { makePayload, readPayload } from "./payload.ts";
import {
  type Document,
  decodeBase64,
  PAYLOAD_TYPE,
  SIGNATURE_ARTIFACT,
  signatureTag,
  withSignatures,
} from "./signature-manifest.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const TAG = `sha256-${"a".repeat(64)}.sig`;

/** A registry in memory; what happens between two requests can be chosen. */
class Shelf implements AttachmentTarget {
  readonly tags = new Map<string, Buffer>();
  readonly blobs = new Map<string, Buffer>();
  readonly asked: string[] = [];
  referring: Descriptor[] = [];
  beforePut: (() => void) | undefined;
  afterPut: (() => void) | undefined;

  async manifest(tag: string): Promise<{ digest: string; manifest: Manifest } | undefined> {
    const bytes = this.tags.get(tag);
    return bytes && { digest: sha256Of(bytes), manifest: parseManifest(bytes) };
  }

  async document({ digest }: Descriptor): Promise<Buffer> {
    this.asked.push(digest);
    const bytes = this.blobs.get(digest);
    if (bytes === undefined) throw new GantryError("not-found", "blob unknown");
    return bytes;
  }

  async referrers(): Promise<Descriptor[]> {
    return this.referring;
  }

  async bytes(digest: string): Promise<Buffer> {
    this.asked.push(digest);
    const bytes = this.tags.get(digest);
    if (bytes === undefined) throw new GantryError("not-found", "manifest unknown");
    return bytes;
  }

  async putReferrer(_subject: string, { bytes, descriptor }: Document, entry: Descriptor): Promise<void> {
    this.tags.set(descriptor.digest, bytes);
    this.referring = [...this.referring, entry];
  }

  async putDocument({ descriptor, bytes }: Document): Promise<void> {
    this.blobs.set(descriptor.digest, bytes);
  }

  async putManifest(tag: string, { bytes }: Document): Promise<void> {
    this.beforePut?.();
    this.tags.set(tag, bytes);
    this.afterPut?.();
  }

  /** What another signer does who looks and writes at once. */
  sign(signature: string, base: Buffer | undefined = this.tags.get(TAG)): void {
    const made = withSignatures(base && parseManifest(base), [one(signature)]);
    for (const { descriptor, bytes } of made?.payloads ?? []) this.blobs.set(descriptor.digest, bytes);
    if (made !== undefined) this.tags.set(TAG, made.manifest.bytes);
  }
}

const one = (signature: string, identity = "quay.io/a:1") => ({
  payload: makePayload({ digest: DIGEST, identity, annotations: {} }),
  signature: Buffer.from(signature),
});

async function signaturesOf(shelf: Shelf): Promise<string[]> {
  const { signatures } = await signaturesByTag(shelf, DIGEST);
  return signatures.map(({ signature }) => Buffer.from(signature).toString()).sort();
}

test("the payload is cosign's, byte for byte", () => {
  const payload = makePayload({ digest: DIGEST, identity: "quay.io/a", annotations: {} });
  assert.equal(
    payload.toString(),
    `{"critical":{"identity":{"docker-reference":"quay.io/a"},"image":{"docker-manifest-digest":"${DIGEST}"},"type":"cosign container image signature"},"optional":null}`,
  );
  assert.deepEqual(readPayload(payload), { digest: DIGEST, identity: "quay.io/a", annotations: {} });
});

test("a payload that could be read in two ways, or is of something else, is none", () => {
  const good = makePayload({ digest: DIGEST, identity: "quay.io/a", annotations: { by: "ci" } }).toString();
  assert.equal(readPayload(Buffer.from(good))?.annotations.by, "ci");
  for (const bad of [
    good.replace('"optional"', '"critical":{},"optional"'),
    good.replace('"type":', '"more":1,"type":'),
    good.replace("cosign container image", "atomic container"),
    good.replace(DIGEST, "sha256:abc"),
    good.replace('"optional":{"by":"ci"}', '"other":null'),
    `${good}{}`,
    "null",
    "",
  ]) {
    assert.notEqual(bad, good);
    assert.equal(readPayload(Buffer.from(bad)), undefined, bad);
  }
});

test("signatures are kept beside those that are there, and none is written twice", async () => {
  const shelf = new Shelf();
  assert.equal(signatureTag(DIGEST), TAG);
  await attachSignatures(shelf, DIGEST, [one("first")]);
  const before = shelf.tags.get(TAG);
  await attachSignatures(shelf, DIGEST, [one("first")]);
  assert.equal(shelf.tags.get(TAG), before);
  await attachSignatures(shelf, DIGEST, [one("second", "quay.io/a:2"), one("third")]);
  assert.deepEqual(await signaturesOf(shelf), ["first", "second", "third"]);
  const manifest = parseManifest(shelf.tags.get(TAG) ?? Buffer.alloc(0));
  const config = JSON.parse(shelf.blobs.get(manifest.config.digest)?.toString() ?? "");
  assert.deepEqual(
    config.rootfs.diff_ids,
    manifest.layers.map(({ digest }) => digest),
  );
});

test("what others put into the signature manifest stays, whatever it is", async () => {
  const shelf = new Shelf();
  shelf.sign("first");
  const document = JSON.parse(shelf.tags.get(TAG)?.toString() ?? "");
  const foreign = { mediaType: "text/plain", digest: sha256Of("x"), size: 1, annotations: { a: "b" } };
  document.layers.unshift(foreign);
  document.annotations = { kept: "yes" };
  shelf.tags.set(TAG, Buffer.from(JSON.stringify(document)));
  await attachSignatures(shelf, DIGEST, [one("second")]);
  const after = JSON.parse(shelf.tags.get(TAG)?.toString() ?? "");
  assert.deepEqual(after.layers[0], foreign);
  assert.deepEqual(after.annotations, { kept: "yes" });
  assert.deepEqual(await signaturesOf(shelf), ["first", "second"]);
});

test("a signer who comes between the look and the write loses nothing, nor does who is written over", async () => {
  const shelf = new Shelf();
  shelf.sign("there");
  const stale = shelf.tags.get(TAG);
  let round = 0;
  shelf.afterPut = () => {
    round++;
    // One that had looked before, and writes now over what was just written.
    if (round === 1) shelf.sign("late", stale);
  };
  await attachSignatures(shelf, DIGEST, [one("mine")]);
  assert.equal(round, 2);
  assert.deepEqual(await signaturesOf(shelf), ["late", "mine", "there"]);
});

test("who is written over at every try gives up and says so", async () => {
  const shelf = new Shelf();
  shelf.sign("there");
  const stale = shelf.tags.get(TAG) ?? Buffer.alloc(0);
  shelf.afterPut = () => void shelf.tags.set(TAG, stale);
  await assert.rejects(attachSignatures(shelf, DIGEST, [one("mine")]), {
    kind: "conflict",
    message: `cannot sign ${DIGEST}: other signers wrote its signatures at every try`,
  });
});

test("one who waits to see that it lasts can be called off", async () => {
  const abort = new AbortController();
  const shelf = new Shelf();
  shelf.afterPut = () => abort.abort();
  await assert.rejects(attachSignatures(shelf, DIGEST, [one("mine")], abort.signal), { kind: "cancelled" });
});

test("of thousands of signatures a thousand are read, and a payload that many share is fetched once", async () => {
  const shelf = new Shelf();
  const { payload } = one("");
  const descriptor = { mediaType: PAYLOAD_TYPE, digest: sha256Of(payload), size: payload.length };
  shelf.blobs.set(descriptor.digest, payload);
  const layers = Array.from({ length: 3000 }, (_, at) => ({
    ...descriptor,
    annotations: { "dev.cosignproject.cosign/signature": Buffer.from(`s${at}`).toString("base64") },
  }));
  shelf.tags.set(TAG, Buffer.from(JSON.stringify({ schemaVersion: 2, config: descriptor, layers })));
  const { problem, signatures } = await signaturesByTag(shelf, DIGEST);
  assert.equal(signatures.length, 1000);
  assert.equal(problem, "only 1000 of its 3000 signatures were read");
  assert.equal(shelf.asked.length, 1);
  await assert.rejects(attachSignatures(shelf, DIGEST, [one("mine")]), /it has 1000 signatures, no more are read/);
});

test("what lies in a signature's place and is none takes nothing else away", async () => {
  const shelf = new Shelf();
  shelf.sign("good");
  const document = JSON.parse(shelf.tags.get(TAG)?.toString() ?? "");
  const row = document.layers[0];
  const key = "dev.cosignproject.cosign/signature";
  document.layers.push(
    { ...row, annotations: { [key]: "not base64!" } },
    { ...row, annotations: { [key]: "A".repeat(5000) } },
    { ...row, annotations: null },
    { ...row, mediaType: "text/plain" },
    { ...row, size: 1 << 30 },
    { ...row, digest: sha256Of("missing") },
  );
  shelf.tags.set(TAG, Buffer.from(JSON.stringify(document)));
  const { problem, signatures } = await signaturesByTag(shelf, DIGEST);
  assert.equal(signatures.length, 1);
  assert.equal(problem, "a payload can't be read: blob unknown");
  shelf.tags.set(TAG, Buffer.from("{}"));
  assert.match((await signaturesByTag(shelf, DIGEST)).problem ?? "", /in the place of its signatures can't be read/);
});

test("a registry that fails is not a registry without signatures", async () => {
  const shelf = new Shelf();
  shelf.manifest = async () => {
    throw new GantryError("unavailable", "toomanyrequests");
  };
  await assert.rejects(allSignatures(shelf, DIGEST), { kind: "unavailable" });
});

test("signatures that name their subject are found beside the tag's, each once", async () => {
  const shelf = new Shelf();
  shelf.sign("tagged");
  const both = new Shelf();
  both.sign("tagged");
  both.sign("referring");
  const artifact = both.tags.get(TAG) ?? Buffer.alloc(0);
  for (const [digest, bytes] of both.blobs) shelf.blobs.set(digest, bytes);
  shelf.tags.set(sha256Of(artifact), artifact);
  const descriptor = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: sha256Of(artifact), size: 1 };
  shelf.referring = [
    { ...descriptor, artifactType: SIGNATURE_ARTIFACT },
    { ...descriptor, digest: sha256Of("sbom"), artifactType: "application/spdx+json" },
  ];
  const { problem, signatures } = await allSignatures(shelf, DIGEST);
  assert.deepEqual(signatures.map(({ signature }) => Buffer.from(signature).toString()).sort(), [
    "referring",
    "tagged",
  ]);
  assert.equal(problem, undefined);
});

test("base64 that a lenient reader would make something of is none", () => {
  assert.deepEqual(decodeBase64("aGk="), Buffer.from("hi"));
  for (const text of ["", "aGk", "aG k=", "aGk=aGk=", "a-_=", "aGk=\n"])
    assert.equal(decodeBase64(text), undefined, text);
});

test("of large manifests that refer to one only its signatures are kept", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const shelf = new Shelf();
  const payload = makePayload({ digest: DIGEST, identity: "quay.io/a:1", annotations: {} });
  shelf.blobs.set(sha256Of(payload), payload);
  const row = {
    ...{ mediaType: PAYLOAD_TYPE, digest: sha256Of(payload), size: payload.length },
    annotations: { "dev.cosignproject.cosign/signature": "AAAA" },
  };
  const names = Array.from({ length: 32 }, (_, at) => sha256Of(`referrer ${at}`));
  shelf.referring = names.map((digest) => ({ mediaType: "", digest, size: 1, artifactType: SIGNATURE_ARTIFACT }));
  shelf.manifest = async (tag) => {
    if (!names.includes(tag)) return undefined;
    const filling = JSON.parse(JSON.stringify(tag.repeat(30_000))) as string;
    const layers = [{ ...row, annotations: { ...row.annotations, more: filling } }];
    return { digest: tag, manifest: { schemaVersion: 2, config: row, layers, annotations: { filling } } };
  };
  let held = 0;
  const { document } = shelf;
  shelf.document = (descriptor) => {
    collect();
    held = process.memoryUsage().heapUsed - before;
    return document.call(shelf, descriptor);
  };
  collect();
  const before = process.memoryUsage().heapUsed;
  const { signatures } = await allSignatures(shelf, DIGEST);
  assert.equal(signatures.length, 1);
  assert.ok(held > 0 && held < 16 << 20, `${held} bytes`);
});
