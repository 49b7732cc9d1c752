import { closeSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import { statProcess } from "../../kernel/process.ts";
import type { ExecProcess, OciRuntime, ProcessExit } from "../process.ts";
import { runtimeWords, startFailure } from "../runtime-error.ts";
import { ConsoleSocket } from "./console-socket.ts";
import { watchStranger } from "./exit-watch.ts";
import type { SupervisorPorts } from "./ports.ts";
import { type ExecState, execFolder, readExit, readPid, readText, writeExit, writeState } from "./process-files.ts";
import { notRunning, signalProcess } from "./process-signal.ts";
import { ProcessStreams } from "./process-streams.ts";
import { killProcessTree } from "./process-tree.ts";

const START_TIMEOUT_MS = 60_000;
/** What setTimeout takes at most. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The container that an exec is in. */
export interface ExecHome {
  readonly id: string;
  /** Pids of everything that runs in it, as they are when asked. */
  readonly processes: readonly number[];
}

/** A further process in a container. The runtime that started it waits for it, and its exit is the process's. */
export class ExecSession {
  readonly execId: string;
  readonly folder: string;
  readonly streams: ProcessStreams;
  readonly #ports: SupervisorPorts;
  readonly #id: string;
  readonly #container: ExecHome;
  #state: ExecState;
  #exit: ProcessExit | undefined;
  #runtimeCode: number | undefined;
  #runtimeEnded = false;
  #timedOut = false;
  #deadlineTimer: NodeJS.Timeout | undefined;
  readonly #ended = Promise.withResolvers<void>();

  constructor(ports: SupervisorPorts, container: ExecHome, state: ExecState) {
    const { id } = container;
    this.execId = state.execId;
    this.folder = execFolder(ports.execRoot, id, state.execId);
    this.#ports = ports;
    this.#id = id;
    this.#container = container;
    this.#state = state;
    const { terminal, openStdin } = state;
    this.streams = new ProcessStreams({ folder: this.folder, terminal, openStdin, stdinOnce: true, log: undefined });
  }

  get exit(): ProcessExit | undefined {
    return this.#exit;
  }

  /** Resolves once it has ended and was told. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Resolves with the pid once the process runs. Fails with the runtime's words, and clients are told them. */
  async start(request: ExecProcess, runtime: OciRuntime): Promise<number> {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    const console = request.terminal ? new ConsoleSocket(this.#ports.execRoot) : undefined;
    try {
      const runtimePid = this.#spawn(request, runtime, console);
      this.#update({ runtimePid, runtimeStartTime: statProcess(runtimePid)?.startTime ?? -1 });
      const pid = await this.#running(runtimePid);
      if (pid === undefined) throw this.#failure(request, runtime);
      if (console !== undefined) this.streams.setMaster(await console.receive());
      this.streams.begin();
      const deadline = request.timeoutMs === undefined ? undefined : Date.now() + request.timeoutMs;
      this.#update({ pid, pidStartTime: statProcess(pid)?.startTime ?? -1, deadline });
      this.#keepDeadline();
      // Not before the answer to this has gone: who asked learns first that there is such a process.
      if (this.#runtimeEnded) setImmediate(() => this.#finish(this.#runtimeCode));
      return pid;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.streams.fail(message);
      this.#ended.resolve();
      this.forget();
      throw error;
    } finally {
      console?.close();
    }
  }

  kill(signal: number): void {
    const { pid, pidStartTime } = this.#state;
    if (this.#exit !== undefined || pid === undefined || pidStartTime === undefined) throw notRunning(this.execId);
    signalProcess(pid, pidStartTime, signal, this.execId);
  }

  /** Kills the process and whatever it started. Resolves when nothing of it is left. */
  async killTree(): Promise<void> {
    const { pid, pidStartTime } = this.#state;
    if (this.#exit !== undefined || pid === undefined || pidStartTime === undefined) throw notRunning(this.execId);
    await killProcessTree({ pid, startTime: pidStartTime }, () => this.#container.processes);
  }

  #keepDeadline(): void {
    const { deadline } = this.#state;
    if (deadline === undefined || this.#exit !== undefined) return;
    const left = Math.max(0, Math.min(deadline - Date.now(), LONGEST_TIMER_MS));
    this.#deadlineTimer = setTimeout(() => {
      if (Date.now() < deadline) {
        this.#keepDeadline();
        return;
      }
      this.#timedOut = true;
      this.killTree().catch((error: unknown) => process.stderr.write(`${messageOf(error)}\n`));
    }, left);
  }

  /** Goes on with an exec that an earlier supervisor started. */
  recover(): void {
    this.#exit = readExit(this.folder);
    if (this.#exit !== undefined) {
      this.#ended.resolve();
      return;
    }
    this.streams.reopen();
    this.streams.begin();
    const { runtimePid, runtimeStartTime } = this.#state;
    this.#keepDeadline();
    if (!watchStranger(runtimePid, runtimeStartTime, (code) => this.#finish(code))) this.#finish(undefined);
  }

  /** The engine knows the exit. */
  forget(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #update(change: Partial<ExecState>): void {
    this.#state = { ...this.#state, ...change };
    writeState(this.folder, this.#state);
  }

  #spawn(request: ExecProcess, runtime: OciRuntime, console: ConsoleSocket | undefined): number {
    const processFile = `${this.folder}/process.json`;
    writeFileSync(processFile, JSON.stringify({ ...request.process, terminal: request.terminal }), { mode: 0o600 });
    const stdio = this.streams.makeFifos();
    try {
      const socket = console === undefined ? [] : ["--console-socket", console.path];
      const args = ["exec", "--process", processFile, "--pid-file", `${this.folder}/pid`, ...socket, this.#id];
      const options = { log: `${this.folder}/exec.log`, stdio, timeoutMs: 0 };
      const run = this.#ports.oci.start(runtime, args, options);
      void run.ended.then((code) => this.#runtimeDone(code));
      return run.pid;
    } catch (error) {
      if (hasCode(error, "ENOENT", "EACCES")) {
        throw new GantryError("invalid", `OCI runtime exec failed: cannot run ${runtime.path}: unknown`);
      }
      throw error;
    } finally {
      for (const fd of stdio) closeSync(fd);
    }
  }

  #runtimeDone(code: number | undefined): void {
    this.#runtimeEnded = true;
    this.#runtimeCode = code;
    if (this.#state.pid !== undefined) this.#finish(code);
  }

  /**
   * The pid of the process, which the runtime writes once it runs; undefined if the runtime ended without. The file
   * is looked for every millisecond: that is the only sign that the runtime gives.
   */
  async #running(runtimePid: number): Promise<number | undefined> {
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      const ended = this.#runtimeEnded;
      const pid = readPid(`${this.folder}/pid`);
      if (pid !== undefined || ended) return pid;
      if (Date.now() > deadline) {
        process.kill(runtimePid, "SIGKILL");
        throw new GantryError("unavailable", `cannot start exec ${this.execId}: the runtime does not answer`);
      }
      await delay(1);
    }
  }

  #failure(request: ExecProcess, runtime: OciRuntime): GantryError {
    const words = runtimeWords(readText(`${this.folder}/exec.log`));
    return new GantryError("invalid", startFailure("exec", runtime.name, words, request.process.args));
  }

  #finish(code: number | undefined): void {
    if (this.#exit !== undefined) return;
    clearTimeout(this.#deadlineTimer);
    const exit: ProcessExit = {
      id: this.#id,
      execId: this.execId,
      code,
      at: Date.now(),
      oomKilled: false,
      ...(this.#timedOut && { timedOut: true }),
    };
    this.#exit = exit;
    try {
      writeExit(this.folder, exit);
    } finally {
      this.streams.drain();
      this.#ports.announce(exit);
      this.streams.end();
      this.#ended.resolve();
    }
  }
}
