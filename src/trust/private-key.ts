import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign } from "node:crypto";
import { promisify } from "node:util";
import { GantryError } from "../base/errors.ts";
import { isSealed, openSealed, seal } from "./key-file.ts";
import { hashOf, MOST_KEY, type PublicKey, publicKeyOf, weakness } from "./public-key.ts";

/** A key that images are signed with. It never leaves the process of the person who signs. */
export interface PrivateKey {
  readonly publicKey: PublicKey;
  sign(payload: Uint8Array): Promise<Buffer>;
}

/** A new pair as files: the private one sealed by the password, the public one in PEM. */
export interface KeyPairFiles {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** Makes an ECDSA key on P-256. An empty password seals nothing against anybody, as with cosign. */
export async function makeKeyPair(password: string): Promise<KeyPairFiles> {
  const pair = await promisify(generateKeyPair)("ec", { namedCurve: "prime256v1" });
  return {
    privateKey: await seal(pair.privateKey.export({ type: "pkcs8", format: "der" }), password),
    publicKey: pair.publicKey.export({ type: "spki", format: "pem" }).toString(),
  };
}

/**
 * Reads a private key: as cosign and `keygen` write it, or in plain or encrypted PEM (PKCS#8, or the older forms of RSA
 * and EC). `password` is asked only for what is sealed. Throws `invalid`.
 */
export async function readPrivateKey(
  pem: string,
  name: string,
  password: () => Promise<string> | string,
): Promise<PrivateKey> {
  const refuse = (why: string): never => {
    throw new GantryError("invalid", `the key ${name} cannot be used: ${why}`);
  };
  if (pem.length > MOST_KEY) refuse(`it is longer than ${MOST_KEY} bytes`);
  const key = isSealed(pem)
    ? fromDer(await openSealed(pem, await password(), name), refuse)
    : await fromPem(pem, password, refuse);
  const complaint = weakness(key);
  if (complaint !== undefined) refuse(complaint);
  const hash = hashOf(key);
  return {
    publicKey: publicKeyOf(createPublicKey(key), name),
    sign: (payload) => {
      const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
      sign(hash, payload, key, (error, signature) => (error ? reject(error) : resolve(signature)));
      return promise;
    },
  };
}

function fromDer(der: Buffer, refuse: (why: string) => never): KeyObject {
  try {
    return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  } catch {
    return refuse("what is sealed in it is no key");
  } finally {
    der.fill(0);
  }
}

async function fromPem(
  pem: string,
  password: () => Promise<string> | string,
  refuse: (why: string) => never,
): Promise<KeyObject> {
  if (/-----BEGIN (RSA )?PUBLIC KEY-----/.test(pem)) refuse("it is a public key: signing needs the private one");
  if (!/-----BEGIN (?:(?:RSA|EC|ENCRYPTED) )?PRIVATE KEY-----/.test(pem)) refuse("it is no private key in PEM");
  const isEncrypted = pem.includes("BEGIN ENCRYPTED PRIVATE KEY") || pem.includes("Proc-Type: 4,ENCRYPTED");
  const passphrase = isEncrypted ? await password() : undefined;
  try {
    return createPrivateKey({ key: pem, ...(passphrase !== undefined && { passphrase }) });
  } catch {
    return refuse(isEncrypted ? "the password is wrong, or the file is damaged" : "it is no private key in PEM");
  }
}
