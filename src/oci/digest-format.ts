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
    throw invalid(isAnyDigest(text) ? "unsupported digest algorithm" : "invalid checksum digest format");
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

/** True for a digest of whatever algorithm, known here or not. */
export function isAnyDigest(text: string): boolean {
  return SHAPE.test(text);
}

/** True for the whole of a sha256 or sha512 digest, in lower case. */
export function isDigest(text: string): boolean {
  return /^(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/.test(text);
}

function invalid(message: string): GantryError {
  return new GantryError("invalid", message);
}
