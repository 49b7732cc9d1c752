import { formatReference, parseNormalized, type Reference, repositoryOf, tagNameOnly } from "../oci/reference.ts";

/**
 * How the name in a signature has to fit the name that an image is asked for by (containers-policy.json(5)).
 * `matchDigestOnly` is this engine's own: whatever the name, or none.
 */
export type SignedIdentity =
  | { readonly type: "matchDigestOnly" }
  | { readonly type: "matchExact" }
  | { readonly type: "matchRepoDigestOrExact" }
  | { readonly type: "matchRepository" }
  | { readonly type: "exactReference"; readonly dockerReference: string }
  | { readonly type: "exactRepository"; readonly dockerRepository: string }
  | { readonly type: "remapIdentity"; readonly prefix: string; readonly signedPrefix: string };

/** `signed` is the name as the signer wrote it, undefined for none: what is no name fits no rule that wants one. */
export function identityFits(rule: SignedIdentity, signed: string | undefined, wanted: Reference): boolean {
  if (rule.type === "matchDigestOnly") return true;
  const claimed = signed === undefined ? undefined : parse(signed);
  if (claimed === undefined) return false;
  switch (rule.type) {
    case "matchExact":
      return isExact(claimed, wanted);
    case "matchRepoDigestOrExact":
      return isRepoDigestOrExact(claimed, wanted);
    case "matchRepository":
      return repositoryOf(claimed) === repositoryOf(wanted);
    case "exactReference": {
      const expected = parse(rule.dockerReference);
      return expected !== undefined && isExact(claimed, expected);
    }
    case "exactRepository": {
      const expected = parse(rule.dockerRepository);
      return expected !== undefined && repositoryOf(claimed) === repositoryOf(expected);
    }
    case "remapIdentity": {
      const remapped = remap(rule.prefix, rule.signedPrefix, wanted);
      return remapped !== undefined && isRepoDigestOrExact(claimed, remapped);
    }
  }
}

/** A name that says neither tag nor digest is none of an image: it fits no exact rule. */
function isExact(claimed: Reference, wanted: Reference): boolean {
  const isWhole = ({ tag, digest }: Reference) => tag !== undefined || digest !== undefined;
  return isWhole(claimed) && isWhole(wanted) && formatReference(claimed) === formatReference(wanted);
}

function isRepoDigestOrExact(claimed: Reference, wanted: Reference): boolean {
  if (wanted.tag !== undefined && wanted.digest === undefined) return isExact(claimed, wanted);
  return wanted.digest !== undefined && repositoryOf(claimed) === repositoryOf(wanted);
}

function remap(prefix: string, signedPrefix: string, wanted: Reference): Reference | undefined {
  const name = repositoryOf(wanted);
  if (name !== prefix && !name.startsWith(`${prefix}/`)) return wanted;
  const rest = formatReference(wanted).slice(prefix.length);
  return parse(`${signedPrefix}${rest}`);
}

function parse(text: string): Reference | undefined {
  try {
    return parseNormalized(text);
  } catch {
    return undefined;
  }
}

/** What a signer claims of a name: the name with its tag, or the repository alone where it was named by digest. */
export function claimOf(reference: Reference): string {
  if (reference.digest !== undefined && reference.tag === undefined) return repositoryOf(reference);
  const { domain, path, tag } = tagNameOnly(reference);
  return formatReference({ domain, path, ...(tag !== undefined && { tag }) });
}
