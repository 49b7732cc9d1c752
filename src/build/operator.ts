import type { BuildRequest } from "./builder.ts";
import type { InputIndex, Operation, Vertex } from "./graph.ts";
import type { UsedSource } from "./made.ts";
import type { OnBuildEvent } from "./progress.ts";
import type { Root } from "./root.ts";

/** What one kind of operation does. Sources have `resolve`; what changes a root has `run`. */
export interface Operator<O extends Operation = Operation> {
  /** Asks the client, the image store or the network what the source is now. */
  resolve?(operation: O, context: OperatorContext): Promise<ResolvedSource>;
  /** Inputs of which the contents count that the operation reads, and not how they were made. */
  selections?(operation: O): readonly Selection[];
  /** Changes `root`. A rejection undoes all of it. */
  run?(operation: O, work: Work, context: OperatorContext): Promise<void>;
}

export interface ResolvedSource {
  /** Equal keys are equal contents. undefined: only what is read of it counts (a client's folder). */
  readonly key: string | undefined;
  /** What others know the contents by: of an image's manifest, a commit (`sha1:…`), a file's bytes. */
  readonly digest?: string;
  /** What it was made of, where another build made it. */
  readonly sources?: readonly UsedSource[];
  /** Fetches it, if it is not here. The caller disposes of it. */
  root(): Promise<Root | undefined>;
}

/** What an operation reads of an input. */
export interface Selection {
  readonly input: InputIndex;
  /**
   * A digest of the names, kinds, modes, owners, links, attributes and bytes that are read, not of their times; and the
   * digest of each file, for `--explain`, at most some thousand rows (`files` is undefined where there are more).
   */
  digest(root: Root | undefined, context: OperatorContext): Promise<SelectionDigest>;
}

export interface SelectionDigest {
  readonly digest: string;
  readonly files: ReadonlyMap<string, string> | undefined;
}

/** The place where an operation works. */
export interface Work {
  /** The root that it changes, mounted read-write over its parent. */
  readonly root: string;
  /** The vertex's inputs; undefined is an empty root. */
  readonly inputs: readonly (Root | undefined)[];
  /**
   * Keeps `root` mounted as it is, also after a rejection, until the result is disposed of: for a shell in a step that
   * failed. The inputs are for who calls to share.
   */
  hold(): AsyncDisposable;
}

export interface OperatorContext {
  readonly request: BuildRequest;
  readonly vertex: Vertex;
  readonly signal: AbortSignal;
  /** `status`, `log` and `warning` events of the vertex; its `vertex` events are the solver's. */
  readonly onEvent: OnBuildEvent;
}

export type Operators = {
  readonly [K in Exclude<Operation["kind"], "merge">]: Operator<Extract<Operation, { kind: K }>>;
};
