import { GantryError } from "../base/errors.ts";
import { familiarName, familiarString, type Reference } from "../oci/reference.ts";
import type { Credentials } from "./credentials.ts";
import { RefusedError } from "./failure.ts";
import type { Registries } from "./registry.ts";
import type { Repository } from "./repository.ts";
import type { Waiting } from "./settings.ts";

/**
 * Removes a tag from its registry, or what a digest names with all tags that it has there. Throws `not-found` for what
 * isn't there, and `conflict` where the registry removes nothing, or no tags.
 */
export function removeFromRegistry(
  registries: Pick<Registries, "writing">,
  reference: Reference,
  credentials: Credentials,
  options: { readonly insecure?: boolean },
  waiting: Waiting,
): Promise<void> {
  const name = reference.digest ?? reference.tag ?? "";
  return registries.writing(reference, credentials, { ...options, removes: true }, async (repository) => {
    try {
      await repository.removeManifest(name, waiting);
    } catch (error) {
      throw error instanceof RefusedError ? await failureOf(error, repository, reference, waiting) : error;
    }
  });
}

/** What a registry's refusal comes to, and what it would remove instead. */
async function failureOf(
  refusal: RefusedError,
  repository: Repository,
  reference: Reference,
  waiting: Waiting,
): Promise<GantryError> {
  const { reason, status } = refusal;
  if (status === 404) return missing(refusal, reference);
  if (![400, 405, 501].includes(status)) return refusal;
  const { digest, domain } = reference;
  const conflict = (why: string) =>
    new GantryError("conflict", `cannot remove ${familiarString(reference)}: ${domain} ${why}`, { cause: refusal });
  if (digest !== undefined) return conflict(`does not let anything be removed: ${reason}`);
  const target = `${familiarName(reference)}@${await digestOf(repository, reference, waiting)}`;
  return conflict(`removes no tags, only images with all of their tags, by digest: ${target}`);
}

async function digestOf(repository: Repository, reference: Reference, waiting: Waiting): Promise<string> {
  try {
    return (await repository.resolve(reference.tag ?? "", waiting)).digest;
  } catch (error) {
    throw error instanceof RefusedError && error.status === 404 ? missing(error, reference) : error;
  }
}

function missing(refusal: RefusedError, reference: Reference): GantryError {
  const what = familiarString(reference);
  return new GantryError("not-found", `manifest for ${what} not found: ${refusal.reason}`, { cause: refusal });
}
