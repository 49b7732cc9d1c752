import { createHash, type Hash } from "node:crypto";
import { Transform, type TransformCallback } from "node:stream";
import { GantryError } from "../base/errors.ts";
import { type Digest, parseDigest } from "./digest-format.ts";

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
