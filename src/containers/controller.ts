import type { Duplex, Readable } from "node:stream";
import type { ContainerPathStat, FilesystemChange } from "../api/archive.ts";
import type {
  ContainerConfig,
  ContainerCreateRequest,
  ContainerCreateResponse,
  ContainerInspect,
  ContainerSummary,
  ContainersPruneResponse,
  ContainerUpdateRequest,
  ContainerUpdateResponse,
  ContainerWaitResponse,
  EndpointSettings,
  ExecConfig,
  ExecInspect,
  HealthcheckResult,
  TopResponse,
} from "../api/container.ts";
import type { Filters } from "../api/filters.ts";
import type { ContainerStats } from "../api/stats.ts";

export interface CreateOptions {
  readonly platform?: string;
  /** A read-only `-v` leaves what is mounted below its source as it is. */
  readonly shallowReadonly?: boolean;
}

/**
 * What the HTTP routes ask of the containers. `id` is what a client typed: a full id, a prefix of one, or a name with
 * or without its slash. Errors are GantryErrors with Docker's texts ("No such container: x" is not-found).
 */
export interface ContainerController {
  create(
    name: string | undefined,
    request: ContainerCreateRequest,
    options: CreateOptions,
  ): Promise<ContainerCreateResponse>;
  /** Throws not-modified if it runs already. */
  start(id: string): Promise<void>;
  /** Throws not-modified if it doesn't run. A timeout of -1 waits for ever, undefined is the container's own. */
  stop(id: string, options: StopOptions): Promise<void>;
  restart(id: string, options: StopOptions): Promise<void>;
  /** `signal` as typed: `KILL`, `SIGKILL`, `9`; empty is SIGKILL. */
  kill(id: string, signal: string): Promise<void>;
  /** By id, name, or `parent/alias` of a link. */
  remove(id: string, options: { readonly force: boolean; readonly volumes: boolean }): Promise<void>;
  /** Takes the link `parent/alias` of the default bridge away; its containers stay. */
  removeLink(name: string): Promise<void>;
  pause(id: string): Promise<void>;
  unpause(id: string): Promise<void>;
  /**
   * Resolves when the condition holds. Calls `ready` once the container is found and watched: the answer's headers
   * leave then, and what happens after them is not missed. An abort rejects with cancelled.
   */
  wait(id: string, condition: WaitCondition, options: WaitOptions): Promise<WaitResult>;
  rename(id: string, name: string): Promise<void>;
  /** At once if it runs, at its next start otherwise. */
  connectNetwork(id: string, network: string, settings: Partial<EndpointSettings>): Promise<void>;
  /** `force` is for containers that are gone. */
  disconnectNetwork(id: string, network: string, options: { readonly force: boolean }): Promise<void>;
  /** Throws conflict, and changes nothing, for what can't go with what is there or what the kernel refuses. */
  update(id: string, request: ContainerUpdateRequest): Promise<ContainerUpdateResponse>;
  list(options: ContainerListOptions): Promise<ContainerSummary[]>;
  inspect(id: string, options: { readonly size: boolean }): Promise<ContainerInspect>;
  /** Runs its health check now; what comes of it counts as the engine's own checks do. */
  healthcheck(id: string): Promise<HealthcheckResult>;
  /** `psArgs` as a shell would split them; empty is `-ef`. */
  top(id: string, psArgs: string): Promise<TopResponse>;
  /** One look at what it uses, or two that are apart; zeros if it doesn't run. */
  stats(id: string, options: StatsOptions): Promise<ContainerStats>;
  /** The same about once a second, through stops and restarts, until it is removed. Throws if there is no such one. */
  statsStream(id: string, signal: AbortSignal): AsyncIterable<ContainerStats>;
  /** The errors of the request come before the result; the stream's own end it. */
  logs(id: string, options: LogsOptions): Promise<LogsResult>;
  /** Resolves when the session has ended. Throws only before `hijack` was called. */
  attach(id: string, options: AttachOptions): Promise<void>;
  /** What became of the files of its root filesystem since it was created. */
  changes(id: string): Promise<FilesystemChange[]>;
  /** Paths are the container's own; volumes and binds are followed, links stay inside. Not-found names the path. */
  statPath(id: string, path: string): Promise<ContainerPathStat>;
  readArchive(id: string, path: string): Promise<ArchiveAnswer>;
  /** Puts an archive, compressed or not, into a folder. Forbidden where that is read-only. */
  writeArchive(id: string, path: string, body: Readable, options: ArchiveWriteOptions): Promise<void>;
  /** The root filesystem as a tar archive, without what is in volumes. */
  export(id: string): Promise<AsyncIterableIterator<Uint8Array>>;
  /** Makes an image of what the container has changed; resolves with its id. */
  commit(id: string, request: CommitRequest): Promise<string>;
  resize(id: string, rows: number, columns: number): Promise<void>;

  execCreate(id: string, config: ExecConfig): Promise<{ Id: string }>;
  /** Detached: resolves when the process runs. Else resolves when the session has ended, as `attach` does. */
  execStart(execId: string, options: ExecStartOptions): Promise<void>;
  execInspect(execId: string): Promise<ExecInspect>;
  execResize(execId: string, rows: number, columns: number): Promise<void>;

  prune(filters: Filters): Promise<ContainersPruneResponse>;

  /** How many there are in which state, for GET /info. */
  counts(): { readonly running: number; readonly paused: number; readonly stopped: number };
  /** Stops every running container within `timeoutSeconds`: the end of an engine with `--shutdown-containers`. */
  stopAll(timeoutSeconds: number): Promise<void>;
}

export type WaitCondition = "not-running" | "next-exit" | "removed";

export interface WaitOptions {
  readonly signal: AbortSignal;
  readonly ready: () => void;
}

export type WaitResult = ContainerWaitResponse;

export interface StopOptions {
  readonly signal?: string;
  readonly timeoutSeconds?: number;
}

export interface ContainerListOptions {
  readonly all: boolean;
  /** At most so many, newest first; undefined is no limit. Implies `all`. */
  readonly limit: number | undefined;
  readonly size: boolean;
  readonly filters: Filters;
}

export interface StatsOptions {
  /** A single look, without one before it. */
  readonly oneShot: boolean;
  readonly signal: AbortSignal;
}

export interface LogsOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Unix nanoseconds; undefined for no bound. */
  readonly since: bigint | undefined;
  readonly until: bigint | undefined;
  readonly timestamps: boolean;
  /** The last so many lines; undefined is all. */
  readonly tail: number | undefined;
  readonly follow: boolean;
  readonly details: boolean;
  /** Frames may hold several lines: many times faster, for clients that look at none. */
  readonly joined: boolean;
  readonly signal: AbortSignal;
}

export interface LogsResult {
  readonly tty: boolean;
  /** The answer's body as it goes out: framed already unless `tty`. */
  readonly stream: AsyncIterable<Uint8Array>;
}

export interface ArchiveAnswer {
  readonly stat: ContainerPathStat;
  /** A tar archive. Whoever has it reads it to its end or calls `return`; a piece is theirs until they ask for the next. */
  readonly stream: AsyncIterableIterator<Uint8Array>;
}

export interface ArchiveWriteOptions {
  /** What is made belongs to the container's own user, if it has one. */
  readonly copyUidGid: boolean;
  readonly noOverwriteDirNonDir: boolean;
  readonly signal: AbortSignal;
}

export interface CommitRequest {
  /** Laid over the container's own; undefined leaves that as it is. */
  readonly config: ContainerConfig | undefined;
  /** Dockerfile instructions. */
  readonly changes: readonly string[];
  /** Empty leaves the image untagged, whatever the tag. */
  readonly repository: string;
  readonly tag: string;
  readonly author: string;
  readonly comment: string;
  /** Stop a running container's processes while its files are read. */
  readonly pause: boolean;
  readonly signal: AbortSignal;
}

/**
 * The client's connection, taken from the HTTP server. Whoever holds it ends it. `head` are bytes that the client sent
 * after its request and that were read already; `preamble` is the answer's head (101 or 200), not yet written: it goes
 * out before anything else.
 */
export interface HijackedConnection {
  readonly socket: Duplex;
  readonly head: Uint8Array;
  readonly preamble: Uint8Array;
}

/**
 * Takes the connection over; to be called once, when nothing can be refused any more. `multiplexed` says whether
 * frames will follow, which goes into the Content-Type.
 */
export type Hijack = (options: { readonly multiplexed: boolean }) => HijackedConnection;

export interface AttachOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Go on with what comes; false ends after the replay of `logs`. */
  readonly stream: boolean;
  /** Replay what was printed before. */
  readonly logs: boolean;
  /** As typed (`ctrl-p,ctrl-q`); undefined is the engine's default. */
  readonly detachKeys: string | undefined;
  readonly hijack: Hijack;
  /** Aborted when the client goes before `hijack` was called. */
  readonly signal: AbortSignal;
}

export type ExecStartOptions =
  | { readonly detach: true; readonly tty: boolean; readonly consoleSize: ConsoleSize | undefined }
  | {
      readonly detach: false;
      readonly tty: boolean;
      readonly consoleSize: ConsoleSize | undefined;
      readonly hijack: Hijack;
      readonly signal: AbortSignal;
    };

/** Rows, columns. */
export type ConsoleSize = readonly [number, number];
