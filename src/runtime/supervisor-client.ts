import { GantryError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { ControlConnection } from "./control-connection.ts";
import type {
  AttachEnd,
  AttachRequest,
  CreateProcess,
  ExecProcess,
  ProcessExit,
  ProcessRuntime,
  RunningProcess,
} from "./process.ts";
import type { FromEngine, FromSupervisor, Request } from "./protocol.ts";
import { handOver } from "./socket-hand-over.ts";
import { findSupervisor, type SupervisorPlace, startSupervisor } from "./supervisor-start.ts";

const RETRY_MS = 1000;
const GRACE_MS = 15_000;
const REQUEST_TIMEOUT_MS = 75_000;
const TOLD_EXITS = 4096;

export interface SupervisorOptions extends SupervisorPlace {
  readonly log: Logger;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * The engine's side of the supervisor. Lives until `close`; a supervisor that dies is started again, what was asked
 * of it meanwhile fails with `unavailable`.
 */
export class SupervisorClient implements ProcessRuntime {
  readonly #options: SupervisorOptions;
  readonly #pending = new Map<number, Pending>();
  readonly #sessions = new Map<number, (end: AttachEnd) => void>();
  readonly #listeners: ((exit: ProcessExit) => void)[] = [];
  /** Exits that came before anyone listened. */
  #untold: ProcessExit[] = [];
  readonly #told = new Set<string>();
  #connection: ControlConnection | undefined;
  #connecting: Promise<ControlConnection> | undefined;
  #number = 0;
  #closed = false;

  private constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Adopts the living supervisor of this exec root, or starts one. `unavailable` if that fails. */
  static async connect(options: SupervisorOptions): Promise<SupervisorClient> {
    const client = new SupervisorClient(options);
    await client.#connected();
    return client;
  }

  async create(request: CreateProcess): Promise<{ readonly pid: number }> {
    const timeoutMs = request.timeoutMs === undefined ? REQUEST_TIMEOUT_MS : request.timeoutMs + GRACE_MS;
    return (await this.#ask({ op: "create", ...request }, { timeoutMs })) as { readonly pid: number };
  }

  async start(id: string): Promise<void> {
    await this.#ask({ op: "start", id });
  }

  async kill(id: string, signal: number, options: { readonly all?: boolean } = {}): Promise<void> {
    await this.#ask({ op: "kill", id, signal, all: options.all ?? false });
  }

  async pause(id: string): Promise<void> {
    await this.#ask({ op: "pause", id });
  }

  async resume(id: string): Promise<void> {
    await this.#ask({ op: "resume", id });
  }

  async delete(id: string): Promise<void> {
    await this.#ask({ op: "delete", id });
  }

  async exec(request: ExecProcess): Promise<{ readonly pid: number }> {
    return (await this.#ask({ op: "exec", ...request })) as { readonly pid: number };
  }

  async killExec(id: string, execId: string, signal: number): Promise<void> {
    await this.#ask({ op: "killExec", id, execId, signal });
  }

  async killExecTree(id: string, execId: string): Promise<void> {
    await this.#ask({ op: "killExecTree", id, execId });
  }

  async resize(id: string, execId: string | undefined, rows: number, columns: number): Promise<void> {
    await this.#ask({ op: "resize", id, execId, rows, columns });
  }

  async list(): Promise<readonly RunningProcess[]> {
    return (await this.#ask({ op: "list" })) as readonly RunningProcess[];
  }

  async sync(): Promise<void> {
    await this.#ask({ op: "sync" });
    // A refusal that arrived just before is acted on in its own promises' turns.
    await new Promise((resolve) => setImmediate(resolve));
  }

  attach(request: AttachRequest): { readonly ready: Promise<void>; readonly done: Promise<AttachEnd> } {
    const session = ++this.#number;
    const { promise: done, resolve } = Promise.withResolvers<AttachEnd>();
    this.#sessions.set(session, resolve);
    const { id, execId, stdin, stdout, stderr, multiplexed, socket } = request;
    const begin = async () => {
      const { fd, head, release } = handOver(socket, request.head);
      const message: Request = {
        ...{ op: "attach", session, id, execId, stdin, stdout, stderr, multiplexed },
        head: head.toString("base64"),
        detachKeys: Buffer.from(request.detachKeys).toString("base64"),
        preamble: Buffer.from(request.preamble ?? []).toString("base64"),
      };
      await this.#ask(message, { fd, sent: release });
    };
    // Before whatever is asked next: what an exec prints before its client is there is lost.
    const ready = this.#current === undefined ? this.#connected().then(begin) : begin();
    ready.catch(() => {
      this.#sessions.delete(session);
      resolve("client-left");
    });
    return { ready, done };
  }

  onExit(listener: (exit: ProcessExit) => void): void {
    this.#listeners.push(listener);
    const untold = this.#untold;
    this.#untold = [];
    for (const exit of untold) this.#tell(exit);
  }

  /** Ends the supervisor; `conflict` while it has containers. This client is closed then. */
  async shutdown(): Promise<void> {
    await this.#ask({ op: "shutdown" });
    this.close();
  }

  /** Lets go of the supervisor, which goes on. */
  close(): void {
    this.#closed = true;
    this.#connection?.close();
  }

  async #ask(
    request: Request,
    options: { readonly timeoutMs?: number; readonly fd?: number; readonly sent?: () => void } = {},
  ): Promise<unknown> {
    let connection = this.#current;
    try {
      // Without a wait where there is a connection: requests go in the order in which they are made.
      connection ??= await this.#connected();
    } catch (error) {
      options.sent?.();
      throw error;
    }
    const number = ++this.#number;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const late = (): void => {
      this.#pending.delete(number);
      reject(new GantryError("unavailable", `the supervisor does not answer (${request.op})`));
    };
    const timer = setTimeout(late, options.timeoutMs ?? REQUEST_TIMEOUT_MS);
    this.#pending.set(number, { resolve, reject, timer });
    const message: FromEngine = { ...request, request: number };
    connection.send(message, options.fd, options.sent);
    return await promise;
  }

  get #current(): ControlConnection | undefined {
    return this.#closed ? undefined : this.#connection;
  }

  async #connected(): Promise<ControlConnection> {
    if (this.#closed) throw new GantryError("unavailable", "the connection to the supervisor is closed");
    if (this.#connection !== undefined) return this.#connection;
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return await this.#connecting;
  }

  async #connect(): Promise<ControlConnection> {
    const fd = findSupervisor(this.#options.execRoot) ?? (await startSupervisor(this.#options));
    const connection = new ControlConnection(
      fd,
      (message) => this.#received(connection, message as FromSupervisor),
      () => this.#lost(connection),
    );
    this.#connection = connection;
    if (this.#closed) connection.close();
    return connection;
  }

  #received(connection: ControlConnection, message: FromSupervisor): void {
    if ("reply" in message) {
      const asked = this.#pending.get(message.reply);
      if (asked === undefined) return;
      this.#pending.delete(message.reply);
      clearTimeout(asked.timer);
      if ("error" in message) asked.reject(new GantryError(message.error.kind, message.error.message));
      else asked.resolve(message.value);
    } else if (message.event === "attach-end") {
      this.#sessions.get(message.session)?.(message.end);
      this.#sessions.delete(message.session);
    } else {
      const { id, execId, code, at, oomKilled, timedOut } = message.exit;
      this.#exited({ id, execId, code, at, oomKilled, ...(timedOut === true && { timedOut }) });
      const ack: FromEngine = { op: "ack", exit: message.exit };
      connection.send(ack);
    }
  }

  #exited(exit: ProcessExit): void {
    // After a reconnection the supervisor tells again what it has not forgotten.
    const seen = `${exit.id}/${exit.execId ?? ""} ${exit.at}`;
    if (this.#told.has(seen)) return;
    this.#told.add(seen);
    if (this.#told.size > TOLD_EXITS) this.#told.delete(this.#told.values().next().value!);
    if (this.#listeners.length === 0) this.#untold.push(exit);
    else this.#tell(exit);
  }

  #tell(exit: ProcessExit): void {
    for (const listener of this.#listeners) {
      try {
        listener(exit);
      } catch (error) {
        this.#options.log.error("a listener of exits failed", { id: exit.id, error: messageOf(error) });
      }
    }
  }

  #lost(connection: ControlConnection): void {
    if (this.#connection === connection) this.#connection = undefined;
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(new GantryError("unavailable", "the supervisor has gone"));
    }
    this.#pending.clear();
    for (const resolve of this.#sessions.values()) resolve("client-left");
    this.#sessions.clear();
    if (!this.#closed) void this.#revive();
  }

  async #revive(): Promise<void> {
    this.#options.log.warn("the supervisor has gone: starting it again");
    while (!this.#closed) {
      try {
        await this.#connected();
        return;
      } catch (error) {
        this.#options.log.error("cannot start the supervisor", { error: messageOf(error) });
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }
}
