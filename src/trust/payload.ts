import * as v from "valibot";
import { isDigest } from "../oci/digest-format.ts";
import { readStrictJson } from "./strict-json.ts";

/** What a signature says: a manifest's digest and the name that it was signed under. */
export interface SignedClaim {
  /** Of the manifest, `sha256:…`. */
  readonly digest: string;
  /** The name as the signer wrote it: `registry.example/team/app`, with or without a tag; some sign none. */
  readonly identity?: string;
  /** What the signer added. */
  readonly annotations: Readonly<Record<string, unknown>>;
}

/** The longest payload that is read, in bytes; real ones have some hundred. */
export const MOST_PAYLOAD = 64 << 10;

/** What it calls itself. */
export const SIMPLE_TYPE = "cosign container image signature";

const shape = v.strictObject({
  critical: v.strictObject({
    identity: v.strictObject({ "docker-reference": v.string() }),
    image: v.strictObject({ "docker-manifest-digest": v.pipe(v.string(), v.check(isDigest)) }),
    type: v.literal(SIMPLE_TYPE),
  }),
  optional: v.nullable(v.record(v.string(), v.unknown())),
});

/**
 * The bytes that are signed: the simple-signing document as cosign writes it (SIGNATURE_SPEC.md, "Payload"), whose
 * fields are in the order of their names.
 */
export function makePayload(claim: {
  readonly digest: string;
  readonly identity: string;
  readonly annotations: Readonly<Record<string, string>>;
}): Buffer {
  const annotations = Object.entries(claim.annotations).sort(([one], [other]) => (one < other ? -1 : 1));
  return Buffer.from(
    JSON.stringify({
      critical: {
        identity: { "docker-reference": claim.identity },
        image: { "docker-manifest-digest": claim.digest },
        type: SIMPLE_TYPE,
      },
      optional: annotations.length === 0 ? null : Object.fromEntries(annotations),
    }),
  );
}

/** Reads a payload; undefined for what is none. What it says is to be believed only with a signature over its bytes. */
export function readPayload(bytes: Uint8Array): SignedClaim | undefined {
  if (bytes.length > MOST_PAYLOAD) return undefined;
  try {
    const { critical, optional } = v.parse(shape, readStrictJson(bytes));
    return {
      digest: critical.image["docker-manifest-digest"],
      identity: critical.identity["docker-reference"],
      annotations: optional ?? {},
    };
  } catch {
    return undefined;
  }
}
