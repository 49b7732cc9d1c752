import { withoutErrno } from "../base/errno-words.ts";
import { type ErrorKind, GantryError, messageOf } from "../base/errors.ts";
import type { Vertex } from "./graph.ts";

/** A step that failed: which, for those who show its lines. The cause is what the operation threw. */
export class StepError extends GantryError {
  readonly vertex: Vertex;

  constructor(vertex: Vertex, thrown: unknown) {
    const cause = withoutErrno(thrown);
    const kind: ErrorKind = cause instanceof GantryError ? cause.kind : "internal";
    super(kind, messageOf(cause), { cause });
    this.name = "StepError";
    this.vertex = vertex;
  }
}
