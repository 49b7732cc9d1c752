import { GantryError } from "../base/errors.ts";

/** Throws `forbidden` for a right that who builds doesn't give: `network.host`, `security.insecure`. */
export function demandEntitlement(name: string, given: readonly string[]): void {
  if (!given.includes(name)) throw new GantryError("forbidden", `${name} is not allowed`);
}
