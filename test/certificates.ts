import { createSign, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP, isIPv4 } from "node:net";

/** A certificate and its key as PEM, and what issues further ones. */
export interface Certified {
  readonly cert: string;
  readonly key: string;
  /** The certificate's DER, for a token's `x5c`. */
  readonly der: Buffer;
}

export interface CertificateWish {
  /** Addresses and names that the certificate is for. */
  readonly names?: readonly string[];
  readonly commonName?: string;
  /** Default: from an hour ago to a day from now. */
  readonly from?: Date;
  readonly until?: Date;
  /** What it is used for; default `server`. */
  readonly usage?: "server" | "client";
  /** RSA for what wants RS256; default an elliptic curve, which is quick to make. */
  readonly isRsa?: boolean;
}

/** A certificate authority of a test's own. Nobody trusts it who isn't told to. */
export class TestAuthority {
  readonly certificate: Certified;
  readonly #key: KeyObject;
  readonly #name: string;

  constructor(name = "a test's authority") {
    this.#name = name;
    const made = make({ commonName: name }, { name, key: undefined }, true);
    this.#key = made.private;
    this.certificate = made.certified;
  }

  issue(wish: CertificateWish = {}): Certified {
    return make(wish, { name: this.#name, key: this.#key }, false).certified;
  }
}

/** A certificate that nobody issued but itself. */
export function selfSigned(wish: CertificateWish = {}): Certified {
  return make(wish, { name: wish.commonName ?? "itself", key: undefined }, false).certified;
}

/** An RS256 token (RFC 7519) that bears the certificate of its signer, as distribution's registry wants it. */
export function signedToken(claims: object, signer: Certified): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const head = part({ typ: "JWT", alg: "RS256", x5c: [signer.der.toString("base64")] });
  const text = `${head}.${part(claims)}`;
  return `${text}.${createSign("RSA-SHA256").update(text).sign(signer.key).toString("base64url")}`;
}

function make(
  wish: CertificateWish,
  issuer: { readonly name: string; readonly key: KeyObject | undefined },
  isAuthority: boolean,
): { readonly certified: Certified; readonly private: KeyObject } {
  const pair =
    wish.isRsa === true
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const signer = issuer.key ?? pair.privateKey;
  const algorithm = signer.asymmetricKeyType === "rsa" ? [...OID.sha256Rsa, NULL] : OID.sha256Ecdsa;
  const tbs = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(12)])),
    sequence(...algorithm),
    nameOf(issuer.name),
    sequence(
      time(wish.from ?? new Date(Date.now() - 3_600_000)),
      time(wish.until ?? new Date(Date.now() + 86_400_000)),
    ),
    nameOf(wish.commonName ?? (issuer.key === undefined ? issuer.name : "a test's registry")),
    pair.publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, sequence(...extensionsOf(wish, isAuthority))),
  );
  const der = sequence(tbs, sequence(...algorithm), bits(sign("sha256", tbs, signer)));
  const lines = der.toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  const cert = `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
  const key = pair.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  return { certified: { cert, key, der }, private: pair.privateKey };
}

function extensionsOf(wish: CertificateWish, isAuthority: boolean): Buffer[] {
  const extension = (id: Buffer, isCritical: boolean, value: Buffer) =>
    sequence(id, ...(isCritical ? [tagged(0x01, Buffer.from([0xff]))] : []), tagged(0x04, value));
  if (isAuthority) {
    return [
      extension(OID.basicConstraints, true, sequence(tagged(0x01, Buffer.from([0xff])))),
      // keyCertSign and cRLSign.
      extension(OID.keyUsage, true, tagged(0x03, Buffer.from([1, 0x06]))),
    ];
  }
  const names = (wish.names ?? []).map((name) => {
    if (isIP(name) === 0) return tagged(0x82, Buffer.from(name));
    return tagged(0x87, isIPv4(name) ? Buffer.from(name.split(".").map(Number)) : ipv6(name));
  });
  const usage = wish.usage === "client" ? OID.clientAuth : OID.serverAuth;
  return [
    extension(OID.basicConstraints, true, sequence()),
    extension(OID.extendedKeyUsage, false, sequence(usage)),
    ...(names.length === 0 ? [] : [extension(OID.alternativeName, false, sequence(...names))]),
  ];
}

/** DER (ITU-T X.690) as far as certificates need it. */
function tagged(tag: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  for (let rest = body.length; rest > 0; rest >>>= 8) length.unshift(rest & 0xff);
  const head = body.length < 128 ? [tag, body.length] : [tag, 0x80 | length.length, ...length];
  return Buffer.concat([Buffer.from(head), body]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, ...parts);
}

function integer(bytes: Buffer): Buffer {
  return tagged(0x02, bytes);
}

function bits(bytes: Buffer): Buffer {
  return tagged(0x03, Buffer.from([0]), bytes);
}

function nameOf(commonName: string): Buffer {
  return sequence(tagged(0x31, sequence(OID.commonName, tagged(0x0c, Buffer.from(commonName)))));
}

function time(date: Date): Buffer {
  const text = date.toISOString().replace(/[-:T]|\.\d+/g, "");
  // Two digits of the year up to 2049 (RFC 5280, 4.1.2.5).
  return date.getUTCFullYear() < 2050 ? tagged(0x17, Buffer.from(text.slice(2))) : tagged(0x18, Buffer.from(text));
}

function ipv6(address: string): Buffer {
  const [head = "", tail] = address.split("::");
  const words = (text: string) => text.split(":").filter(Boolean);
  const after = tail === undefined ? [] : words(tail);
  const zeros = Array.from({ length: 8 - words(head).length - after.length }, () => "0");
  return Buffer.from([...words(head), ...zeros, ...after].map((word) => word.padStart(4, "0")).join(""), "hex");
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = rest.flatMap((value) => {
    const digits = [value & 0x7f];
    for (let left = value >>> 7; left > 0; left >>>= 7) digits.unshift((left & 0x7f) | 0x80);
    return digits;
  });
  return tagged(0x06, Buffer.from([first * 40 + second, ...bytes]));
}

const NULL = tagged(0x05);
const OID = {
  sha256Rsa: [oid("1.2.840.113549.1.1.11")],
  sha256Ecdsa: [oid("1.2.840.10045.4.3.2")],
  commonName: oid("2.5.4.3"),
  basicConstraints: oid("2.5.29.19"),
  keyUsage: oid("2.5.29.15"),
  extendedKeyUsage: oid("2.5.29.37"),
  alternativeName: oid("2.5.29.17"),
  serverAuth: oid("1.3.6.1.5.5.7.3.1"),
  clientAuth: oid("1.3.6.1.5.5.7.3.2"),
} as const;
