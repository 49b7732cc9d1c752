import { randomBytes, scrypt } from "node:crypto";
import * as v from "valibot";
import { GantryError } from "../base/errors.ts";

/**
 * Private keys as cosign keeps them: JSON in PEM, the key's PKCS#8 in a NaCl secretbox whose key scrypt makes of a
 * password. Its first version had a label of its own name, which is read as well.
 */
const LABEL = "ENCRYPTED SIGSTORE PRIVATE KEY";
const PEM = /-----BEGIN (ENCRYPTED (?:COSIGN|SIGSTORE) PRIVATE KEY)-----\s+([A-Za-z0-9+/=\s]+?)-----END \1-----/;

/** cosign reads a short list of costs and no others; this one is what it writes. */
const COST = { N: 65_536, r: 8, p: 1 } as const;
/** What a file that somebody else made may ask of this machine. */
const MOST_MEMORY = 1 << 30;
const MOST_ROUNDS = 16;

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const base64 = v.pipe(v.string(), v.base64());
const box = v.object({
  kdf: v.object({ name: v.literal("scrypt"), params: v.object({ N: whole, r: whole, p: whole }), salt: base64 }),
  cipher: v.object({ name: v.literal("nacl/secretbox"), nonce: base64 }),
  ciphertext: base64,
});

export function isSealed(pem: string): boolean {
  return PEM.test(pem);
}

export async function seal(plain: Uint8Array, password: string): Promise<string> {
  const salt = randomBytes(32);
  const nonce = randomBytes(24);
  const cipher = await secretbox(await stretch(password, salt, COST), nonce);
  const text = JSON.stringify({
    kdf: { name: "scrypt", params: COST, salt: salt.toString("base64") },
    cipher: { name: "nacl/secretbox", nonce: nonce.toString("base64") },
    ciphertext: Buffer.from(cipher.encrypt(plain)).toString("base64"),
  });
  const lines =
    Buffer.from(text)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${LABEL}-----\n${lines.join("\n")}\n-----END ${LABEL}-----\n`;
}

/** What was sealed. Throws `invalid` for a damaged file and for a wrong password, which can't be told apart. */
export async function openSealed(pem: string, password: string, name: string): Promise<Buffer> {
  const refuse = (why: string): never => {
    throw new GantryError("invalid", `the key ${name} cannot be used: ${why}`);
  };
  const { kdf, cipher, ciphertext } = parse(pem) ?? refuse("the file is damaged");
  const { N, r, p } = kdf.params;
  if ((N & (N - 1)) !== 0 || N < 2 || 128 * N * r > MOST_MEMORY || p > MOST_ROUNDS) {
    refuse("it asks for more memory or time than a key may take to be opened");
  }
  const nonce = Buffer.from(cipher.nonce, "base64");
  if (nonce.length !== 24) refuse("the file is damaged");
  const opened = await secretbox(await stretch(password, Buffer.from(kdf.salt, "base64"), kdf.params), nonce);
  try {
    return Buffer.from(opened.decrypt(Buffer.from(ciphertext, "base64")));
  } catch {
    return refuse("the password is wrong, or the file is damaged");
  }
}

function parse(pem: string): v.InferOutput<typeof box> | undefined {
  try {
    const body = PEM.exec(pem)?.[2] ?? "";
    return v.parse(box, JSON.parse(Buffer.from(body, "base64").toString("utf8")));
  } catch {
    return undefined;
  }
}

function stretch(
  password: string,
  salt: Uint8Array,
  { N, r, p }: { readonly N: number; readonly r: number; readonly p: number },
): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  // What scrypt needs, and a little for its own arrays.
  const maxmem = 128 * r * (N + p + 8);
  scrypt(password, salt, 32, { N, r, p, maxmem }, (error, key) => (error ? reject(error) : resolve(key)));
  return promise;
}

/** Loaded for those who sign: checking a signature needs none of it. */
async function secretbox(key: Uint8Array, nonce: Uint8Array) {
  const { xsalsa20poly1305 } = await import("@noble/ciphers/salsa.js");
  return xsalsa20poly1305(key, nonce);
}
