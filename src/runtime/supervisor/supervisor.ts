import { closeSync } from "node:fs";
import { GantryError, messageOf } from "../../base/errors.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import { ControlConnection } from "../control-connection.ts";
import type { CreateProcess, ExecProcess, ProcessExit, RunningProcess } from "../process.ts";
import type { AttachMessage, FromEngine, FromSupervisor, Request } from "../protocol.ts";
import { AttachSession } from "./attach-session.ts";
import { SupervisedContainer } from "./container.ts";
import { ExecSession } from "./exec-session.ts";
import { OciCommand } from "./oci-command.ts";
import type { SupervisorPorts } from "./ports.ts";
import {
  containerFolder,
  containersFolder,
  execFolder,
  namesIn,
  readContainerState,
  readExecState,
} from "./process-files.ts";
import type { ProcessStreams } from "./process-streams.ts";
import { Reaper } from "./reaper.ts";

const ID = /^[0-9a-f]{64}$/;

/** Answers the engine: which container, under which lock, what to do. */
export class Supervisor {
  readonly #ports: SupervisorPorts;
  readonly #containers = new Map<string, SupervisedContainer>();
  readonly #connections = new Set<ControlConnection>();
  /** Sessions whose process is not there yet, by container and exec. */
  readonly #waiting = new Map<string, Set<AttachSession>>();
  readonly #lock = new KeyedLock();
  readonly #quit: () => void;

  constructor(execRoot: string, quit: () => void) {
    const reaper = new Reaper();
    const oci = new OciCommand(execRoot, reaper);
    this.#ports = { execRoot, reaper, oci, announce: (exit) => this.#announce(exit) };
    this.#quit = quit;
  }

  get isIdle(): boolean {
    return this.#containers.size === 0;
  }

  /** Takes up the containers that an earlier supervisor left under the exec root. */
  async recover(): Promise<void> {
    const unfinished: SupervisedContainer[] = [];
    for (const id of namesIn(containersFolder(this.#ports.execRoot))) {
      const state = readContainerState(containerFolder(this.#ports.execRoot, id));
      if (!ID.test(id) || state?.id !== id) continue;
      const container = new SupervisedContainer(this.#ports, state);
      if (!container.recover()) {
        unfinished.push(container);
        continue;
      }
      this.#containers.set(id, container);
      for (const execId of namesIn(`${container.folder}/execs`)) {
        const found = readExecState(execFolder(this.#ports.execRoot, id, execId));
        if (found?.execId !== execId) continue;
        const exec = new ExecSession(this.#ports, container, found);
        container.execs.set(execId, exec);
        exec.recover();
      }
    }
    for (const container of unfinished) await container.abandon().catch(complain);
  }

  /** Serves one connection of an engine, which is told first of all exits that it may not know. */
  serve(fd: number): void {
    const connection = new ControlConnection(
      fd,
      (message, received) => void this.#answer(connection, message as FromEngine, received),
      () => this.#connections.delete(connection),
    );
    this.#connections.add(connection);
    for (const container of this.#containers.values()) {
      for (const exec of container.execs.values()) this.#tell(connection, exec.exit);
      this.#tell(connection, container.exit);
    }
  }

  async #answer(connection: ControlConnection, message: FromEngine, fd: number | undefined): Promise<void> {
    if (fd !== undefined && message.op !== "attach") closeSync(fd);
    if (message.op === "ack") {
      this.#acknowledge(message.exit);
      return;
    }
    let reply: FromSupervisor;
    try {
      reply = { reply: message.request, value: (await this.#act(connection, message, fd)) ?? null };
    } catch (error) {
      const kind = error instanceof GantryError ? error.kind : "internal";
      reply = { reply: message.request, error: { kind, message: messageOf(error) } };
    }
    connection.send(reply);
    if (message.op === "shutdown" && "value" in reply) this.#quit();
  }

  async #act(connection: ControlConnection, request: Request, fd: number | undefined): Promise<unknown> {
    switch (request.op) {
      case "create":
        return this.#lock.run(checkedId(request.id), () => this.#create(request));
      case "start":
        return this.#lock.run(request.id, () => this.#container(request.id).start());
      case "kill":
        return this.#container(request.id).kill(request.signal, request.all);
      case "pause":
      case "resume":
        return this.#lock.run(request.id, () => this.#container(request.id).setPaused(request.op === "pause"));
      case "delete":
        return this.#lock.run(request.id, () => this.#delete(request.id));
      case "exec":
        return this.#exec(request);
      case "killExec":
        return this.#execOf(request.id, request.execId).kill(request.signal);
      case "killExecTree":
        return this.#execOf(request.id, request.execId).killTree();
      case "resize":
        return this.#streams(request.id, request.execId).resize(request.rows, request.columns);
      case "attach":
        return this.#attach(connection, request, fd);
      case "list":
        return [...this.#containers.values()].map((container): RunningProcess => container.describe());
      case "sync":
        // Messages keep their order: the answer comes after all that was told before.
        return undefined;
      case "shutdown":
        if (!this.isIdle) throw new GantryError("conflict", "cannot shut the supervisor down: it has containers");
        return undefined;
      default:
        throw new GantryError("invalid", "unknown request");
    }
  }

  async #create(request: CreateProcess): Promise<{ pid: number }> {
    if (this.#containers.has(request.id)) {
      throw new GantryError("conflict", `cannot create container ${request.id}: it exists`);
    }
    const { id, bundle, runtime, terminal, openStdin, stdinOnce, log } = request;
    const shape = { id, bundle, runtime, terminal, openStdin, stdinOnce, log };
    const container = new SupervisedContainer(this.#ports, { ...shape, started: false, knownCrun: false });
    this.#containers.set(id, container);
    try {
      const pid = await container.create(request);
      this.#joinWaiting(id, undefined, container.streams);
      return { pid };
    } catch (error) {
      this.#containers.delete(id);
      container.streams.close();
      this.#endWaiting(id);
      throw error;
    }
  }

  async #delete(id: string): Promise<void> {
    await this.#container(id).delete();
    this.#containers.delete(id);
    this.#endWaiting(id);
  }

  async #exec(request: ExecProcess): Promise<{ pid: number }> {
    const container = this.#container(request.id);
    if (!container.isRunning) throw new GantryError("conflict", `container ${request.id} is not running`);
    const execId = checkedId(request.execId);
    if (container.execs.has(execId)) throw new GantryError("conflict", `exec ${execId} exists`);
    const { terminal, openStdin } = request;
    const state = { execId, terminal, openStdin, runtimePid: -1, runtimeStartTime: -1 };
    const exec = new ExecSession(this.#ports, container, state);
    container.execs.set(execId, exec);
    this.#joinWaiting(request.id, execId, exec.streams);
    try {
      return { pid: await exec.start(request, container.runtime) };
    } catch (error) {
      container.execs.delete(execId);
      throw error;
    }
  }

  #attach(connection: ControlConnection, message: AttachMessage, fd: number | undefined): void {
    if (fd === undefined) throw new GantryError("invalid", "cannot attach: no connection came along");
    const { id, execId } = message;
    let isOver = false;
    let session: AttachSession | undefined;
    session = new AttachSession(fd, message, (end) => {
      isOver = true;
      if (session !== undefined) {
        this.#find(id, execId)?.streams.remove(session);
        this.#waiting.get(keyOf(id, execId))?.delete(session);
      }
      const told: FromSupervisor = { event: "attach-end", session: message.session, end };
      connection.send(told);
    });
    // A client that left before it was attached shows at the first bytes it is sent.
    if (isOver) return;
    const found = this.#find(id, execId);
    if (found?.exit !== undefined) {
      session.end("exited");
      return;
    }
    if (found !== undefined) {
      found.streams.add(session);
      return;
    }
    const key = keyOf(id, execId);
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) this.#waiting.set(key, new Set([session]));
    else waiting.add(session);
  }

  #find(id: string, execId: string | undefined): SupervisedContainer | ExecSession | undefined {
    const container = this.#containers.get(id);
    return execId === undefined ? container : container?.execs.get(execId);
  }

  #joinWaiting(id: string, execId: string | undefined, streams: ProcessStreams): void {
    const key = keyOf(id, execId);
    const sessions = this.#waiting.get(key);
    this.#waiting.delete(key);
    for (const session of sessions ?? []) streams.add(session);
  }

  /** Nothing will come for those who wait for this container or its execs. */
  #endWaiting(id: string): void {
    for (const [key, sessions] of this.#waiting) {
      if (!key.startsWith(id)) continue;
      this.#waiting.delete(key);
      for (const session of sessions) session.end("exited");
    }
  }

  #container(id: string): SupervisedContainer {
    const container = this.#containers.get(id);
    if (container === undefined) throw new GantryError("not-found", `No such container: ${id}`);
    return container;
  }

  #execOf(id: string, execId: string): ExecSession {
    const exec = this.#container(id).execs.get(execId);
    if (exec === undefined) throw new GantryError("not-found", `No such exec instance: ${execId}`);
    return exec;
  }

  #streams(id: string, execId: string | undefined): ProcessStreams {
    return (execId === undefined ? this.#container(id) : this.#execOf(id, execId)).streams;
  }

  #announce(exit: ProcessExit): void {
    for (const connection of this.#connections) this.#tell(connection, exit);
  }

  #tell(connection: ControlConnection, exit: ProcessExit | undefined): void {
    if (exit === undefined) return;
    const told: FromSupervisor = { event: "exit", exit };
    connection.send(told);
  }

  /** Execs are forgotten once the engine knows; containers when it deletes them. */
  #acknowledge(exit: ProcessExit): void {
    if (exit.execId === undefined) return;
    const container = this.#containers.get(exit.id);
    const exec = container?.execs.get(exit.execId);
    if (exec?.exit === undefined) return;
    container?.execs.delete(exit.execId);
    exec.forget();
  }
}

function keyOf(id: string, execId: string | undefined): string {
  return `${id}/${execId ?? ""}`;
}

function checkedId(id: string): string {
  if (typeof id !== "string" || !ID.test(id)) throw new GantryError("invalid", "an id has 64 hexadecimal digits");
  return id;
}

function complain(error: unknown): void {
  process.stderr.write(`${messageOf(error)}\n`);
}
