import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { sha256Of } from "../oci/digest.ts";
import type { Descriptor, Manifest } from "../oci/image.ts";
import { type AttachmentSource, signaturesByReferrers } from "./attached.ts";
import { BUNDLE_TYPE, makeBundle, readBundle, signedBytes } from "./bundle.ts";
import { readPrivateKey } from "./private-key.ts";
import { readPublicKey } from "./public-key.ts";
import { type FoundSignature, search } from "./signature.ts";
import { bundleManifest, SIGNATURE_ARTIFACT } from "./signature-manifest.ts";
import { makeStatement, readStatement, SIGN_PREDICATE } from "./statement.ts";

// biome-ignore lint/suspicious/noExplicitAny: bundles are taken apart at will
type Loose = any;

/** What cosign 3.1.1 made; each row says by which command, the whole by which keys. */
interface Recorded {
  readonly manifest: string;
  readonly digest: string;
  readonly entry: Descriptor;
  readonly carrier: Manifest;
  readonly rows: readonly { readonly what: string; readonly bundle: string; readonly publicKey: string }[];
}

const recorded: Recorded = JSON.parse(readFileSync(new URL("testdata/cosign-3.json", import.meta.url), "utf8"));
const { digest } = recorded;
const OTHER = `sha256:${"b".repeat(64)}`;
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

function rowOf(what: string): Recorded["rows"][number] {
  const row = recorded.rows.find((one) => one.what === what);
  assert.ok(row, what);
  return row;
}

const byP256 = rowOf("a signature by a key of P-256");

/** A registry that has an image and these bundles of it, each in the manifest that cosign puts it in. */
function shelfOf(bundles: readonly (string | Buffer)[], entry: Partial<Descriptor> = {}): AttachmentSource {
  const blobs = new Map(bundles.map((text) => [sha256Of(text), Buffer.from(text)]));
  const carriers = new Map(
    [...blobs].map(([of, { length: size }]) => {
      const carrier = { ...recorded.carrier, layers: [{ mediaType: BUNDLE_TYPE, digest: of, size }] };
      return [sha256Of(JSON.stringify(carrier)), carrier];
    }),
  );
  return {
    manifest: async (of) => {
      const manifest = carriers.get(of);
      return manifest && { digest: of, manifest };
    },
    bytes: async () => Buffer.from(recorded.manifest),
    document: async (descriptor) => blobs.get(descriptor.digest) ?? Buffer.alloc(0),
    referrers: async () => [...carriers.keys()].map((of) => ({ ...recorded.entry, digest: of, ...entry })),
  };
}

async function outcome(
  bundles: readonly (string | Buffer)[],
  publicKey = byP256.publicKey,
  of = digest,
): Promise<string> {
  const { problem, signatures } = await signaturesByReferrers(shelfOf(bundles), of);
  const keys = [readPublicKey(publicKey, "key")];
  const result = await search(signatures, { keys, fits: () => true });
  return problem ?? (result.found ? "good" : result.nearest);
}

/** The recorded bundle with something else in it; the signature is still the one that was made. */
function changed(change: (bundle: Loose) => void, row = byP256): string {
  const bundle = JSON.parse(row.bundle);
  change(bundle);
  return JSON.stringify(bundle);
}

describe("bundles of cosign 3", () => {
  for (const what of ["P-256", "P-384", "P-521", "RSA, 3072 bits"]) {
    test(`a signature by a key of ${what} is good by this key and no other`, async () => {
      const { bundle, publicKey } = rowOf(`a signature by a key of ${what}`);
      assert.equal(await outcome([bundle], publicKey), "good");
      const other = generateKeyPairSync("ec", { namedCurve: "prime256v1" }).publicKey;
      assert.equal(await outcome([bundle], other.export({ type: "spki", format: "pem" }).toString()), "other-key");
    });
  }

  test("one over the very manifest is good, of another manifest it is not", async () => {
    for (const what of ["P-256", "P-384"]) {
      const { bundle, publicKey } = rowOf(`a signature over the manifest by a key of ${what}`);
      assert.equal(await outcome([bundle], publicKey), "good");
      const other = changed(
        (one) => {
          one.messageSignature.messageDigest.digest = Buffer.alloc(what === "P-256" ? 32 : 48).toString("base64");
        },
        rowOf(`a signature over the manifest by a key of ${what}`),
      );
      assert.equal(await outcome([other], publicKey), "other-digest");
    }
  });

  test("one that says no name is known as such, with its annotations", async () => {
    const { signatures } = await signaturesByReferrers(shelfOf([byP256.bundle]), digest);
    const keys = [readPublicKey(byP256.publicKey, "key")];
    const asked: (string | undefined)[] = [];
    const fits = (identity: string | undefined) => asked.push(identity) > 0;
    const result = await search(signatures, { keys, fits, annotations: { who: "me" } });
    assert.ok(result.found);
    assert.deepEqual(asked, [undefined]);
    const other = await search(signatures, { keys, fits, annotations: { who: "you" } });
    assert.ok(!other.found && other.nearest === "other-annotations");
  });

  test("an attestation by the same key is no signature", async () => {
    assert.equal(await outcome([rowOf("an attestation").bundle]), "attestation");
    assert.equal(await outcome([rowOf("an attestation").bundle, byP256.bundle]), "good");
  });

  test("one by a certificate is good by no key", async () => {
    for (const material of [
      { certificate: { rawBytes: "AAAA" } },
      { x509CertificateChain: { certificates: [] } },
      { x509_certificate_chain: {}, tlogEntries: [] },
    ]) {
      const bundle = changed((one) => {
        one.verificationMaterial = material;
      });
      assert.equal(await outcome([bundle]), "certificate");
    }
  });

  test("one of another image is not this one's", async () => {
    assert.equal(await outcome([byP256.bundle], byP256.publicKey, OTHER), "other-digest");
  });

  test("the carrier and its entry are cosign's, but for the time and the name that is signed", () => {
    const { bundle } = byP256;
    const { payload, signatures } = JSON.parse(bundle).dsseEnvelope;
    const { hint } = JSON.parse(bundle).verificationMaterial.publicKey;
    const statement = Buffer.from(payload, "base64");
    const signature = Buffer.from(signatures[0].sig, "base64");
    assert.deepEqual(JSON.parse(makeBundle(statement, signature, hint).toString()), JSON.parse(bundle));
    const { subject } = recorded.carrier;
    const { documents, entry, manifest } = bundleManifest(subject!, { payload: statement, signature, hint });
    const made = JSON.parse(manifest.bytes.toString());
    const { annotations, config, layers, ...rest } = recorded.carrier;
    const { "org.opencontainers.image.created": _, ...lasting } = annotations ?? {};
    const { artifactType: __, ...plain } = config;
    assert.deepEqual({ ...made, layers: [] }, { ...rest, config: plain, annotations: lasting, layers: [] });
    assert.deepEqual(made.layers[0].mediaType, layers[0]?.mediaType);
    assert.equal(entry.artifactType, made.artifactType);
    assert.deepEqual(documents[0]?.bytes, Buffer.from("{}"));
    const own = makeStatement({ digest, identity: "", annotations: { who: "me" } }).toString();
    assert.equal(own.replace('"name":"",', ""), statement.toString());
  });
});

describe("bundles of others", () => {
  /** What is put where, undefined takes it away; then what comes of it. */
  const cases: readonly (readonly [string, string, unknown, RegExp | "good"])[] = [
    ["fields that are null", "messageSignature", null, "good"],
    ["any hint", "verificationMaterial.publicKey.hint", "other", "good"],
    ["no hint", "verificationMaterial.publicKey", {}, "good"],
    ["entries of logs", "verificationMaterial.tlogEntries", [{ logIndex: "1", whatever: [{}] }], "good"],
    ["time stamps", "verificationMaterial.timestampVerificationData", { rfc3161Timestamps: [] }, "good"],
    ["the other spelling of its type", "mediaType", spelled("+json;version=0.3"), "good"],
    ["an older version", "mediaType", spelled("+json;version=0.2"), /it is of the type/],
    ["a newer version", "mediaType", spelled(".v0.4+json"), /it is of the type/],
    ["no type", "mediaType", undefined, /it is of the type ""/],
    ["an unknown field", "more", 1, /the unknown field "more"/],
    ["both contents", "messageSignature", {}, /not exactly one of dsseEnvelope and/],
    ["no content", "dsseEnvelope", undefined, /not exactly one of dsseEnvelope and/],
    ["no material", "verificationMaterial", undefined, /verificationMaterial is no object/],
    ["empty material", "verificationMaterial", {}, /not exactly one key or certificate/],
    ["a key and a certificate", "verificationMaterial.certificate", {}, /not exactly one key or/],
    ["a list for an object", "dsseEnvelope", [], /dsseEnvelope is no object/],
    ["another payload type", "dsseEnvelope.payloadType", "text/plain", /of the type "text\/plain"/],
    ["no payload type", "dsseEnvelope.payloadType", undefined, /its payload is of the type ""/],
    ["no signature", "dsseEnvelope.signatures", [], /its envelope has no signature/],
    ["a signature that is a text", "dsseEnvelope.signatures", ["x"], /a signature is no object/],
    ["an empty signature", "dsseEnvelope.signatures", [{}], /a signature is empty or too long/],
    ["very many signatures", "dsseEnvelope.signatures", Array(99).fill({ sig: "aGk=" }), /more than/],
    ["base64 with a space", "dsseEnvelope.payload", "aGk= ", /payload is not base64/],
    ["base64 with too much padding", "dsseEnvelope.payload", "aGk==", /payload is not base64/],
    ["base64 of both alphabets", "dsseEnvelope.payload", "+_aa", /payload is not base64/],
    ["base64 with bits left over", "dsseEnvelope.payload", "aR==", /payload is not base64/],
    ["a number for base64", "dsseEnvelope.payload", 5, /payload is no text/],
  ];
  for (const [what, path, value, expected] of cases) {
    test(`${what}: ${expected === "good" ? "read" : "refused"}`, async () => {
      const said = await outcome([changed((one) => put(one, path.split("."), value))]);
      if (expected === "good") assert.equal(said, "good");
      else assert.match(said, expected);
    });
  }

  test("the schema's names for fields, and base64 for URLs without padding, are read", async () => {
    assert.equal(await outcome([changed(asSchemaHasThem)]), "good");
    assert.equal(await outcome([changed((one) => recode(one, "base64url"))]), "good");
  });

  test("what could be read in two ways is not read, whichever name repeats the other", async () => {
    const text = byP256.bundle;
    for (const [twice, why] of [
      [text.replace("{", '{"mediaType":"x",'), /the key "mediaType" twice/],
      [text.replace("{", '{"media_type":"x",'), /the field mediaType twice/],
      [text.replace('"payload":', '"payload":"","payload":'), /the key "payload" twice/],
      [`${"[".repeat(100)}${"]".repeat(100)}`, /nested too deeply/],
      [text.replace('"hint":', `"hint":${"[".repeat(5000)}${"]".repeat(5000)},"x":`), /nested too deeply/],
      [`${text}{}`, /it is not JSON/],
      ["", /it is not JSON/],
      ["null", /it is no object/],
    ] as const) {
      assert.notEqual(twice, text);
      assert.throws(() => readBundle(Buffer.from(twice)), why);
    }
    assert.throws(() => readBundle(Buffer.concat([Buffer.from(text), Buffer.from([0xff])])), /it is not UTF-8/);
    assert.throws(() => readBundle(Buffer.alloc(1 << 20, " ")), /it is longer than/);
  });

  test("of several signatures and several bundles one good one is enough", async () => {
    const several = changed((one) => {
      one.dsseEnvelope.signatures = [{ sig: "aGk=", keyid: "x" }, ...one.dsseEnvelope.signatures];
    });
    assert.equal(await outcome([several]), "good");
    assert.match(await outcome(["{}", rowOf("an attestation").bundle]), /a bundle can't be read: it is of the type ""/);
    const { signatures } = await signaturesByReferrers(shelfOf(["{}", several, byP256.bundle]), digest);
    assert.equal(signatures.length, 3);
  });

  test("a change of what is signed, by whomever, is noticed", async () => {
    const swapped = changed((one) => {
      const statement = Buffer.from(one.dsseEnvelope.payload, "base64").toString();
      one.dsseEnvelope.payload = Buffer.from(statement.replace('"who":"me"', '"who":"you"')).toString("base64");
    });
    assert.equal(await outcome([swapped]), "other-key");
    // A signature of the older form over the same bytes is none of an envelope, nor the other way round.
    const pair = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const key = await readPrivateKey(
      pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      "key",
      () => "",
    );
    const payload = makeStatement({ digest, identity: "quay.io/a", annotations: {} });
    const found = async (form: FoundSignature["form"], signed: Buffer) => {
      const result = await search([{ digest, form, payload, signature: await key.sign(signed) }], {
        keys: [key.publicKey],
        fits: () => true,
      });
      return result.found ? "good" : result.nearest;
    };
    assert.equal(await found("statement", signedBytes(payload)), "good");
    assert.equal(await found("statement", payload), "other-key");
    assert.equal(await found("simple", payload), "unreadable");
    assert.equal(await found("manifest", payload), "other-digest");
  });

  test("hundreds of referrers are not all read, those that say to be attestations last", async () => {
    const annotations = { "dev.sigstore.bundle.predicateType": "https://example.org/other" };
    const shelf = shelfOf([byP256.bundle]);
    const good = await shelf.referrers(digest);
    const attested = Array.from({ length: 200 }, (_, at) => ({
      mediaType: MANIFEST,
      digest: sha256Of(`attestation ${at}`),
      size: 1,
      artifactType: BUNDLE_TYPE,
      annotations,
    }));
    const sboms = attested.map((one) => ({ ...one, artifactType: "application/spdx+json" }));
    let asked = 0;
    const crowded: AttachmentSource = {
      ...shelf,
      manifest: async (of) => {
        asked++;
        return shelf.manifest(of);
      },
      referrers: async () => [...sboms, ...attested, ...good],
    };
    const { problem, signatures } = await signaturesByReferrers(crowded, digest);
    assert.equal(signatures.length, 1);
    assert.equal(asked, 64);
    assert.equal(problem, "only 64 of its 201 referrers were read");
  });

  test("a list that names the artifact's type rightly, wrongly or not at all hides nothing", async () => {
    for (const artifactType of [BUNDLE_TYPE, "application/vnd.oci.empty.v1+json", "", SIGNATURE_ARTIFACT]) {
      const { signatures } = await signaturesByReferrers(shelfOf([byP256.bundle], { artifactType }), digest);
      assert.equal(signatures.length, 1, artifactType);
    }
  });
});

describe("statements", () => {
  const good = makeStatement({ digest, identity: "quay.io/a:1", annotations: { b: "2", a: "1" } }).toString();

  test("our own says the name and the annotations", () => {
    assert.deepEqual(readStatement(Buffer.from(good)), {
      kind: "signature",
      claims: [{ digest, identity: "quay.io/a:1", annotations: { a: "1", b: "2" } }],
    });
  });

  test("each subject is a claim of its own, and a digest that no manifest has is none", () => {
    const [row] = JSON.parse(good).subject;
    const hex = "c".repeat(128);
    const subject = [row, { digest: { sha512: hex, gitCommit: "abc", sha256: "XYZ" } }, { name: "x" }];
    const statement = readStatement(Buffer.from(JSON.stringify({ ...JSON.parse(good), subject })));
    assert.deepEqual(
      statement?.kind === "signature" && statement.claims.map(({ digest: of, identity }) => [of, identity]),
      [
        [digest, "quay.io/a:1"],
        [`sha512:${hex}`, undefined],
      ],
    );
  });

  test("what is none, or could be read in two ways, is no statement", () => {
    for (const bad of [
      good.replace("Statement/v1", "Statement/v2"),
      good.replace('"subject"', '"subject":[],"subject"'),
      good.replace('"predicate":{}', '"predicate":{},"more":1'),
      good.replace('"name":"quay.io/a:1"', '"name":1'),
      good.replace('"digest":{', '"digest":[],"x":{'),
      good.replace('"subject":[', '"subject":[1,'),
      good.replace('"_type":', '"type":"x","_type":'),
      `${good} ${" ".repeat(64 << 10)}`,
      "null",
      "",
    ]) {
      assert.notEqual(bad, good);
      assert.equal(readStatement(Buffer.from(bad)), undefined, bad.slice(0, 200));
    }
    const other = readStatement(Buffer.from(good.replace(SIGN_PREDICATE, "https://example.org/other")));
    assert.deepEqual(other, { kind: "attestation", predicateType: "https://example.org/other" });
  });
});

function spelled(end: string): string {
  return `application/vnd.dev.sigstore.bundle${end}`;
}

function asSchemaHasThem(one: Loose): void {
  const { dsseEnvelope, mediaType, verificationMaterial } = one;
  const { payload, payloadType, signatures } = dsseEnvelope;
  for (const key of Object.keys(one)) delete one[key];
  one.media_type = mediaType;
  one.verification_material = { public_key: verificationMaterial.publicKey };
  one.dsse_envelope = { payload, payload_type: payloadType, signatures };
}

function put(at: Loose, [first = "", ...rest]: readonly string[], value: unknown): void {
  if (rest.length > 0) put(at[first], rest, value);
  else at[first] = value;
}

function recode({ dsseEnvelope }: Loose, encoding: BufferEncoding): void {
  const again = (text: string) => Buffer.from(text, "base64").toString(encoding);
  dsseEnvelope.payload = again(dsseEnvelope.payload);
  dsseEnvelope.signatures[0].sig = again(dsseEnvelope.signatures[0].sig);
}
