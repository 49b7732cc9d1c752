import { GantryError } from "../../base/errors.ts";

/** Why a definition that is well-formed can't be built. */
export function unsupported(what: string): GantryError {
  return new GantryError("unsupported", `low-level definitions (LLB): ${what}`);
}

/** Why what a client gave is no definition. */
export function invalid(why: string): GantryError {
  return new GantryError("invalid", `invalid definition: ${why}`);
}
