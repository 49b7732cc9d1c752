import { createHash } from "node:crypto";
import { Breath } from "../base/breath.ts";
import { signedBytes } from "./bundle.ts";
import { readPayload, type SignedClaim } from "./payload.ts";
import type { PublicKey } from "./public-key.ts";
import { readStatement } from "./statement.ts";

/**
 * What a payload is: a simple-signing document, an in-toto statement, or the very manifest. What is signed by a
 * certificate is good by no key.
 */
export type SignatureForm = "simple" | "statement" | "manifest" | "certificate";

/** A signature as it was found, of which nothing is believed yet. */
export interface FoundSignature {
  /** The manifest that it is attached to. */
  readonly digest: string;
  readonly form: SignatureForm;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

/** What a look for one signature came upon, in the order of how near it came. */
export type Miss =
  | "none"
  | "unreadable"
  | "attestation"
  | "certificate"
  | "other-digest"
  | "other-key"
  | "other-identity"
  | "other-annotations";

const NEARNESS: readonly Miss[] = [
  "none",
  "unreadable",
  "attestation",
  "certificate",
  "other-digest",
  "other-key",
  "other-identity",
  "other-annotations",
];

export interface Search {
  readonly keys: readonly PublicKey[];
  /** Whether the signed name will do; undefined for a signature that says none. */
  readonly fits: (identity: string | undefined) => boolean;
  readonly annotations?: Readonly<Record<string, string>>;
}

export type SearchResult =
  | {
      readonly found: true;
      readonly claim: SignedClaim;
      readonly signature: FoundSignature;
      readonly key: PublicKey;
    }
  | {
      readonly found: false;
      readonly nearest: Miss;
      /** How many were looked at; attestations are none, unless they are all there is. */
      readonly count: number;
      /** Names that were signed and don't fit; undefined stands for none. */
      readonly identities: readonly (string | undefined)[];
    };

/**
 * The first signature that satisfies all: of this manifest, by one of the keys, of a name that fits. The claim is read
 * before the signature is checked, which costs more, and believed only after it.
 */
export async function search(signatures: Iterable<FoundSignature>, wanted: Search): Promise<SearchResult> {
  const misses = new Map<Miss, number>();
  const identities = new Set<string | undefined>();
  const miss = (what: Miss): void => void misses.set(what, (misses.get(what) ?? 0) + 1);
  const breath = new Breath();
  // Many signers of one image sign the same bytes.
  const read = new Map<Uint8Array, readonly SignedClaim[] | Miss>();
  for (const signature of signatures) {
    if (breath.isDue) await breath.take();
    const claims = read.get(signature.payload) ?? claimsOf(signature);
    read.set(signature.payload, claims);
    if (typeof claims === "string") {
      miss(claims);
      continue;
    }
    const own = claims.filter(({ digest }) => digest === signature.digest);
    if (own.length === 0) {
      miss("other-digest");
      continue;
    }
    const key = await signerOf(signature, wanted.keys);
    const fitting = own.filter(({ identity }) => wanted.fits(identity));
    const claim = fitting.find((one) => hasAnnotations(one, wanted.annotations ?? {}));
    if (key === undefined) miss("other-key");
    else if (fitting.length === 0) {
      miss("other-identity");
      for (const { identity } of own) if (identities.size < 3) identities.add(identity);
    } else if (claim === undefined) miss("other-annotations");
    else return { found: true, claim, signature, key };
  }
  const nearest = NEARNESS.findLast((one) => misses.has(one)) ?? "none";
  const attested = misses.get("attestation") ?? 0;
  const all = [...misses.values()].reduce((sum, count) => sum + count, 0);
  const count = nearest === "attestation" ? attested : all - attested;
  return { found: false, nearest, count, identities: [...identities] };
}

function claimsOf({ digest, form, payload }: FoundSignature): readonly SignedClaim[] | Miss {
  switch (form) {
    case "certificate":
      return "certificate";
    case "simple": {
      const claim = readPayload(payload);
      return claim === undefined ? "unreadable" : [claim];
    }
    case "statement": {
      const statement = readStatement(payload);
      if (statement === undefined) return "unreadable";
      return statement.kind === "signature" ? statement.claims : "attestation";
    }
    case "manifest": {
      const [algorithm = ""] = digest.split(":");
      const own = createHash(algorithm).update(payload).digest("hex");
      return [{ digest: `${algorithm}:${own}`, annotations: {} }];
    }
  }
}

async function signerOf(
  { form, payload, signature }: FoundSignature,
  keys: readonly PublicKey[],
): Promise<PublicKey | undefined> {
  const signed = form === "statement" ? signedBytes(payload) : payload;
  for (const key of keys) if (await key.verify(signed, signature)) return key;
  return undefined;
}

function hasAnnotations({ annotations }: SignedClaim, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([key, value]) => Object.hasOwn(annotations, key) && annotations[key] === value);
}
