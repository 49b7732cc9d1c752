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
  const { digest } = reference;
  const name = digest ?? reference.tag ?? "";
  return registries.writing(reference, credentials, { ...options, removes: true }, async (repository) => {
    try {
      await repository.removeManifest(name, waiting);
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      const what = familiarString(reference);
      if (error.status === 404) {
        throw new GantryError("not-found", `manifest for ${what} not found: ${error.reason}`, { cause: error });
      }
      if (![400, 405, 501].includes(error.status)) throw error;
      const { domain } = reference;
      if (digest !== undefined) {
        const why = `cannot remove ${what}: ${domain} does not let anything be removed: ${error.reason}`;
        throw new GantryError("conflict", why, { cause: error });
      }
      const target = `${familiarName(reference)}@${await digestOf(repository, reference, waiting)}`;
      throw new GantryError(
        "conflict",
        `cannot remove ${what}: ${domain} removes no tags, only images with all of their tags, by digest: ${target}`,
        { cause: error },
      );
    }
  });
}

async function digestOf(repository: Repository, reference: Reference, waiting: Waiting): Promise<string> {
  try {
    return (await repository.resolve(reference.tag ?? "", waiting)).digest;
  } catch (error) {
    if (!(error instanceof RefusedError) || error.status !== 404) throw error;
    throw new GantryError("not-found", `manifest for ${familiarString(reference)} not found: ${error.reason}`, {
      cause: error,
    });
  }
}
