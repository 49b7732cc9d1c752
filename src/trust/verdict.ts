import { familiarString, formatReference, type Reference } from "../oci/reference.ts";
import { identityFits, type SignedIdentity } from "./identity.ts";
import type { SignedClaim } from "./payload.ts";
import type { Policy, Requirement } from "./policy.ts";
import { scopesOf } from "./scope.ts";
import { type FoundSignature, type SearchResult, search } from "./signature.ts";

const NAMELESS = "; the signedIdentity matchDigestOnly accepts such signatures, which cosign writes since version 3";

/** Where an image came from, by podman's words: `docker` is a registry, `docker-daemon` this engine's own store. */
export type Transport = "docker" | "docker-daemon";

/** The requirements that hold for an image, and where in the policy they stand. */
export interface Ruling {
  readonly requirements: readonly Requirement[];
  /** `scope "registry.example/team"`, `the default of docker`, `the default`: for people. */
  readonly place: string;
  /** It stands under a scope that names the image or what it lies in. */
  readonly isExplicit: boolean;
}

export type Verdict =
  | { readonly accepted: true; readonly place: string; readonly by: readonly AcceptedSignature[] }
  | { readonly accepted: false; readonly place: string; readonly sentence: string };

/** A signature that was found good, and what of it was. */
export interface AcceptedSignature {
  readonly signature: FoundSignature;
  readonly claim: SignedClaim;
}

/** The narrowest requirements for a name; `undefined` is an image that has none. */
export function rulingFor(policy: Policy, transport: Transport, reference: Reference | undefined): Ruling {
  const scopes = policy.transports.get(transport);
  for (const scope of reference === undefined ? [] : scopesOf(reference)) {
    const requirements = scopes?.get(scope);
    if (requirements !== undefined) return { requirements, place: `scope ${JSON.stringify(scope)}`, isExplicit: true };
  }
  const initial = scopes?.get("");
  if (initial !== undefined) {
    return { requirements: initial, place: `the default of ${transport}`, isExplicit: false };
  }
  return { requirements: policy.initial, place: "the default", isExplicit: false };
}

/** Whether a ruling needs signatures to be looked at. */
export function demandsSignatures({ requirements }: Ruling): boolean {
  return requirements.some(({ type }) => type === "sigstoreSigned");
}

/**
 * Whether an image may be used under a name. `signatures` are those attached to one of its manifests; who calls has
 * made sure that these are its manifests. All requirements must be met, each by a signature of any of the manifests.
 */
export async function judge(
  ruling: Ruling,
  image: { readonly reference: Reference | undefined; readonly name: string; readonly problem?: string | undefined },
  signatures: readonly FoundSignature[],
): Promise<Verdict> {
  const { place } = ruling;
  const refuse = (required: string): Verdict => ({
    accepted: false,
    place,
    sentence: `the signature policy does not accept ${image.name}: ${place} ${required}`,
  });
  const by: AcceptedSignature[] = [];
  for (const requirement of ruling.requirements) {
    if (requirement.type === "insecureAcceptAnything") continue;
    if (requirement.type === "reject") return refuse("rejects every image");
    if (requirement.type === "unsupported") return refuse(`demands ${requirement.what}`);
    const { keys, signedIdentity } = requirement;
    const demand = `demands a signature by ${listed(keys.map(({ name }) => `the key ${name}`))}`;
    const { reference } = image;
    if (reference === undefined) return refuse(`${demand}, and an image without a name can't have one`);
    const result = await search(signatures, {
      keys,
      fits: (identity) => identityFits(signedIdentity, identity, reference),
    });
    if (!result.found) {
      const found = foundInstead(result, wantedName(signedIdentity, reference));
      const hint = result.nearest === "other-identity" && result.identities.includes(undefined) ? NAMELESS : "";
      return refuse(`${demand}, and ${found}${hint}${image.problem === undefined ? "" : ` (${image.problem})`}`);
    }
    by.push({ signature: result.signature, claim: result.claim });
  }
  return { accepted: true, place, by };
}

/** What there was in the place of what was looked for; completes "…, and ". */
export function foundInstead(
  { count, identities, nearest }: Extract<SearchResult, { found: false }>,
  wanted: string,
): string {
  const isOne = count === 1;
  switch (nearest) {
    case "none":
      return "it has no signature";
    case "unreadable":
      return isOne ? "its only signature can't be read" : `none of its ${count} signatures can be read`;
    case "attestation":
      return isOne ? "it has an attestation, which is no signature" : `it has ${count} attestations, but no signature`;
    case "certificate":
      return isOne
        ? "its only signature is by a certificate (keyless)"
        : `none of its ${count} signatures is by a key: certificates (keyless) are not checked here`;
    case "other-digest":
      return isOne ? "its only signature is of another image" : `its ${count} signatures are of other images`;
    case "other-key":
      return isOne ? "its only signature is by another key" : `its ${count} signatures are by other keys`;
    case "other-identity":
      return nameInstead(identities, wanted);
    case "other-annotations":
      return isOne
        ? "its only signature has other annotations"
        : `none of its ${count} signatures has these annotations`;
  }
}

function nameInstead(identities: readonly (string | undefined)[], wanted: string): string {
  const names = identities.filter((name) => name !== undefined);
  if (names.length === 0) return `what is signed by it is the digest alone, not ${wanted}`;
  return `the name signed by it is ${names.map((name) => JSON.stringify(name.slice(0, 300))).join(", ")}, not ${wanted}`;
}

function wantedName(rule: SignedIdentity, reference: Reference): string {
  switch (rule.type) {
    case "exactReference":
      return rule.dockerReference;
    case "exactRepository":
      return rule.dockerRepository;
    case "remapIdentity":
      return `the name remapped to ${rule.signedPrefix}`;
    case "matchRepository":
      return `one of the repository of ${familiarString(reference)}`;
    default:
      return formatReference(reference);
  }
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 3);
  if (names.length > shown.length) shown.push(`${names.length - shown.length} more`);
  return shown.length < 2 ? (shown[0] ?? "no key") : `${shown.slice(0, -1).join(", ")} or ${shown.at(-1)}`;
}
