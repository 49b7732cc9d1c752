import type { Duplex, Readable } from "node:stream";
import type { Platform } from "../oci/image.ts";
import type { Credentials } from "../remote/credentials.ts";
import type { StepCommand, StepEnd, StepOptions, StepResources } from "../runtime/step.ts";
import type { AskedSource, DescribedSource } from "./asked-source.ts";
import type { GcRule } from "./cache/policy.ts";
import type { LowLevelDefinition } from "./definition/definition.ts";
import type { ExecMount, ExecOperation, Graph, SecretEnv } from "./graph.ts";
import type { BuildInput, MadeTarget } from "./made.ts";
import type { BuildEvent, OnBuildEvent } from "./progress.ts";
import type { Root } from "./root.ts";
import type { BuildSession } from "./session.ts";

/** Builds of one engine. */
export interface Builder {
  /** Rejects with the failing step's error (kind `invalid`, text as BuildKit's), or when cancelled. */
  build(request: BuildRequest, options: BuildOptions): Promise<BuildResult>;
  /** Ends a build of this id (the ref of buildx, `buildid` of the classic request); no error if there is none. */
  cancel(id: string): void;
  usage(filters: readonly string[]): Promise<readonly CacheUsage[]>;
  prune(options: PruneOptions): Promise<{ readonly deleted: readonly string[]; readonly spaceReclaimed: number }>;
  readonly history: BuildHistory;
  /** By which the cache is kept small; none if it isn't. */
  gcRules(): readonly GcRule[];
  /** What a source is now, for a client that asks before it says what is to be built. Leaves no record. */
  describeSource(
    request: BuildRequest,
    asked: AskedSource,
    options: Pick<BuildOptions, "onEvent" | "signal">,
  ): Promise<DescribedSource>;
  /** A container in what a build made. Who asks for it disposes of it. */
  openContainer(request: ContainerRequest, signal: AbortSignal): Promise<BuildContainer>;
}

/** What a container in a result is made of. */
export interface ContainerRequest {
  /** Its root filesystem, of which it has a copy; undefined is an empty one. */
  readonly root: string | undefined;
  readonly mounts: readonly ExecMount[];
  /** What mounts mean by their numbers. */
  readonly inputs: readonly (Root | undefined)[];
  readonly network: "default" | "none" | "host";
  readonly security: "sandbox";
  /** Empty: the same as steps have. */
  readonly hostname: string;
  readonly extraHosts: BuildRequest["extraHosts"];
  readonly platform: Platform;
  readonly limits: StepResources;
  readonly entitlements: readonly string[];
  readonly session: BuildSession | undefined;
}

/** A container that runs nothing until it is told to, and ends when it is disposed of, with all that runs in it. */
export interface BuildContainer extends AsyncDisposable {
  /** Where its root filesystem is. */
  readonly root: string;
  /** The first command is the container's own: with it all others end. Rejects as `StepRunner.run`. */
  run(command: ContainerCommand, options: StepOptions): Promise<StepEnd>;
}

export interface ContainerCommand extends StepCommand {
  readonly secretEnv: readonly SecretEnv[];
}

/** A command that failed, with what it ran in. */
export interface HeldFailure extends AsyncDisposable {
  readonly operation: ExecOperation;
  readonly vertex: string;
  /** Where its root is, as it left it. */
  readonly root: string;
  readonly inputs: readonly (Root | undefined)[];
}

export interface BuildOptions {
  readonly signal: AbortSignal;
  readonly onEvent: OnBuildEvent;
  /** Told once, before the first step, if there is anything to build. */
  readonly onPlan?: (plan: PlannedBuild) => void;
  /**
   * Told once, when all targets are made; nothing is made of them, and they are held, until this resolves, and nothing at
   * all if that is with `unwanted`.
   */
  readonly onMade?: (made: readonly MadeTarget[]) => Promise<"unwanted" | "wanted">;
  /** Asked at its end: what the history is to keep beside the record. Never throws. */
  readonly attach?: (end: { readonly result: BuildResult } | { readonly error: unknown }) => readonly BuildAttachment[];
}

/** What a build is about to do. */
export interface PlannedBuild {
  /** The Dockerfile, and its name in the source ranges of the graph. */
  readonly text: string;
  readonly file: string;
  readonly graph: Graph;
}

/** A request in the terms of BuildKit's dockerfile frontend, whichever wire it came by. */
export interface BuildRequest {
  /** Unique: 25 letters and digits or whatever the client chose. */
  readonly id: string;
  /** Undefined for the classic request without one. */
  readonly session: BuildSession | undefined;
  readonly context: ContextSource;
  /** Path of the Dockerfile in the `dockerfile` source; else its text is given. */
  readonly dockerfile: { readonly path: string } | { readonly text: string };
  /** What is built where no Dockerfile says it: then none is read. */
  readonly definition?: LowLevelDefinition;
  /** A client's own question, as for the file that says what to build: the history has no record of it. */
  readonly isInternal?: boolean;
  /** Where the Dockerfile is; undefined: in the context. */
  readonly dockerfileSource?: ContextSource;
  readonly target: string;
  readonly platforms: readonly Platform[];
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly labels: ReadonlyMap<string, string>;
  readonly namedContexts: ReadonlyMap<string, string>;
  /** Other builds, by the names that `input:` in a named context has for them. */
  readonly inputs?: ReadonlyMap<string, BuildInput>;
  readonly noCache: boolean;
  /** Stages that are built anew. */
  readonly noCacheFilter: readonly string[];
  readonly pull: boolean;
  /** `default`, `none`, `host` or a network's name. */
  readonly network: string;
  readonly extraHosts: readonly { readonly name: string; readonly address: string }[];
  readonly entitlements: readonly string[];
  readonly limits: StepResources;
  /** `build`, or a question: `check`, `outline`, `targets`. */
  readonly call: "build" | "check" | "outline" | "targets";
  readonly outputs: readonly BuildOutput[];
  readonly cacheFrom: readonly CacheReference[];
  readonly cacheTo: readonly CacheReference[];
  readonly attestations: ReadonlyMap<"provenance" | "sbom", ReadonlyMap<string, string>>;
  /** The frontend's options as the client gave them, for provenance: all that counts of them is above. */
  readonly options?: Readonly<Record<string, string>>;
  /** Seconds since 1970; of the build argument SOURCE_DATE_EPOCH. */
  readonly sourceDateEpoch?: number;
  readonly explain: boolean;
  /** Keeps a failed step's root filesystem for `openShell`, until the session ends. */
  readonly keepFailed: boolean;
  /** Takes a command over that failed, as it was then, and disposes of it. */
  readonly onFailed?: (failure: HeldFailure) => void;
  /** Refuses ADD from URLs and git at these ranges, and private ones if `private`. */
  readonly denyRanges: readonly string[];
  readonly squash: boolean;
  readonly credentialsOf: (registry: string) => Promise<Credentials>;
  /** Shown in the history. */
  readonly origin: "docker" | "buildkit" | "gantry";
}

export type ContextSource =
  /** A folder of the session's. */
  | { readonly type: "session"; readonly name: string }
  /** An archive that came with the request: a tar, plain or compressed. */
  | { readonly type: "archive"; readonly bytes: AsyncIterable<Uint8Array> }
  | { readonly type: "git"; readonly url: string }
  /** A tar, or a Dockerfile's text. */
  | { readonly type: "http"; readonly url: string }
  /** What another build makes, by the name that the request has for it. */
  | { readonly type: "input"; readonly input: string }
  | { readonly type: "none" };

/** As `--output` has it: `type` and its attributes, unknown ones refused. */
export interface BuildOutput {
  readonly type: "image" | "registry" | "local" | "tar" | "oci" | "docker" | "cacheonly";
  readonly attributes: ReadonlyMap<string, string>;
}

export interface CacheReference {
  readonly type: "inline" | "local" | "registry";
  readonly attributes: ReadonlyMap<string, string>;
}

export interface BuildResult {
  /** The exporter's answer, as `--metadata-file` has it: `containerimage.digest`, `containerimage.config.digest`, … */
  readonly metadata: ReadonlyMap<string, string>;
  /** Id of the image that is in the store now; undefined for other outputs. */
  readonly imageId: string | undefined;
  readonly warnings: number;
  /** Of `call` other than `build`: the answer for people and as JSON. */
  readonly answer?: { readonly text: string; readonly json: string; readonly code: number };
  /** How each target came about, made when it is asked for. */
  readonly provenance?: () => readonly TargetProvenance[];
  /** The config of the image that is in the store now. */
  readonly config?: { readonly mediaType: string; readonly bytes: Uint8Array };
}

/** SLSA provenance: `predicate` is JSON. */
export interface TargetProvenance {
  /** Empty where there is one target alone. */
  readonly platform: string;
  readonly predicateType: string;
  readonly predicate: string;
}

export interface CacheUsage {
  readonly id: string;
  readonly parents: readonly string[];
  /** As the API has it: `regular`, `source.local`, `source.git.checkout`, `exec.cachemount`, `internal`. */
  readonly type: string;
  readonly description: string;
  readonly inUse: boolean;
  readonly shared: boolean;
  readonly size: number;
  readonly createdAt: number;
  readonly lastUsedAt: number;
  readonly usageCount: number;
}

export interface PruneOptions {
  /** Also what images share and what the builder itself needs. */
  readonly all: boolean;
  /** Bytes; 0 is not set. */
  readonly reservedSpace: number;
  readonly maxUsedSpace: number;
  readonly minFreeSpace: number;
  /** What was used within so long stays; 0 is not set. */
  readonly keepForMs?: number;
  /** As BuildKit's clients write them: `type==regular,id~=abc`; of several any must match. */
  readonly filters: readonly string[];
}

/** What was built, kept over restarts within a budget. */
export interface BuildHistory {
  list(): readonly BuildRecord[];
  get(id: string): BuildRecord | undefined;
  /** What it told, in order; of one that runs it goes on until that ends. */
  events(id: string, signal?: AbortSignal): AsyncIterable<BuildEvent>;
  remove(id: string): Promise<void>;
  /** Called with each record that is new or changed. */
  watch(listener: (record: BuildRecord, kind: "started" | "complete" | "deleted") => void): Disposable;
  /** The bytes of one of a record's attachments. Rejects with not-found. */
  attachment(id: string, digest: string): Promise<Uint8Array>;
}

/** A document about a build. */
export interface BuildAttachment {
  readonly kind: "provenance" | "result" | "error";
  /** Empty where it is about all. */
  readonly platform: string;
  readonly mediaType: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly bytes: Uint8Array;
}

/** One that the history has. */
export interface KeptAttachment extends Omit<BuildAttachment, "bytes"> {
  readonly digest: string;
  readonly size: number;
  /** Where it begins in the file of the record's attachments. */
  readonly offset: number;
}

export interface BuildRecord {
  readonly id: string;
  readonly name: string;
  readonly createdAt: number;
  readonly completedAt?: number;
  readonly error?: string;
  readonly target: string;
  readonly platforms: readonly string[];
  readonly steps: number;
  readonly cachedSteps: number;
  readonly warnings: number;
  /** Names of secrets and values of arguments are here, values of secrets never. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, string>>;
  /** The frontend's options as the client gave them; as in `attributes`, nothing secret is in them. */
  readonly options?: Readonly<Record<string, string>>;
  readonly outputs?: readonly { readonly type: string; readonly attributes: Readonly<Record<string, string>> }[];
  readonly attachments?: readonly KeptAttachment[];
}

/** Cache mounts as archives. A mount goes by its own id, or by the id that steps know it by: then the one last used. */
export interface CacheArchives {
  has(idOrName: string): boolean;
  /** All that it holds, as a tar. Not-found; conflict while a build uses it. */
  read(idOrName: string): AsyncIterableIterator<Uint8Array>;
  /** Puts a tar, plain or compressed, in the place of what it held; makes one where there is none. */
  write(idOrName: string, archive: Readable, signal: AbortSignal): Promise<void>;
}

/** A terminal in a step that failed, with its file system, environment, user and mounts. */
export interface FailedSteps {
  /**
   * Opens a shell in the last step of a build that failed; resolves with its exit code. `connect` is called once, when
   * nothing can be refused any more. The step is let go of when the shell has ended.
   */
  openShell(buildId: string, request: ShellRequest, connect: () => ShellConnection): Promise<number>;
  /** Sets the terminal's size. */
  resize(buildId: string, rows: number, columns: number): Promise<void>;
  /** Rejects with not-found where nothing is known of one. */
  shell(buildId: string): ShellState;
}

/** A client's connection that was taken over. */
export interface ShellConnection {
  readonly socket: Duplex;
  /** What came of the client already. */
  readonly head: Uint8Array;
  /** To be written to the client before anything else. */
  readonly preamble: Uint8Array;
}

export type ShellState = { readonly status: "kept" | "open" } | { readonly status: "ended"; readonly exitCode: number };

export interface ShellRequest {
  /** Empty: the step's own shell. */
  readonly args: readonly string[];
  /** 0 leaves it to the kernel. */
  readonly rows: number;
  readonly columns: number;
}
