import * as v from "valibot";
import { GantryError } from "../base/errors.ts";
import { Digester } from "../oci/digest.ts";
import { isDigest, parseDigest } from "../oci/digest-format.ts";
import { type Descriptor, type Index, type Manifest, MEDIA_TYPE } from "../oci/image.ts";
import { checked, indexOf, manifestOf, parseDocument } from "../oci/image-config.ts";

/** What a name or a digest points to: its bytes, and what they say. */
export type ManifestDocument = { readonly descriptor: Descriptor; readonly bytes: Buffer } & (
  | { readonly kind: "image"; readonly manifest: Manifest }
  | { readonly kind: "index"; readonly index: Index }
);

const INDEXES: readonly string[] = [MEDIA_TYPE.ociIndex, MEDIA_TYPE.dockerManifestList];
const MANIFESTS: readonly string[] = [MEDIA_TYPE.ociManifest, MEDIA_TYPE.dockerManifest];

/** What is asked for: an index before an image, as the former names the latter. */
export const ACCEPTED_MANIFESTS: string = [...INDEXES, ...MANIFESTS].join(", ");

const head = v.looseObject({
  schemaVersion: v.number(),
  mediaType: v.optional(v.string()),
  manifests: v.optional(v.unknown()),
  layers: v.optional(v.unknown()),
  config: v.optional(v.unknown()),
});

/**
 * Reads a manifest as a registry answered it. `contentType` is the answer's; the document's own word is taken before
 * it. Throws for schema 1, for what is neither an image nor an index, and for what could be read as both.
 */
export function readManifest(bytes: Buffer, contentType: string, name: string): ManifestDocument {
  const document = parseDocument(bytes, "image manifest");
  const shape = checked(head, document, "image manifest");
  const told = contentType.split(";")[0]?.trim() ?? "";
  if (shape.schemaVersion === 1 || told.startsWith("application/vnd.docker.distribution.manifest.v1+")) {
    throw new GantryError(
      "unsupported",
      `cannot use ${name}: its manifest is of Docker's schema 1, which is not supported any more: let its author push it again`,
    );
  }
  const isIndexShape = shape.manifests !== undefined;
  const isImageShape = shape.layers !== undefined || shape.config !== undefined;
  const mediaType = shape.mediaType ?? guess(told, isIndexShape);
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  if (isIndexShape && isImageShape) throw ambiguous(name);
  if (INDEXES.includes(mediaType) && !isImageShape)
    return { kind: "index", descriptor, bytes, index: indexOf(document) };
  if (MANIFESTS.includes(mediaType) && !isIndexShape) {
    return { kind: "image", descriptor, bytes, manifest: manifestOf(document) };
  }
  if (INDEXES.includes(mediaType) || MANIFESTS.includes(mediaType)) throw ambiguous(name);
  throw new GantryError("invalid", `cannot use ${name}: unsupported media type ${mediaType.slice(0, 200)}`);
}

/** The digest of a manifest as the registry must have it; throws if these bytes have another. */
export function checkDigest(bytes: Uint8Array, expected: string): void {
  if (digestOf(bytes, parseDigest(expected).algorithm) === expected) return;
  throw new GantryError("internal", `manifest verification failed for digest ${expected}`);
}

/** The `Docker-Content-Digest` of an answer; undefined if it is none. */
export function toldDigest(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" && isDigest(header) ? header : undefined;
}

/** OCI manifests need not say their type: the answer's does, or else their fields. */
function guess(told: string, isIndexShape: boolean): string {
  if (INDEXES.includes(told) || MANIFESTS.includes(told)) return told;
  return isIndexShape ? MEDIA_TYPE.ociIndex : MEDIA_TYPE.ociManifest;
}

function digestOf(bytes: Uint8Array, algorithm?: "sha256" | "sha512"): string {
  const digester = new Digester(algorithm);
  digester.update(bytes);
  return digester.digest();
}

function ambiguous(name: string): GantryError {
  return new GantryError("invalid", `cannot use ${name}: its manifest could be read as an image and as an index`);
}
