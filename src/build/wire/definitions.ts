import { GantryError } from "../../base/errors.ts";
import { type Definition, DefinitionSchema, OpSchema } from "../../buildkit/control.ts";
import { create, encode } from "../../buildkit/message.ts";
import { sha256Of } from "../../oci/digest.ts";
import { type LowLevelDefinition, readOperation } from "../definition/definition.ts";
import { RESULT_SCHEME } from "../definition/source-root.ts";
import type { HandedResult } from "./handed-result.ts";

/** A definition of ours has two operations; clients may add to it, but not much. */
const MOST_OPERATIONS = 16;
const LONGEST_OPERATION = 4096;

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

  /** The result that a definition stands for, and nothing else; undefined of others. Throws where that has ended. */
  find(definition: Definition): HandedResult | undefined {
    const token = tokenOf(definition);
    return token === undefined ? undefined : this.#named(token);
  }

  /** Results that a definition of somebody's stands on, by how that names them. */
  usedBy({ operations }: LowLevelDefinition): ReadonlyMap<string, HandedResult> {
    const tokens = [...operations.values()].flatMap(({ op }) => {
      const { identifier = "" } = op.source ?? {};
      return identifier.startsWith(RESULT_SCHEME) ? [identifier.slice(RESULT_SCHEME.length)] : [];
    });
    return new Map(tokens.map((token) => [token, this.#named(token)]));
  }

  #named(token: string): HandedResult {
    const found = this.#results.get(token);
    if (found === undefined) throw new GantryError("not-found", "the build whose result is a context has ended");
    return found;
  }
}

/** A source, and the operation that says that it is the last. */
export function definitionOf({ token }: HandedResult): Definition {
  const source = encode(OpSchema, create(OpSchema, { source: { identifier: `${RESULT_SCHEME}${token}` } }));
  const digest = sha256Of(source);
  const last = encode(OpSchema, create(OpSchema, { inputs: [{ digest, index: 0n }] }));
  return create(DefinitionSchema, { def: [source, last], metadata: { [digest]: {}, [sha256Of(last)]: {} } });
}

/** Of a definition that is one source of ours and what names it as the result. */
function tokenOf({ def }: Definition): string | undefined {
  const tokens = new Set<string>();
  if (def.length > MOST_OPERATIONS || def.some(({ length }) => length > LONGEST_OPERATION)) return undefined;
  for (const bytes of def) {
    const { build, diff, exec, file, inputs, merge, passthrough, source } = readOperation(bytes);
    const isOther = [build, diff, exec, file, merge, passthrough].some((one) => one !== undefined);
    if (source?.identifier.startsWith(RESULT_SCHEME)) tokens.add(source.identifier.slice(RESULT_SCHEME.length));
    else if (source !== undefined || isOther || inputs.length !== 1) return undefined;
  }
  const [token] = tokens;
  return tokens.size === 1 ? token : undefined;
}
