import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { seal } from "./key-file.ts";
import { makeKeyPair, readPrivateKey } from "./private-key.ts";
import { readPublicKey } from "./public-key.ts";

const PAYLOAD = Buffer.from("what is signed");
const never = () => assert.fail("no password was to be asked for");

function pemOf(type: "rsa" | "ed25519" | "ec", options: object = {}): { privateKey: string; publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync(type as "ec", options as { namedCurve: string });
  return {
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    publicKey: publicKey.export({ type: "spki", format: "pem" }).toString(),
  };
}

function sealedPem(document: unknown, label = "ENCRYPTED COSIGN PRIVATE KEY"): string {
  return `-----BEGIN ${label}-----\n${Buffer.from(JSON.stringify(document)).toString("base64")}\n-----END ${label}-----\n`;
}

test("a new pair signs and verifies, and its private half opens with its password alone", async () => {
  const pair = await makeKeyPair("pass word");
  assert.match(pair.privateKey, /^-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n/);
  const key = await readPrivateKey(pair.privateKey, "a.key", () => "pass word");
  const publicKey = readPublicKey(pair.publicKey, "a.pub");
  assert.equal(key.publicKey.fingerprint, publicKey.fingerprint);
  const signature = await key.sign(PAYLOAD);
  assert.equal(await publicKey.verify(PAYLOAD, signature), true);
  assert.equal(await publicKey.verify(Buffer.from("something else"), signature), false);
  await assert.rejects(
    readPrivateKey(pair.privateKey, "a.key", () => "pass-word"),
    {
      kind: "invalid",
      message: "the key a.key cannot be used: the password is wrong, or the file is damaged",
    },
  );
});

test("two pairs sealed by one password have no byte of salt or nonce in common", async () => {
  const [one, other] = [await makeKeyPair(""), await makeKeyPair("")];
  const salts = [one, other].map(({ privateKey }) => {
    const body = privateKey.split("\n").slice(1, -2).join("");
    const { cipher, kdf } = JSON.parse(Buffer.from(body, "base64").toString("utf8"));
    assert.deepEqual(kdf.params, { N: 65536, r: 8, p: 1 });
    return [kdf.salt, cipher.nonce];
  });
  assert.notEqual(salts[0]?.[0], salts[1]?.[0]);
  assert.notEqual(salts[0]?.[1], salts[1]?.[1]);
});

/** The document in a key file that holds text in the place of a key. */
async function sealedText(): Promise<{ kdf: object; cipher: object; ciphertext: string }> {
  const pem = await seal(Buffer.from("no key"), "supersecret");
  return JSON.parse(Buffer.from(pem.split("\n").slice(1, -2).join(""), "base64").toString("utf8"));
}

test("the file's older label is read as well, and what is sealed in it must be a key", async () => {
  const document = await sealedText();
  await assert.rejects(
    readPrivateKey(sealedPem(document), "x.key", () => "supersecret"),
    {
      message: "the key x.key cannot be used: what is sealed in it is no key",
    },
  );
  await assert.rejects(
    readPrivateKey(sealedPem(document), "x.key", () => "Supersecret"),
    {
      message: "the key x.key cannot be used: the password is wrong, or the file is damaged",
    },
  );
});

test("a file that would take gigabytes or minutes to open is refused before it does", async () => {
  const document = await sealedText();
  const asking = (params: object) => sealedPem({ ...document, kdf: { ...document.kdf, params } });
  for (const params of [
    { N: 2 ** 30, r: 8, p: 1 },
    { N: 32768, r: 2 ** 30, p: 1 },
    { N: 2, r: 1, p: 2 ** 30 },
    { N: 3, r: 8, p: 1 },
  ]) {
    await assert.rejects(
      readPrivateKey(asking(params), "x.key", () => ""),
      /asks for more memory or time than a key may take/,
    );
  }
  for (const broken of [
    sealedPem({}),
    sealedPem({ ...document, cipher: { name: "nacl/secretbox", nonce: "AAAA" } }),
    sealedPem({ ...document, kdf: { ...document.kdf, name: "argon2" } }),
    "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n!!!!\n-----END ENCRYPTED COSIGN PRIVATE KEY-----\n",
  ]) {
    await assert.rejects(
      readPrivateKey(broken, "x.key", () => ""),
      /cannot be used: (the file is damaged|it is no private)/,
    );
  }
});

test("plain keys of every kind sign without a password, and their signatures hold", async () => {
  const kinds = [
    pemOf("ec", { namedCurve: "prime256v1" }),
    pemOf("ec", { namedCurve: "secp384r1" }),
    pemOf("ed25519"),
    pemOf("rsa", { modulusLength: 2048 }),
  ];
  for (const pair of kinds) {
    const key = await readPrivateKey(pair.privateKey, "plain", never);
    const publicKey = readPublicKey(pair.publicKey, "plain.pub");
    const signature = await key.sign(PAYLOAD);
    assert.equal(await publicKey.verify(PAYLOAD, signature), true);
    for (const wrong of [Buffer.alloc(0), Buffer.alloc(4096, 1), signature.subarray(1), Buffer.from("nonsense")]) {
      assert.equal(await publicKey.verify(PAYLOAD, wrong), false);
    }
  }
});

test("what is no key, the wrong half, or too weak is refused by name and reason", async () => {
  const ec = pemOf("ec", { namedCurve: "prime256v1" });
  const refusals: [() => unknown, RegExp][] = [
    [() => readPublicKey(ec.privateKey, "k"), /the key k cannot be used: it is a private key/],
    [() => readPublicKey("hello", "k"), /the key k cannot be used: it is no public key in PEM/],
    [() => readPublicKey("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "k"), /no public key in PEM/],
    [() => readPublicKey(pemOf("rsa", { modulusLength: 1024 }).publicKey, "k"), /RSA key of 1024 bits is too short/],
    [() => readPublicKey(pemOf("ec", { namedCurve: "secp256k1" }).publicKey, "k"), /its curve secp256k1 is none of/],
    [() => readPublicKey(" ".repeat(70_000), "k"), /longer than 65536 bytes/],
    [() => readPrivateKey(ec.publicKey, "k", never), /it is a public key: signing needs the private one/],
    [() => readPrivateKey("", "k", never), /it is no private key in PEM/],
  ];
  for (const [act, message] of refusals) await assert.rejects(async () => act(), message);
});
