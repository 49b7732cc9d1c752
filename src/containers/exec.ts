import { randomBytes } from "node:crypto";
import type { ExecConfig, ExecInspect } from "../api/container.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import type { SpecProcess } from "../oci/runtime-spec.ts";
import type { ProcessExit } from "../runtime/process.ts";
import { exitCodeOfFailure } from "../runtime/runtime-error.ts";
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
    if (config.Cmd === null || config.Cmd.length === 0) throw new GantryError("invalid", "No exec command specified");
    parseDetachKeys(config.DetachKeys);
    const id = randomBytes(32).toString("hex");
    this.#sessions.set(id, { id, entry, config, state: { status: "created" } });
    entry.transient.execIds.add(id);
    publishContainerEvent(this.#ports.events, entry.record, `exec_create: ${config.Cmd.join(" ")}`, { execID: id });
    return { Id: id };
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
      this.#end(session, CANNOT_RUN);
      if (options.detach) throw error;
      refuseOnStream(options.hijack({ multiplexed: !tty }), tty, messageOf(error));
      return;
    }
    session.state = { status: "running", pid: 0 };
    const request = { id: record.id, execId, process, terminal: tty, openStdin: config.AttachStdin && !options.detach };
    publishContainerEvent(this.#ports.events, record, `exec_start: ${(config.Cmd ?? []).join(" ")}`, {
      execID: execId,
    });
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

  async #run(session: Session, request: Parameters<ContainerPorts["runtime"]["exec"]>[0]): Promise<void> {
    try {
      const { pid } = await this.#ports.runtime.exec(request);
      if (session.state.status === "running") session.state = { status: "running", pid };
    } catch (error) {
      this.#end(session, exitCodeOfFailure(messageOf(error), CANNOT_RUN));
      throw error;
    }
  }

  exited(exit: ProcessExit, entry: Entry | undefined): void {
    const session = exit.execId === undefined ? undefined : this.#sessions.get(exit.execId);
    if (session === undefined || session.state.status === "exited") return;
    this.#end(session, exit.code ?? 255);
    if (entry === undefined) return;
    publishContainerEvent(this.#ports.events, entry.record, "exec_die", {
      execID: session.id,
      exitCode: String(exit.code ?? 255),
    });
  }

  #end(session: Session, code: number): void {
    session.state = { status: "exited", code };
    session.entry.transient.execIds.delete(session.id);
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

  /** Forgets the sessions of a container that is gone. */
  forget(containerId: string): void {
    for (const [id, session] of this.#sessions) {
      if (session.entry.record.id === containerId) this.#sessions.delete(id);
    }
  }

  #find(execId: string): Session {
    const session = this.#sessions.get(execId);
    if (session === undefined) throw new GantryError("not-found", `No such exec instance: ${execId}`);
    return session;
  }
}

/** Clients take an answer other than the upgrade for a broken connection, so the reason comes as the exec's output. */
function refuseOnStream({ socket, preamble }: HijackedConnection, tty: boolean, message: string): void {
  const line = Buffer.from(`${message}\r\n`);
  const head = Buffer.alloc(tty ? 0 : 8);
  if (!tty) {
    head.writeUInt8(1, 0);
    head.writeUInt32BE(line.length, 4);
  }
  socket.resume();
  socket.end(Buffer.concat([preamble, head, line]));
}
