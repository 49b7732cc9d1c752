import type { Builder, BuildOptions, BuildRequest, CacheUsage, FailedSteps } from "./builder.ts";
import type { ExecOperation, FilesOperation, Graph, PlannedTarget, VertexId } from "./graph.ts";
import type { UsedSource } from "./made.ts";
import type { Operator, Operators, SelectionDigest } from "./operator.ts";
import type { IgnorePatterns, PlanPorts } from "./plan/types.ts";
import type { Root } from "./root.ts";

export type { UsedSource };

/** The parts of a builder, as the orchestrator sees them; `open-builder.ts` puts them together. */

/** Contexts and base images. */
export interface BuildSources {
  readonly operators: Pick<Operators, "image" | "layout" | "result" | "local" | "git" | "http">;
  /** What a build asks of its contexts before it has a plan. Disposed of when the build has ended. */
  open(request: BuildRequest, options: BuildOptions): BuildInputs;
  /** Folders of clients, clones, files that were fetched. */
  readonly cache: CacheHolder;
  /** Removes what a crash left. Before any build. */
  recover(): Promise<void>;
}

export interface BuildInputs extends AsyncDisposable {
  /** Reads the Dockerfile and the main context's ignore file; told as the vertices `[internal] load …`. */
  dockerfile(): Promise<LoadedDockerfile>;
  readonly ports: PlanPorts;
}

export interface LoadedDockerfile {
  readonly text: string;
  /** Its name in messages. */
  readonly file: string;
  readonly ignore: IgnorePatterns | undefined;
}

/** COPY, ADD, WORKDIR. */
export interface BuildFiles {
  readonly operator: Operator<FilesOperation>;
  /** As `Selection.digest`, of all that is at a path of a root, links followed inside it; without one of all of it. */
  digest(root: Root | undefined, signal: AbortSignal, path?: string): Promise<SelectionDigest>;
}

/** RUN. */
export interface BuildSteps {
  readonly operator: Operator<ExecOperation>;
  /** Cache mounts. */
  readonly cache: CacheHolder;
  readonly failed: FailedSteps;
  readonly openContainer: Builder["openContainer"];
  /** Takes down what a crash left. Before any build, and before snapshots recover. */
  recover(): Promise<void>;
  close(): Promise<void>;
}

/** Something that is kept between builds beside the layers: it has records of its own and is pruned with the rest. */
export interface CacheHolder {
  usage(): Promise<readonly CacheUsage[]>;
  /** Resolves with the bytes that are free by it; undefined if there is none of this id or it is in use. */
  remove(id: string): Promise<number | undefined>;
}

/** What becomes of the roots of a build. */
export interface BuildResults {
  /** Throws `invalid` for outputs and caches that can't be: before anything is built. */
  check(request: BuildRequest): void;
  export(input: ExportInput): Promise<Exported>;
  /** Begins with what the results of these targets will need, while their steps run. */
  ahead(request: BuildRequest, targets: readonly PlannedTarget[]): AheadResults;
  /** The caches that the request names in `cacheFrom`. What can't be read is a warning. */
  imports(request: BuildRequest, options: BuildOptions): Promise<readonly CacheImport[]>;
}

/** What was begun before all is solved. Disposal ends what isn't done and lets go of what nobody has made use of. */
export interface AheadResults extends AsyncDisposable {
  /** A step has run. */
  made(vertex: VertexId, root: Root): void;
  /** All is solved: nothing is begun any more. */
  end(): void;
}

export interface SolvedTarget {
  readonly target: PlannedTarget;
  /**
   * Undefined is an empty root. Of its layers the last ones are those of the history's rows that have a vertex, in
   * order: each such row has exactly one, if an empty one; those before them are the base image's.
   */
  readonly root: Root | undefined;
  /** Of the target's `scans`. */
  readonly scans?: readonly { readonly name: string; readonly root: Root | undefined }[];
}

export interface ExportInput {
  readonly request: BuildRequest;
  readonly targets: readonly SolvedTarget[];
  /** What was solved, for `cacheTo`: inputs come before what was made of them. */
  readonly steps: () => readonly CachedStep[];
  /** What was planned. */
  readonly graph?: Graph;
  /** The Dockerfile, as it was read. */
  readonly dockerfile?: { readonly text: string; readonly file: string };
  /** The sources that were asked what they are. */
  readonly sources?: () => readonly UsedSource[];
  /** Unix milliseconds. */
  readonly startedAt?: number;
  readonly signal: AbortSignal;
  readonly onEvent: BuildOptions["onEvent"];
}

export interface Exported {
  readonly metadata: ReadonlyMap<string, string>;
  readonly imageId: string | undefined;
  /** Of that image. */
  readonly config?: { readonly mediaType: string; readonly bytes: Uint8Array };
}

/** A step whose result is cached, by its key. */
export interface CachedStep {
  /** `sha256:…`, the same on all machines for equal work on equal contents. */
  readonly key: string;
  /** Keys of its inputs; those of sources have no step. */
  readonly inputs: readonly string[];
  /** Further keys of the same, of how its inputs were made: who asks for one need not have made these. */
  readonly definitions: readonly string[];
  /** What it made, with all layers below: a snapshot's name. Undefined if it isn't here any more. */
  readonly snapshot: string | undefined;
  readonly description: string;
  /** Unix milliseconds. */
  readonly createdAt: number;
}

/** A cache from elsewhere. What it brought stays until it is disposed of, at the end of the build. */
export interface CacheImport extends AsyncDisposable {
  /** Fetches what has this key, a `CachedStep`'s or one of its `definitions`, if the cache has it. What is damaged is not there. */
  lookup(key: string, options: BuildOptions): Promise<Root | undefined>;
}
