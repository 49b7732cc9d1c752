import { GantryError } from "../base/errors.ts";

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

/** True for `sha256:<64 hex>`, the one form that the content store keeps. */
export function isSha256Digest(text: string): boolean {
  return /^sha256:[a-f0-9]{64}$/.test(text);
}

function invalid(message: string): GantryError {
  return new GantryError("invalid", message);
}
