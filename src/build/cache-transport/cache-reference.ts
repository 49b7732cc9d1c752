import { GantryError } from "../../base/errors.ts";
import { parseNormalized, type Reference, tagNameOnly } from "../../oci/reference.ts";

/** Reads the name of a cache at a registry; throws `invalid`. */
export function referenceOf(text: string): Reference {
  if (text === "") throw new GantryError("invalid", "missing ref");
  return tagNameOnly(parseNormalized(text));
}

/** Throws for attributes that nobody knows, naming those that are known. */
export function refuseOthers(
  flag: "cache-to" | "cache-from",
  type: string,
  attributes: ReadonlyMap<string, string>,
  known: readonly string[],
): void {
  for (const name of attributes.keys()) {
    if (known.includes(name)) continue;
    const offered = known.toSorted().join(", ");
    throw new GantryError(
      "invalid",
      `unknown attribute ${JSON.stringify(name)} of ${flag} type=${type}: it has ${offered}`,
    );
  }
}
