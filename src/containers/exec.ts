import { randomBytes } from "node:crypto";
import type { ExecConfig, ExecInspect } from "../api/container.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import type { SpecProcess } from "../oci/runtime-spec.ts";
import { headRead } from "../runtime/head-wait.ts";
import type { ProcessExit } from "../runtime/process.ts";
import { exitCodeOfFailure } from "../runtime/runtime-error.ts";
import { CapturedOutput } from "./captured-output.ts";
import type { ExecStartOptions, HijackedConnection } from "./controller.ts";
import { parseDetachKeys } from "./detach-keys.ts";
import { publishContainerEvent } from "./event.ts";
import type { ContainerPorts } from "./ports.ts";
import { execProcessOf } from "./spec-of.ts";
import type { Entry } from "./table.ts";

const CANNOT_RUN = 126;
/** How many ended sessions are kept for `inspect`; the oldest go first. */
const KEPT_ENDED = 256;

interface Session {
  readonly id: string;
  readonly entry: Entry;
  readonly config: ExecConfig;
  state: { status: "created" } | { status: "running"; pid: number } | { status: "exited"; code: number };
  readonly ended: PromiseWithResolvers<ExecEnd>;
  /** Can be inspected after its end. */
  readonly isKept: boolean;
}

export interface ExecEnd {
  readonly code: number;
  /** It was killed because it ran longer than it might. */
  readonly timedOut: boolean;
}

/** What became of a command that was run without a client. */
export interface CapturedRun extends ExecEnd {
  readonly output: string;
}

export interface CaptureOptions {
  readonly timeoutMs: number;
  /** Bytes of output that are kept. */
  readonly outputLimit: number;
  /** An abort kills the command with all it started, and rejects. */
  readonly signal: AbortSignal;
  /** Called when the process runs: the time until then is not its own. */
  readonly onStarted?: () => void;
}

/** Exec sessions of all containers. They live as long as the engine, as Docker's do. */
export class ExecSessions {
  readonly #ports: ContainerPorts;
  readonly #sessions = new Map<string, Session>();
  readonly #ended: string[] = [];

  constructor(ports: ContainerPorts) {
    this.#ports = ports;
  }

  create(entry: Entry, config: ExecConfig): { Id: string } {
    return { Id: this.#add(entry, config, true).id };
  }

  #add(entry: Entry, config: ExecConfig, isKept: boolean): Session {
    if (config.Cmd === null || config.Cmd.length === 0) throw new GantryError("invalid", "No exec command specified");
    parseDetachKeys(config.DetachKeys);
    const id = randomBytes(32).toString("hex");
    const ended = Promise.withResolvers<ExecEnd>();
    const session: Session = { id, entry, config, state: { status: "created" }, ended, isKept };
    this.#sessions.set(id, session);
    entry.transient.execIds.add(id);
    publishContainerEvent(this.#ports.events, entry.record, `exec_create: ${shownCommand(config)}`, { execID: id });
    return session;
  }

  async start(execId: string, options: ExecStartOptions): Promise<void> {
    const session = this.#find(execId);
    const { entry, config } = session;
    const { record } = entry;
    if (session.state.status !== "created") {
      throw new GantryError("conflict", `exec ${execId} has already run, create a new one`);
    }
    if (record.state.status !== "running") throw new GantryError("conflict", `container ${record.id} is not running`);
    if (record.state.paused) {
      throw new GantryError("conflict", `container ${record.id} is paused, unpause the container before exec`);
    }
    const tty = config.Tty;
    const size = options.consoleSize ?? config.ConsoleSize ?? undefined;
    let process: SpecProcess;
    try {
      process = execProcessOf(this.#ports.settings(), record, config, size);
    } catch (error) {
      this.#end(session, { code: CANNOT_RUN, timedOut: false });
      if (options.detach) throw error;
      await refuseOnStream(options.hijack({ multiplexed: !tty }), tty, messageOf(error));
      return;
    }
    session.state = { status: "running", pid: 0 };
    const request = { id: record.id, execId, process, terminal: tty, openStdin: config.AttachStdin && !options.detach };
    publishContainerEvent(this.#ports.events, record, `exec_start: ${shownCommand(config)}`, { execID: execId });
    if (options.detach) {
      await this.#run(session, request);
      return;
    }
    const { socket, head, preamble } = options.hijack({ multiplexed: !tty });
    const attached = this.#ports.runtime.attach({
      id: record.id,
      execId,
      stdin: config.AttachStdin,
      stdout: config.AttachStdout,
      stderr: config.AttachStderr,
      multiplexed: !tty,
      detachKeys: tty ? parseDetachKeys(config.DetachKeys) : new Uint8Array(),
      socket,
      head,
      preamble,
    });
    // What goes wrong from here on is told on the stream and by the exit code: the answer's head is out.
    attached.ready.catch(() => {});
    attached.done.catch(() => {});
    try {
      await this.#run(session, request);
      await attached.done;
    } catch (error) {
      this.#ports.log.info(`exec failed: ${messageOf(error)}`, { container: record.id, exec: execId });
    }
  }

  /**
   * Runs a command to its end for the engine itself: a session like any other, but forgotten when it has ended.
   * Rejects with the runtime's words if it can't be started.
   */
  async capture(entry: Entry, config: ExecConfig, options: CaptureOptions): Promise<CapturedRun> {
    const session = this.#add(entry, config, false);
    const execId = session.id;
    const { id } = entry.record;
    const output = new CapturedOutput(options.outputLimit);
    const kill = () => void this.#ports.runtime.killExecTree(id, execId).catch(() => {});
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => {});
    const abort = () => {
      kill();
      aborted.reject(new GantryError("cancelled", "the command was given up"));
    };
    options.signal.addEventListener("abort", abort, { once: true });
    try {
      const process = execProcessOf(this.#ports.settings(), entry.record, config, undefined);
      const streams = { stdin: false, stdout: true, stderr: true, multiplexed: false };
      const { socket } = output;
      const ends = { socket, head: new Uint8Array(), detachKeys: new Uint8Array() };
      const attached = this.#ports.runtime.attach({ id, execId, ...streams, ...ends });
      attached.ready.catch(() => output.close());
      attached.done.catch(() => {});
      session.state = { status: "running", pid: 0 };
      publishContainerEvent(this.#ports.events, entry.record, `exec_start: ${shownCommand(config)}`, {
        execID: execId,
      });
      const request = { id, execId, process, terminal: false, openStdin: false, timeoutMs: options.timeoutMs };
      const started = this.#run(session, request).then(() => {
        options.onStarted?.();
        // The abort came before there was anything to kill.
        if (options.signal.aborted) kill();
      });
      started.catch(() => {});
      await Promise.race([started, aborted.promise]);
      const end = await Promise.race([session.ended.promise, aborted.promise]);
      await Promise.race([output.ended, aborted.promise]);
      return { ...end, output: output.text };
    } catch (error) {
      if (session.state.status === "created") this.#end(session, { code: CANNOT_RUN, timedOut: false });
      throw error;
    } finally {
      options.signal.removeEventListener("abort", abort);
      output.close();
    }
  }

  async #run(session: Session, request: Parameters<ContainerPorts["runtime"]["exec"]>[0]): Promise<void> {
    try {
      const { pid } = await this.#ports.runtime.exec(request);
      if (session.state.status === "running") session.state = { status: "running", pid };
    } catch (error) {
      this.#end(session, { code: exitCodeOfFailure(messageOf(error), CANNOT_RUN), timedOut: false });
      throw error;
    }
  }

  exited(exit: ProcessExit, entry: Entry | undefined): void {
    const session = exit.execId === undefined ? undefined : this.#sessions.get(exit.execId);
    if (session === undefined || session.state.status === "exited") return;
    this.#end(session, { code: exit.code ?? 255, timedOut: exit.timedOut === true });
    if (entry === undefined) return;
    publishContainerEvent(this.#ports.events, entry.record, "exec_die", {
      execID: session.id,
      exitCode: String(exit.code ?? 255),
    });
  }

  #end(session: Session, end: ExecEnd): void {
    session.state = { status: "exited", code: end.code };
    session.ended.resolve(end);
    session.entry.transient.execIds.delete(session.id);
    if (!session.isKept) {
      this.#sessions.delete(session.id);
      return;
    }
    this.#ended.push(session.id);
    if (this.#ended.length > KEPT_ENDED) this.#sessions.delete(this.#ended.shift() ?? "");
  }

  async inspect(execId: string): Promise<ExecInspect> {
    const session = this.#find(execId);
    // A client asks for the code as soon as its stream has ended, which can be before the exit was heard of here.
    if (session.state.status === "running") {
      await this.#ports.runtime.sync().catch((error: unknown) => {
        this.#ports.log.warn(`cannot ask whether an exec still runs: ${messageOf(error)}`, { exec: execId });
      });
    }
    const { entry, config, state, id } = session;
    const [entrypoint = "", ...rest] = config.Cmd ?? [];
    return {
      ID: id,
      Running: state.status === "running",
      ExitCode: state.status === "exited" ? state.code : null,
      ProcessConfig: {
        tty: config.Tty,
        entrypoint,
        arguments: rest,
        privileged: config.Privileged,
        ...(config.User === "" ? {} : { user: config.User }),
      },
      OpenStdin: config.AttachStdin,
      OpenStderr: config.AttachStderr,
      OpenStdout: config.AttachStdout,
      CanRemove: state.status === "exited",
      ContainerID: entry.record.id,
      DetachKeys: config.DetachKeys,
      Pid: state.status === "running" ? state.pid : 0,
    };
  }

  async resize(execId: string, rows: number, columns: number): Promise<void> {
    const session = this.#find(execId);
    if (session.state.status !== "running") throw new GantryError("conflict", `exec ${execId} is not running`);
    await this.#ports.runtime.resize(session.entry.record.id, execId, rows, columns);
  }

  /** A container's end takes along what was never begun in it. */
  forgetUnbegun(containerId: string): void {
    for (const [id, { entry, state }] of this.#sessions) {
      if (entry.record.id !== containerId || state.status !== "created") continue;
      this.#sessions.delete(id);
      entry.transient.execIds.delete(id);
    }
  }

  /** Forgets the sessions of a container that is gone. */
  forget(containerId: string): void {
    for (const [id, session] of this.#sessions) {
      if (session.entry.record.id !== containerId) continue;
      this.#sessions.delete(id);
      session.ended.resolve({ code: 255, timedOut: false });
    }
  }

  #find(execId: string): Session {
    const session = this.#sessions.get(execId);
    if (session === undefined) throw new GantryError("not-found", `No such exec instance: ${execId}`);
    return session;
  }
}

/** As events show it: the command, a space, its arguments, the space also when there are none. */
function shownCommand(config: ExecConfig): string {
  const [command = "", ...args] = config.Cmd ?? [];
  return `${command} ${args.join(" ")}`;
}

/** Clients take an answer other than the upgrade for a broken connection, so the reason comes as the exec's output. */
async function refuseOnStream(taken: HijackedConnection, tty: boolean, message: string): Promise<void> {
  const { socket, preamble } = taken;
  const line = Buffer.from(`${message}\r\n`);
  const head = Buffer.alloc(tty ? 0 : 8);
  if (!tty) {
    head.writeUInt8(1, 0);
    head.writeUInt32BE(line.length, 4);
  }
  socket.resume();
  socket.write(preamble);
  await headRead(socket);
  socket.end(Buffer.concat([head, line]));
}
