import type { SourceRange, VertexId } from "./graph.ts";

/** What a build tells while it runs, in BuildKit's terms: each change of a vertex is told again, whole. */
export type BuildEvent =
  | { readonly type: "vertex"; readonly vertex: VertexState }
  | { readonly type: "status"; readonly status: VertexStatus }
  | { readonly type: "log"; readonly log: VertexLog }
  | { readonly type: "warning"; readonly warning: BuildWarning };

export interface VertexState {
  /** A vertex's id; of what is no vertex of the graph (loading the Dockerfile, exporting) a digest of its name. */
  readonly digest: VertexId;
  readonly inputs: readonly VertexId[];
  readonly name: string;
  readonly cached: boolean;
  /** Unix milliseconds. */
  readonly started?: number;
  readonly completed?: number;
  readonly error?: string;
  /** Why it was not cached, where the build explains itself. */
  readonly explanation?: Explanation;
}

/** A bar below a vertex: a transfer, an extraction. */
export interface VertexStatus {
  readonly vertex: VertexId;
  readonly id: string;
  readonly name: string;
  readonly current: number;
  /** 0 if it isn't known. */
  readonly total: number;
  readonly started?: number;
  readonly completed?: number;
  readonly timestamp: number;
}

export interface VertexLog {
  readonly vertex: VertexId;
  readonly stream: 1 | 2;
  readonly data: Uint8Array;
  readonly timestamp: number;
}

export interface BuildWarning {
  readonly vertex: VertexId;
  /** 1 is a lint's. */
  readonly level: number;
  readonly short: string;
  readonly detail: readonly string[];
  readonly url: string;
  readonly source?: SourceRange;
  /** The Dockerfile's text, for the excerpt. */
  readonly text?: string;
}

/** Why a step was not taken from the cache. */
export interface Explanation {
  /** `never` built here, its definition changed, an input did, files it reads did, or the cache was not asked for. */
  readonly reason: "never" | "definition" | "input" | "files" | "pruned" | "ignored";
  /** One sentence. */
  readonly text: string;
  /** Rows of a diff: `- ENV A=1`, `+ ENV A=2`, `~ src/main.c`. Bounded. */
  readonly diff: readonly string[];
}

/** May resolve when there is room for more: what prints much waits for it. */
export type OnBuildEvent = (event: BuildEvent) => void | Promise<void>;
