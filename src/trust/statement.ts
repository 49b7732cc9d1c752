import { isDigest } from "../oci/digest-format.ts";
import type { SignedClaim } from "./payload.ts";
import { readList, readMessage, readText } from "./proto-json.ts";
import { readStrictJson } from "./strict-json.ts";

/** What cosign signs since its third version: an in-toto statement (in-toto/attestation, spec/v1/statement.md). */
export const STATEMENT_TYPE = "application/vnd.in-toto+json";
/** What it says of its subjects: that they are signed, and nothing else. */
export const SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1";
const VERSION = "https://in-toto.io/Statement/v1";

/** The longest statement that is read, in bytes; real ones have some hundred. */
const MOST_STATEMENT = 64 << 10;

/** What a statement says: that manifests are signed, each by a claim, or anything else of them. */
export type Statement =
  | { readonly kind: "signature"; readonly claims: readonly SignedClaim[] }
  | { readonly kind: "attestation"; readonly predicateType: string };

/**
 * The bytes of a statement that a manifest is signed. cosign's own name nothing but the digest; here the name is the
 * subject's, which cosign passes over.
 */
export function makeStatement(claim: {
  readonly digest: string;
  readonly identity: string;
  readonly annotations: Readonly<Record<string, string>>;
}): Buffer {
  const [algorithm = "", hex = ""] = claim.digest.split(":");
  const annotations = Object.entries(claim.annotations).sort(([one], [other]) => (one < other ? -1 : 1));
  return Buffer.from(
    JSON.stringify({
      _type: VERSION,
      subject: [
        {
          name: claim.identity,
          digest: { [algorithm]: hex },
          ...(annotations.length > 0 && { annotations: Object.fromEntries(annotations) }),
        },
      ],
      predicateType: SIGN_PREDICATE,
      predicate: {},
    }),
  );
}

/** Reads a statement; undefined for what is none. What it says is to be believed only with a signature over it. */
export function readStatement(bytes: Uint8Array): Statement | undefined {
  if (bytes.length > MOST_STATEMENT) return undefined;
  try {
    const fields = ["_type", "subject", "predicateType", "predicate"] as const;
    const { _type: version, predicateType, subject } = readMessage(readStrictJson(bytes), "the statement", fields);
    const type = readText(predicateType, "predicateType");
    // Older versions of statements, too, say what they attest; that something is signed only this one says.
    if (type !== SIGN_PREDICATE) return { kind: "attestation", predicateType: type };
    if (version !== VERSION) return undefined;
    return { kind: "signature", claims: readList(subject, "subject").flatMap(claimsOf) };
  } catch {
    return undefined;
  }
}

/** One for each of a subject's digests that a manifest can have. */
function claimsOf(subject: unknown): SignedClaim[] {
  const fields = ["name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"] as const;
  const { annotations, digest, name } = readMessage(subject, "a subject", fields);
  const identity = readText(name, "name");
  return Object.entries(objectOf(digest)).flatMap(([algorithm, hex]) => {
    const text = `${algorithm}:${readText(hex, "a digest")}`;
    if (!isDigest(text)) return [];
    return [{ digest: text, ...(identity !== "" && { identity }), annotations: objectOf(annotations) }];
  });
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (value === undefined) return {};
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("it is no object");
  return value as Readonly<Record<string, unknown>>;
}
