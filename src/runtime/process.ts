import type { Duplex } from "node:stream";
import type { SpecProcess } from "../oci/runtime-spec.ts";

/**
 * The port to the supervisor: containers as processes. `id` is a container's full id, `execId` that of an exec
 * session; both are 64 hex digits. The implementation is `SupervisorClient`; tests may use a fake.
 */
export interface ProcessRuntime {
  /**
   * Makes the jail of `bundle` (a folder with config.json) and leaves its first process waiting. Refused with
   * `invalid` and the runtime's own words when the jail cannot be made; nothing is left then.
   */
  create(request: CreateProcess): Promise<{ readonly pid: number }>;
  /** Lets a created process go. */
  start(id: string): Promise<void>;
  /** Sends a signal to the container's first process, or with `all` to every process of its cgroup. */
  kill(id: string, signal: number, options?: { readonly all?: boolean }): Promise<void>;
  pause(id: string): Promise<void>;
  resume(id: string): Promise<void>;
  /** Forgets a container that has exited (or was only created: it is killed): cgroups, runtime state, FIFOs. */
  delete(id: string): Promise<void>;

  /**
   * Starts a process in a running container. Fails with the OCI runtime's words if it can't be started. An `attach`
   * to it that was opened before sees all of its output.
   */
  exec(request: ExecProcess): Promise<{ readonly pid: number }>;
  /** Sends a signal to an exec's process. */
  killExec(id: string, execId: string, signal: number): Promise<void>;
  /** Kills an exec's process with its descendants and all of the session it leads. Resolves when none of them is left. */
  killExecTree(id: string, execId: string): Promise<void>;

  /** Sets the terminal's size. */
  resize(id: string, execId: string | undefined, rows: number, columns: number): Promise<void>;

  /**
   * Joins a client to the streams of a container or exec. `socket` is the client's hijacked connection (head bytes
   * already read are in `head`): the supervisor takes it over by its descriptor if it is a plain socket, else its
   * bytes are moved by this process. Resolves when the session has ended: the process's streams ended, the client
   * left, or the detach keys were typed.
   * Before any output the stream is already in place, so nothing that is printed after this call began is missed.
   * `ready` resolves when it is in place.
   */
  attach(request: AttachRequest): { readonly ready: Promise<void>; readonly done: Promise<AttachEnd> };

  /** What runs now, for reconciling after a restart of the engine. */
  list(): Promise<readonly RunningProcess[]>;

  /**
   * Resolves when listeners know each exit that any client could have seen by the end of its stream before this was
   * asked, and `exec` has settled where such a client was told that it failed.
   */
  sync(): Promise<void>;

  /** Calls `listener` once for each exit, also for those that happened while no engine ran (on `connect`). */
  onExit(listener: (exit: ProcessExit) => void): void;
}

/** A program that makes containers of bundles, and its arguments before all others. */
export interface OciRuntime {
  /** As `--runtime` names it. */
  readonly name: string;
  /** Absolute path of the executable. */
  readonly path: string;
  readonly args: readonly string[];
}

export interface CreateProcess {
  readonly id: string;
  readonly bundle: string;
  readonly runtime: OciRuntime;
  readonly terminal: boolean;
  /** Keep standard input open for attaching clients; else it is at its end from the start. */
  readonly openStdin: boolean;
  /** Standard input ends when the first attached client's does. */
  readonly stdinOnce: boolean;
  /** Where output is kept; undefined keeps none. */
  readonly log: LogTarget | undefined;
  /** Milliseconds after which a runtime that does not answer is killed and the create fails. Default 60,000. */
  readonly timeoutMs?: number;
}

/** A bounded log: `path`, `path.1` (older) … up to `maxFiles` files of `maxSize` bytes, 0 for any size. */
export interface LogTarget {
  readonly path: string;
  readonly maxSize: number;
  readonly maxFiles: number;
  /** Docker's lines of JSON with these attributes in each; else frames, which are binary-safe and many times faster. */
  readonly json?: { readonly attributes: Readonly<Record<string, string>> };
  /** Files that are written no more are packed: `path.1.gz`. */
  readonly compress?: boolean;
}

export interface ExecProcess {
  readonly id: string;
  readonly execId: string;
  readonly process: SpecProcess;
  readonly terminal: boolean;
  readonly openStdin: boolean;
  /**
   * Milliseconds that the process may run; then it is killed as by `killExecTree` and its exit says `timedOut`. Holds
   * also while no engine runs. undefined is no limit.
   */
  readonly timeoutMs?: number;
}

export interface AttachRequest {
  readonly id: string;
  /** undefined attaches to the container itself. */
  readonly execId: string | undefined;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Docker's 8-byte frames, for plain stdio; else bytes as they are, for a terminal. */
  readonly multiplexed: boolean;
  /** Byte sequence that ends the session when typed; empty turns it off. Terminals only. */
  readonly detachKeys: Uint8Array;
  readonly socket: Duplex;
  readonly head: Uint8Array;
  /** Written to the client before anything of the process (the 101 answer, a replay of the log). */
  readonly preamble?: Uint8Array;
}

export type AttachEnd = "exited" | "detached" | "client-left";

export interface RunningProcess {
  readonly id: string;
  readonly pid: number;
  readonly status: "created" | "running" | "paused" | "exited";
  readonly exit?: ProcessExit;
}

/** The end of a container's first process, or of an exec. */
export interface ProcessExit {
  readonly id: string;
  /** undefined: the container's own first process. */
  readonly execId: string | undefined;
  /** 0–255; 128+n for a signal; undefined when it could not be learnt (the supervisor was down). */
  readonly code: number | undefined;
  /** Unix milliseconds. */
  readonly at: number;
  readonly oomKilled: boolean;
  /** An exec that was killed because it ran longer than it may. */
  readonly timedOut?: boolean;
}
