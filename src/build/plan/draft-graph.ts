import { Breath } from "../../base/breath.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { Graph, Operation, SourceRange, Vertex, VertexId } from "../graph.ts";

/** A vertex before all is known: what a context is asked for is clear only when every step was planned. */
export interface DraftVertex {
  readonly operation: Operation | (() => Operation);
  readonly inputs: readonly DraftVertex[];
  readonly name: string;
  readonly stage: string;
  readonly site: string;
  readonly source?: SourceRange;
  readonly ignoreCache?: boolean;
}

/** Vertices that some roots need, in order, and the id of each draft. Equal ones of several drafts become one. */
export async function finishGraph(
  roots: readonly DraftVertex[],
  signal: AbortSignal,
): Promise<{ readonly graph: Graph; readonly ids: ReadonlyMap<DraftVertex, VertexId> }> {
  const ids = new Map<DraftVertex, VertexId>();
  const vertices = new Map<VertexId, Vertex>();
  const breath = new Breath();
  const pending = roots.toReversed();
  for (let draft = pending.at(-1); draft !== undefined; draft = pending.at(-1)) {
    const missing = ids.has(draft) ? [] : draft.inputs.filter((input) => !ids.has(input));
    if (missing.length > 0) {
      pending.push(...missing.toReversed());
      continue;
    }
    pending.pop();
    if (ids.has(draft)) continue;
    const vertex = finish(draft, ids);
    ids.set(draft, vertex.id);
    if (!vertices.has(vertex.id)) vertices.set(vertex.id, vertex);
    if (breath.isDue) await breath.take();
    signal.throwIfAborted();
  }
  return { graph: { vertices: [...vertices.values()] }, ids };
}

function finish(draft: DraftVertex, ids: ReadonlyMap<DraftVertex, VertexId>): Vertex {
  const operation = typeof draft.operation === "function" ? draft.operation() : draft.operation;
  const inputs = draft.inputs.map((input) => ids.get(input)!);
  const { operation: _, inputs: __, ...rest } = draft;
  // A step that is built anew and the same one taken from the cache are two.
  const id = sha256Of(JSON.stringify([operation, inputs, draft.ignoreCache === true]));
  return { ...rest, id, operation, inputs };
}
