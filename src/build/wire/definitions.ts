import { GantryError } from "../../base/errors.ts";
import { type Definition, DefinitionSchema, OpSchema } from "../../buildkit/control.ts";
import { create, decode, encode } from "../../buildkit/message.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { HandedResult } from "./handed-result.ts";

const SCHEME = "gantry-result://";
/** A definition of ours has two operations; clients may add to it, but not much. */
const MOST_OPERATIONS = 16;

/**
 * Results as clients pass them on. BuildKit's clients do so by a definition of how a result is made; one of ours says
 * only which result it is, and is good for as long as that is there.
 */
export class Definitions {
  readonly #results = new Map<string, HandedResult>();

  /** From now on the result's definition is known, until `remove`. */
  add(result: HandedResult): void {
    this.#results.set(result.token, result);
  }

  remove(result: HandedResult): void {
    this.#results.delete(result.token);
  }

  /** The result that a definition stands for. Throws `unsupported` for what was not made here. */
  find(definition: Definition): HandedResult {
    const token = tokenOf(definition);
    const found = this.#results.get(token);
    if (found === undefined) throw new GantryError("not-found", "the build whose result is a context has ended");
    return found;
  }
}

/** A source, and the operation that says that it is the last. */
export function definitionOf({ token }: HandedResult): Definition {
  const source = encode(OpSchema, create(OpSchema, { source: { identifier: `${SCHEME}${token}` } }));
  const digest = sha256Of(source);
  const last = encode(OpSchema, create(OpSchema, { inputs: [{ digest, index: 0n }] }));
  return create(DefinitionSchema, { def: [source, last], metadata: { [digest]: {}, [sha256Of(last)]: {} } });
}

function tokenOf({ def }: Definition): string {
  const tokens = new Set<string>();
  if (def.length <= MOST_OPERATIONS) {
    for (const bytes of def) {
      const { inputs, source } = decode(OpSchema, bytes);
      if (source?.identifier.startsWith(SCHEME)) tokens.add(source.identifier.slice(SCHEME.length));
      else if (source !== undefined || inputs.length !== 1) tokens.add("");
    }
  }
  const [token = ""] = tokens;
  if (tokens.size === 1 && token !== "") return token;
  throw new GantryError(
    "unsupported",
    "low-level definitions (LLB) are not built here: only Dockerfiles, and results of their builds as contexts",
  );
}
