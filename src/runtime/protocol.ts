import type { ErrorKind } from "../base/errors.ts";
import type { AttachEnd, CreateProcess, ExecProcess, ProcessExit } from "./process.ts";

/** What the engine asks of the supervisor. Each request but `ack` is answered once, by its `request` number. */
export type Request =
  | ({ readonly op: "create" } & CreateProcess)
  | { readonly op: "start" | "pause" | "resume" | "delete"; readonly id: string }
  | { readonly op: "kill"; readonly id: string; readonly signal: number; readonly all: boolean }
  | ({ readonly op: "exec" } & ExecProcess)
  | { readonly op: "killExecTree"; readonly id: string; readonly execId: string }
  | { readonly op: "killExec"; readonly id: string; readonly execId: string; readonly signal: number }
  | {
      readonly op: "resize";
      readonly id: string;
      readonly execId: string | undefined;
      readonly rows: number;
      readonly columns: number;
    }
  | ({ readonly op: "attach" } & AttachMessage)
  | { readonly op: "list" | "sync" | "shutdown" };

/** Takes over the client's socket, which comes along as a descriptor. Bytes are base64. */
export interface AttachMessage {
  /** The engine's own number, which the `attach-end` carries. */
  readonly session: number;
  readonly id: string;
  readonly execId: string | undefined;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly multiplexed: boolean;
  readonly detachKeys: string;
  readonly head: string;
  readonly preamble: string;
}

export type FromEngine = (Request & { readonly request: number }) | { readonly op: "ack"; readonly exit: ProcessExit };

export type FromSupervisor =
  | { readonly reply: number; readonly value: unknown }
  | { readonly reply: number; readonly error: { readonly kind: ErrorKind; readonly message: string } }
  | { readonly event: "exit"; readonly exit: ProcessExit }
  | { readonly event: "attach-end"; readonly session: number; readonly end: AttachEnd };

/** What it is called under the exec root: supervisor.sock, supervisor.lock, supervisor.log. */
export const SUPERVISOR_NAME = "supervisor";
/** The exit status of a helper that found another one at work. */
export const ALREADY_RUNNING = 3;
