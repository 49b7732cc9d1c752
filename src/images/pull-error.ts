import { GantryError } from "../base/errors.ts";
import { familiarName, familiarString, type Reference } from "../oci/reference.ts";
import { RefusedError } from "../remote/failure.ts";

/** What a registry refused when it was asked for a name, in Docker's words and with its statuses. */
export function pullError(error: unknown, reference: Reference): unknown {
  if (!(error instanceof RefusedError)) return error;
  const { cause, code, kind, message, reason, status } = error;
  if (code === "DENIED" || (code === "" && status === 403)) {
    const name = familiarName(reference);
    const words = `pull access denied for ${name}, repository does not exist or may require 'docker login'`;
    return new GantryError("not-found", `${words}: ${reason}`, { cause });
  }
  const named = missingError(error, reference);
  if (named !== error) return named;
  if (kind !== "unauthenticated" && kind !== "forbidden") return error;
  // That the registry forbids it is no word about the engine's own client.
  const own = kind === "forbidden" ? "internal" : kind;
  return new GantryError(own, message.startsWith("errors:") ? reason : message, { cause });
}

/** A registry's word that it lacks something says not what: of several names that are asked for, here is which. */
export function missingError(error: unknown, reference: Reference): unknown {
  if (!(error instanceof RefusedError)) return error;
  const { cause, code, reason, status } = error;
  const missing = (words: string): GantryError => new GantryError("not-found", `${words}: ${reason}`, { cause });
  if (code === "DENIED") return error;
  if (code === "NAME_UNKNOWN") return missing(`repository ${familiarName(reference)} not found`);
  if (code === "MANIFEST_UNKNOWN" || status === 404) {
    return missing(`manifest for ${familiarString(reference)} not found`);
  }
  return error;
}
