import { GantryError } from "../base/errors.ts";
import { isDigest, validateDigest } from "../oci/digest-format.ts";
import { familiarName, parseNormalized, type Reference, withTag } from "../oci/reference.ts";

/**
 * What `POST /images/create` names by `fromImage` and `tag`: the latter is a tag or a digest and takes the place of
 * what the former has. Neither tag nor digest in the result means all tags. Throws `invalid` in Docker's words.
 */
export function pullName(fromImage: string, tag: string): Reference {
  const named = parseNormalized(fromImage.replace(/:$/, ""));
  const reference = tag === "" ? named : withTagOrDigest(named, tag);
  refuseId(reference);
  return reference;
}

function withTagOrDigest(named: Reference, text: string): Reference {
  const { domain, path, digest } = named;
  if (isDigest(text)) {
    validateDigest(text);
    return { domain, path, digest: text };
  }
  return { ...withTag(named, text), ...(digest !== undefined && { digest }) };
}

/** `docker run sha256:…` of an image that isn't here reads as a repository's name: no registry has one of that name. */
function refuseId(reference: Reference): void {
  if (reference.domain !== "docker.io" || reference.path !== "library/sha256") return;
  throw new GantryError(
    "not-found",
    `pull access denied for ${familiarName(reference)}, repository does not exist or may require 'docker login': ` +
      "an image's id names nothing at a registry",
  );
}
