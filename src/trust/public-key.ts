import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { GantryError } from "../base/errors.ts";

/** The longest file of a key that is read, in bytes. */
export const MOST_KEY = 64 << 10;
const LEAST_RSA_BITS = 2048;
const OWN_HASH: ReadonlyMap<string, string> = new Map([
  ["secp384r1", "sha384"],
  ["secp521r1", "sha512"],
]);
const CURVES: readonly string[] = ["prime256v1", "secp384r1", "secp521r1"];

/** A key that signatures are checked with. */
export interface PublicKey {
  /** What people know it by: the path of its file, or what else it came from. */
  readonly name: string;
  /** `SHA256:` and the base64 of the hash of the key's DER, to tell two keys apart. */
  readonly fingerprint: string;
  /** The same as bundles name a key by it. */
  readonly hint: string;
  /** Whether the signature is one of this key over these bytes. It does not hold up the event loop. */
  verify(payload: Uint8Array, signature: Uint8Array): Promise<boolean>;
}

/**
 * Reads a public key in PEM: ECDSA (P-256, P-384, P-521) with SHA-256 or the hash of the curve's length, RSA of at least
 * 2048 bits with SHA-256, Ed25519. Throws `invalid`: "the key x cannot be used: why".
 */
export function readPublicKey(pem: string, name: string): PublicKey {
  const refuse = (why: string): never => {
    throw new GantryError("invalid", `the key ${name} cannot be used: ${why}`);
  };
  if (pem.length > MOST_KEY) refuse(`it is longer than ${MOST_KEY} bytes`);
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(pem)) {
    refuse("it is a private key: give the public one, which cosign and keygen write with the ending .pub");
  }
  if (!/-----BEGIN (RSA )?PUBLIC KEY-----/.test(pem)) refuse("it is no public key in PEM");
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    return refuse("it is no public key in PEM");
  }
  const complaint = weakness(key);
  if (complaint !== undefined) refuse(complaint);
  return publicKeyOf(key, name);
}

/** The other half of a private key that was read already. */
export function publicKeyOf(key: KeyObject, name: string): PublicKey {
  const der = key.export({ type: "spki", format: "der" });
  const hint = createHash("sha256").update(der).digest("base64");
  const hashes = hashesOf(key);
  return {
    name,
    fingerprint: `SHA256:${hint.replace(/=+$/, "")}`,
    hint,
    verify: async (payload, signature) => {
      for (const hash of hashes) if (await isGood(hash, payload, key, signature)) return true;
      return false;
    },
  };
}

function isGood(hash: string | null, payload: Uint8Array, key: KeyObject, signature: Uint8Array): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  // What is no signature at all (a wrong length, no DER) is an error to some libraries and false to others. Where there
  // is none, Node says null and Bun undefined.
  verify(hash, payload, key, signature, (error, answer) => resolve(!error && answer));
  return promise;
}

/** Why a key is none to be trusted; undefined for a sound one. */
export function weakness(key: KeyObject): string | undefined {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === "ed25519") return undefined;
  if (type === "ec") {
    const curve = details?.namedCurve ?? "unknown";
    return CURVES.includes(curve) ? undefined : `its curve ${curve} is none of P-256, P-384 and P-521`;
  }
  if (type === "rsa") {
    const bits = details?.modulusLength ?? 0;
    return bits >= LEAST_RSA_BITS ? undefined : `an RSA key of ${bits} bits is too short: ${LEAST_RSA_BITS} are needed`;
  }
  return `it is of the kind ${type ?? "unknown"}: ECDSA, RSA and Ed25519 are read`;
}

/** What a key signs with: what every reader of signatures takes of it. Ed25519 has its hash within. */
export function hashOf(key: KeyObject): "sha256" | null {
  return key.asymmetricKeyType === "ed25519" ? null : "sha256";
}

/** What others sign with, too: cosign takes a hash of the curve's own length since its third version. */
function hashesOf(key: KeyObject): readonly (string | null)[] {
  const own = OWN_HASH.get(key.asymmetricKeyDetails?.namedCurve ?? "");
  return own === undefined ? [hashOf(key)] : [hashOf(key), own];
}
