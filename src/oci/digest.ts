import { createHash, type Hash } from "node:crypto";
import { Transform, type TransformCallback } from "node:stream";
import { GantryError } from "../base/errors.ts";

/** `sha256:<64 hex>` or `sha512:<128 hex>`, lower case (image-spec, descriptor.md "Digests"). */
export type Digest = string;

const HEX_LENGTH: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };
const SUPPORTED = Object.keys(HEX_LENGTH);
const SHAPE = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;

/** Throws `invalid` unless the text is a digest (image-spec, descriptor.md "Digests") of a supported algorithm. */
export function validateDigest(text: string, algorithms: readonly string[] = SUPPORTED): void {
  const colon = text.indexOf(":");
  const algorithm = text.slice(0, Math.max(colon, 0));
  const encoded = text.slice(colon + 1);
  if (algorithm === "" || encoded === "") throw invalid("invalid checksum digest format");
  if (!algorithms.includes(algorithm)) {
    throw invalid(SHAPE.test(text) ? "unsupported digest algorithm" : "invalid checksum digest format");
  }
  if (encoded.length !== HEX_LENGTH[algorithm]) throw invalid("invalid checksum digest length");
  if (!/^[a-f0-9]+$/.test(encoded)) throw invalid("invalid checksum digest format");
}

/** Takes apart a digest of the algorithms that blobs are kept by; `invalid` with Docker's texts. Its parts are safe as names of files. */
export function parseDigest(text: string): { readonly algorithm: "sha256" | "sha512"; readonly hex: string } {
  validateDigest(text, ["sha256", "sha512"]);
  const [algorithm = "", hex = ""] = text.split(":");
  return { algorithm: algorithm as "sha256" | "sha512", hex };
}

/** True for the whole of a sha256 or sha512 digest, in lower case. */
export function isDigest(text: string): boolean {
  return /^(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/.test(text);
}

/** The digest of these bytes; of a string, of its UTF-8. */
export function sha256Of(bytes: string | Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A running digest and the count of the bytes it has seen. */
export class Digester {
  readonly algorithm: "sha256" | "sha512";
  #hash: Hash;
  #size = 0;

  constructor(algorithm: "sha256" | "sha512" = "sha256") {
    this.algorithm = algorithm;
    this.#hash = createHash(algorithm);
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#size += bytes.length;
  }

  get size(): number {
    return this.#size;
  }

  /** The digest of what was seen so far; more may follow. */
  digest(): Digest {
    return `${this.algorithm}:${this.#hash.copy().digest("hex")}`;
  }
}

/** Passes bytes through unchanged and knows their digest and size; both are final once the stream has ended. */
export class DigestStream extends Transform {
  readonly #digester: Digester;
  readonly #expected: Digest | undefined;

  /** With `expected`, the stream fails with `invalid` at its end if the bytes were others. */
  constructor(expected?: Digest) {
    super({ highWaterMark: 1 << 18 });
    this.#expected = expected;
    this.#digester = new Digester(expected === undefined ? "sha256" : parseDigest(expected).algorithm);
  }

  get digest(): Digest {
    return this.#digester.digest();
  }

  get size(): number {
    return this.#digester.size;
  }

  override _transform(chunk: Uint8Array, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#digester.update(chunk);
    done(null, chunk);
  }

  override _flush(done: TransformCallback): void {
    if (this.#expected === undefined || this.digest === this.#expected) done();
    else done(new GantryError("invalid", `filesystem layer verification failed for digest ${this.#expected}`));
  }
}

/** Chain ids of a list of diff ids (image-spec, config.md "Layer ChainID"): the n-th names layers 0 … n together. */
export function chainId(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) {
    const parent = chain.at(-1);
    chain.push(parent === undefined ? diffId : sha256Of(`${parent} ${diffId}`));
  }
  return chain;
}

function invalid(message: string): GantryError {
  return new GantryError("invalid", message);
}
