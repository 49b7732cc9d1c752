import { readPayload, type SignedClaim } from "./payload.ts";
import type { PublicKey } from "./public-key.ts";

/** A signature as it was found, of which nothing is believed yet. */
export interface FoundSignature {
  /** The manifest that it is attached to. */
  readonly digest: string;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

/** What a look for one signature came upon, in the order of how near it came. */
export type Miss = "none" | "unreadable" | "other-digest" | "other-key" | "other-identity" | "other-annotations";

const NEARNESS: readonly Miss[] = [
  "none",
  "unreadable",
  "other-digest",
  "other-key",
  "other-identity",
  "other-annotations",
];

export interface Search {
  readonly keys: readonly PublicKey[];
  readonly fits: (identity: string) => boolean;
  readonly annotations?: Readonly<Record<string, string>>;
}

export type SearchResult =
  | {
      readonly found: true;
      readonly claim: SignedClaim;
      readonly signature: FoundSignature;
      readonly key: PublicKey;
    }
  | { readonly found: false; readonly nearest: Miss; readonly identities: readonly string[] };

/**
 * The first signature that satisfies all: of this manifest, by one of the keys, of a name that fits. The claim is read
 * before the signature is checked, which costs more, and believed only after it.
 */
export async function search(signatures: Iterable<FoundSignature>, wanted: Search): Promise<SearchResult> {
  let nearest: Miss = "none";
  const identities = new Set<string>();
  const miss = (what: Miss): void => {
    if (NEARNESS.indexOf(what) > NEARNESS.indexOf(nearest)) nearest = what;
  };
  for (const signature of signatures) {
    const claim = readPayload(signature.payload);
    if (claim === undefined) {
      miss("unreadable");
      continue;
    }
    if (claim.digest !== signature.digest) {
      miss("other-digest");
      continue;
    }
    const key = await signerOf(signature, wanted.keys);
    if (key === undefined) miss("other-key");
    else if (!wanted.fits(claim.identity)) {
      miss("other-identity");
      if (identities.size < 3) identities.add(claim.identity);
    } else if (!hasAnnotations(claim, wanted.annotations ?? {})) miss("other-annotations");
    else return { found: true, claim, signature, key };
  }
  return { found: false, nearest, identities: [...identities] };
}

async function signerOf(
  { payload, signature }: FoundSignature,
  keys: readonly PublicKey[],
): Promise<PublicKey | undefined> {
  for (const key of keys) if (await key.verify(payload, signature)) return key;
  return undefined;
}

function hasAnnotations({ annotations }: SignedClaim, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([key, value]) => Object.hasOwn(annotations, key) && annotations[key] === value);
}
