import type { Ingredients } from "../cache/record.ts";
import type { Operation, Vertex } from "../graph.ts";
import type { Operators, ResolvedSource, Selection } from "../operator.ts";
import type { Explanation } from "../progress.ts";
import type { Root } from "../root.ts";

/** A vertex and what one build knows of it by now; each is asked for once. */
export interface Node {
  readonly vertex: Vertex;
  readonly index: number;
  readonly inputs: readonly Node[];
  /** What it makes may differ from what was made of the same before. */
  readonly isAnew: boolean;
  /** The same of anything that it is made of. */
  readonly hasAnew: boolean;
  source?: Promise<ResolvedSource>;
  resolved?: ResolvedSource;
  definition?: Promise<string | undefined>;
  key?: Promise<string>;
  root?: Promise<Root | undefined>;
  ingredients?: Ingredients;
  knownKey?: string;
  started?: number;
  explanation?: Explanation;
  isTold?: boolean;
  /** Its own run did, whatever came of the others meanwhile. */
  hasFailed?: boolean;
}

/** The node of a vertex whose inputs have theirs. */
export function nodeOf(
  vertex: Vertex,
  index: number,
  inputs: readonly Node[],
  known: { readonly operators: Operators; readonly noCache: boolean },
): Node {
  const { operation } = vertex;
  const isIgnored = !isSource(operation) && (vertex.ignoreCache === true || known.noCache);
  // Of an input that is only read the contents count, whatever made it.
  const read = new Set(selectionsOf(known.operators, operation).map(({ input }) => input));
  const isAnew = isIgnored || inputs.some((input, at) => input.isAnew && !read.has(at));
  const hasAnew = isAnew || inputs.some((input) => input.hasAnew);
  return { vertex, index, inputs, isAnew, hasAnew };
}

/** What an operation reads of its inputs. */
export function selectionsOf(operators: Operators, operation: Operation): readonly Selection[] {
  switch (operation.kind) {
    case "exec":
      return operators.exec.selections?.(operation) ?? [];
    case "files":
      return operators.files.selections?.(operation) ?? [];
    default:
      return [];
  }
}

export function isSource(operation: Operation): boolean {
  return operation.kind !== "exec" && operation.kind !== "files" && operation.kind !== "merge";
}
