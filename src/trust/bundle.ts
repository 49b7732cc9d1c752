import { readBytes, readList, readMessage, readText } from "./proto-json.ts";
import { STATEMENT_TYPE } from "./statement.ts";
import { readStrictJson } from "./strict-json.ts";

/** Of the manifest that names its subject, and of the bundle in it (cosign's BUNDLE_SPEC.md). */
export const BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const BUNDLE = /^application\/vnd\.dev\.sigstore\.bundle(?:\.v0\.3(?:\.\d{1,9})?\+json|\+json;\s?version=0\.3)$/;
const ANY_BUNDLE = "application/vnd.dev.sigstore.bundle";

/** The longest bundle that is read, in bytes: those of signatures have about a thousand. */
export const MOST_BUNDLE = 256 << 10;
const HASHES = [
  { name: "SHA2_256", number: 1, digest: "sha256", bytes: 32 },
  { name: "SHA2_384", number: 2, digest: "sha384", bytes: 48 },
  { name: "SHA2_512", number: 3, digest: "sha512", bytes: 64 },
] as const;
/** Signatures of one envelope that are looked at. */
const MOST_SIGNERS = 8;

/** A sigstore bundle, of which nothing is believed yet. Where `signer` is a certificate, no key says that it is good. */
export type Bundle = { readonly signer: "key" | "certificate" } & (
  | { readonly kind: "statement"; readonly payload: Buffer; readonly signatures: readonly Buffer[] }
  /** A signature over the very bytes of what it is attached to, which have this digest of whatever algorithm. */
  | { readonly kind: "message"; readonly digest: string; readonly signature: Buffer }
);

/** Whether something is called a bundle, of whatever version. */
export function isBundleType(mediaType: string): boolean {
  return mediaType.startsWith(ANY_BUNDLE);
}

/**
 * Reads a bundle (protobuf-specs, sigstore_bundle.proto) of version 0.3, which is the only one that cosign attaches to
 * images. Entries of transparency logs and time stamps are passed over: by themselves they make no signature good, and
 * one by a key needs none. Throws a plain Error whose message is the reason.
 */
export function readBundle(bytes: Uint8Array): Bundle {
  if (bytes.length > MOST_BUNDLE) throw new Error(`it is longer than ${MOST_BUNDLE} bytes`);
  const fields = ["mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"] as const;
  const bundle = readMessage(readStrictJson(bytes), "it", fields);
  const type = readText(bundle.mediaType, "mediaType");
  if (!BUNDLE.test(type))
    throw new Error(`it is of the type ${JSON.stringify(type.slice(0, 100))}, not ${BUNDLE_TYPE}`);
  const signer = signerOf(bundle.verificationMaterial);
  if ((bundle.dsseEnvelope === undefined) === (bundle.messageSignature === undefined)) {
    throw new Error("it has not exactly one of dsseEnvelope and messageSignature");
  }
  if (bundle.messageSignature !== undefined) return { signer, ...readMessageSignature(bundle.messageSignature) };
  return { signer, ...readEnvelope(bundle.dsseEnvelope) };
}

/** A bundle with a statement that a key signed; `hint` says by which, as cosign does: the base64 of a hash of it. */
export function makeBundle(payload: Uint8Array, signature: Uint8Array, hint: string): Buffer {
  return Buffer.from(
    JSON.stringify({
      mediaType: BUNDLE_TYPE,
      verificationMaterial: { publicKey: { hint } },
      dsseEnvelope: {
        payload: Buffer.from(payload).toString("base64"),
        payloadType: STATEMENT_TYPE,
        signatures: [{ sig: Buffer.from(signature).toString("base64") }],
      },
    }),
  );
}

/** What is signed in the place of a statement: the statement with its type and their lengths (DSSE, protocol.md). */
export function signedBytes(statement: Uint8Array): Buffer {
  const head = `DSSEv1 ${STATEMENT_TYPE.length} ${STATEMENT_TYPE} ${statement.length} `;
  return Buffer.concat([Buffer.from(head), statement]);
}

function signerOf(material: unknown): "key" | "certificate" {
  const fields = [
    ...(["publicKey", "certificate", "x509CertificateChain"] as const),
    ...(["tlogEntries", "timestampVerificationData"] as const),
  ];
  const { certificate, publicKey, x509CertificateChain } = readMessage(material, "verificationMaterial", fields);
  const given = [publicKey, certificate, x509CertificateChain].filter((one) => one !== undefined);
  if (given.length !== 1) throw new Error("verificationMaterial names not exactly one key or certificate");
  if (publicKey === undefined) return "certificate";
  // A hint is only that: the key is the reader's.
  readText(readMessage(publicKey, "publicKey", ["hint"]).hint, "hint");
  return "key";
}

function readEnvelope(envelope: unknown) {
  const fields = ["payload", "payloadType", "signatures"] as const;
  const { payload, payloadType, signatures } = readMessage(envelope, "dsseEnvelope", fields);
  const type = readText(payloadType, "payloadType");
  if (type !== STATEMENT_TYPE) {
    throw new Error(`its payload is of the type ${JSON.stringify(type.slice(0, 100))}, not ${STATEMENT_TYPE}`);
  }
  const rows = readList(signatures, "signatures");
  if (rows.length === 0) throw new Error("its envelope has no signature");
  if (rows.length > MOST_SIGNERS) throw new Error(`its envelope has more than ${MOST_SIGNERS} signatures`);
  return {
    kind: "statement",
    payload: readBytes(payload, "payload"),
    signatures: rows.map((row) => {
      const { keyid, sig } = readMessage(row, "a signature", ["sig", "keyid"]);
      readText(keyid, "keyid");
      return readSignature(sig);
    }),
  } as const;
}

function readMessageSignature(message: unknown) {
  const { messageDigest, signature } = readMessage(message, "messageSignature", ["messageDigest", "signature"]);
  const { algorithm, digest } = readMessage(messageDigest, "messageDigest", ["algorithm", "digest"]);
  // The name of the value or its number: both are JSON for an enumeration.
  const known = HASHES.find(({ name, number }) => algorithm === name || algorithm === number);
  if (known === undefined) throw new Error("its messageDigest is none of SHA-2");
  const hash = readBytes(digest, "digest");
  if (hash.length !== known.bytes) throw new Error(`its messageDigest is none of ${known.name}`);
  const text = `${known.digest}:${hash.toString("hex")}`;
  return { kind: "message", digest: text, signature: readSignature(signature) } as const;
}

function readSignature(value: unknown): Buffer {
  const signature = readBytes(value, "a signature");
  if (signature.length === 0 || signature.length > 4096) throw new Error("a signature is empty or too long");
  return signature;
}
