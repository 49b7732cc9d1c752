import type { Duplex, Writable } from "node:stream";

/**
 * Runs commands over root filesystems that somebody else has mounted, jailed as containers are. Nothing of them is
 * recorded: a crash takes them along.
 */
export interface StepRunner {
  /**
   * Resolves when the command has ended with all that it started, its output was taken, and the root is the caller's
   * again. An abort kills it and rejects with `cancelled`; rejects with `invalid` and the runtime's words for what can't
   * be started. After a rejection nothing is left of its jail, else by the next `quiet`.
   */
  run(step: Step, options: StepOptions): Promise<StepEnd>;
  /** Resolves when nothing is left of steps that have ended. */
  quiet(): Promise<void>;
}

export interface Step {
  /** Where its root filesystem is mounted, read-write; nobody else changes it meanwhile. */
  readonly root: string;
  readonly args: readonly string[];
  /** PATH, HOME and HOSTNAME are added where they are missing. */
  readonly env: readonly string[];
  /** Made if it is missing. */
  readonly cwd: string;
  /** `user[:group]`, names or numbers; empty is root. */
  readonly user: string;
  readonly hostname: string;
  /** `none`, `host`, or a network's name; `default` is the default bridge. */
  readonly network: string;
  readonly extraHosts: readonly { readonly name: string; readonly address: string }[];
  /** All capabilities and devices, no filter. */
  readonly privileged: boolean;
  readonly limits: StepResources;
  /** Of targets one below another the upper comes first. What is made in `root` to mount on is taken away again. */
  readonly mounts: readonly StepMount[];
}

/** As HostConfig has them; 0 and empty are no limit. */
export interface StepResources {
  readonly memory: number;
  readonly memorySwap: number;
  readonly cpuShares: number;
  readonly cpuPeriod: number;
  readonly cpuQuota: number;
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly shmSize: number;
  readonly cgroupParent: string;
  readonly ulimits: readonly { readonly name: string; readonly soft: number; readonly hard: number }[];
}

export type StepMount =
  | {
      readonly type: "bind";
      readonly target: string;
      /** A descriptor of the very file or folder, which stays the caller's. */
      readonly source: number;
      readonly readonly: boolean;
    }
  /** Bytes; 0 is the kernel's limit. */
  | { readonly type: "tmpfs"; readonly target: string; readonly size: number }
  /** A file that is in memory only, and that nobody writes to. */
  | {
      readonly type: "file";
      readonly target: string;
      readonly bytes: Uint8Array;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    }
  /** A Unix socket whose connections are handed to `connected`. */
  | {
      readonly type: "socket";
      readonly target: string;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
      readonly connected: (connection: Duplex) => void;
    };

export interface StepOptions {
  readonly signal: AbortSignal;
  readonly output: StepOutput | StepTerminal;
}

export interface StepOutput {
  readonly kind: "streams";
  /** What the command printed, in order within each stream. It waits while a promise that was returned is pending. */
  take(stream: 1 | 2, bytes: Uint8Array): void | Promise<void>;
  /** Called, where it is there, with the command's standard input; else that is at its end. It ends with the command. */
  input?(stdin: Writable): void;
  /** Called when the command runs. */
  opened?(running: RunningStep): void;
}

/** The command has a terminal, which is joined to a client. */
export interface StepTerminal {
  readonly kind: "terminal";
  /**
   * Takes the client's connection over, once, when the command is about to run: `head` came of the client already,
   * `preamble` is written to it before anything of the command.
   */
  connect(): { readonly socket: Duplex; readonly head: Uint8Array; readonly preamble: Uint8Array };
  readonly rows: number;
  readonly columns: number;
  /** Called when the command runs. */
  opened?(running: RunningStep): void;
}

/** A command that runs, for who steers it. */
export interface RunningStep {
  /** Sets its terminal's size. */
  resize(rows: number, columns: number): Promise<void>;
  signal(signal: number): Promise<void>;
  /** Runs another one in the same jail, as `run` does: it ends with the first at the latest. */
  exec(command: StepCommand, options: StepOptions): Promise<StepEnd>;
}

/** What of a step may differ from one command to the next. */
export type StepCommand = Pick<Step, "args" | "cwd" | "env" | "privileged" | "user">;

export interface StepEnd {
  /** 128 + n for a signal. */
  readonly code: number;
  /** The kernel killed it, or some of it, for want of memory. */
  readonly oomKilled: boolean;
}
