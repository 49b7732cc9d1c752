import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { GantryError, hasCode } from "../../base/errors.ts";
import {
  type Cgroup,
  cgroupAt,
  cgroupOf,
  cgroupProcesses,
  isCgroupFrozen,
  oomKills,
  removeCgroup,
  setCgroupFrozen,
  signalCgroup,
} from "../../kernel/cgroup.ts";
import { statProcess } from "../../kernel/process.ts";
import type { CreateProcess, ProcessExit, RunningProcess } from "../process.ts";
import { runtimeWords, startFailure } from "../runtime-error.ts";
import { ConsoleSocket } from "./console-socket.ts";
import type { ExecSession } from "./exec-session.ts";
import { watchStranger } from "./exit-watch.ts";
import { openLogWriter } from "./log-writer.ts";
import type { SupervisorPorts } from "./ports.ts";
import {
  type ContainerState,
  containerFolder,
  readExit,
  readPid,
  readText,
  writeExit,
  writeState,
} from "./process-files.ts";
import { notRunning, signalProcess } from "./process-signal.ts";
import { ProcessStreams } from "./process-streams.ts";
import { within } from "./within.ts";

const SIGKILL = 9;
const DELETE_TIMEOUT_MS = 10_000;
const NO_CGROUP: Cgroup = { folders: [] };

/** One container: its first process, its streams, its cgroup, and the execs in it. */
export class SupervisedContainer {
  readonly id: string;
  readonly folder: string;
  readonly streams: ProcessStreams;
  readonly execs = new Map<string, ExecSession>();
  readonly #ports: SupervisorPorts;
  #state: ContainerState;
  #exit: ProcessExit | undefined;
  #oomKillsBefore = 0;
  readonly #exited = Promise.withResolvers<void>();

  constructor(ports: SupervisorPorts, state: ContainerState) {
    this.id = state.id;
    this.folder = containerFolder(ports.execRoot, state.id);
    this.#ports = ports;
    this.#state = state;
    const { terminal, openStdin, stdinOnce, log } = state;
    const writer = log === undefined ? undefined : openLogWriter({ ...log, maxSize: log.maxSize ?? 0 });
    this.streams = new ProcessStreams({ folder: this.folder, terminal, openStdin, stdinOnce, log: writer });
  }

  get runtime(): ContainerState["runtime"] {
    return this.#state.runtime;
  }

  get exit(): ProcessExit | undefined {
    return this.#exit;
  }

  get pid(): number | undefined {
    return this.#state.pid;
  }

  /** Pids of everything that runs in it. */
  get processes(): readonly number[] {
    return this.#state.cgroup === undefined ? [] : cgroupProcesses(this.#cgroup);
  }

  get isRunning(): boolean {
    return this.#state.started && this.#exit === undefined;
  }

  describe(): RunningProcess {
    const pid = this.#state.pid ?? 0;
    if (this.#exit !== undefined) return { id: this.id, pid, status: "exited", exit: this.#exit };
    if (!this.#state.started) return { id: this.id, pid, status: "created" };
    const paused = this.#state.cgroup !== undefined && isCgroupFrozen(this.#cgroup);
    return { id: this.id, pid, status: paused ? "paused" : "running" };
  }

  /** Makes the jail. Whatever fails, nothing is left but `this`, to be forgotten. */
  async create(request: CreateProcess): Promise<number> {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    writeState(this.folder, this.#state);
    const release = this.#ports.reaper.hold();
    try {
      const known = this.#ports.oci.isKnownCrun(request.runtime);
      const pid = await this.#runCreate(request);
      const started = statProcess(pid)?.startTime;
      this.#ports.reaper.watch(pid, (code) => this.#ended(code));
      const cgroup = this.#findCgroup(pid);
      this.#oomKillsBefore = oomKills(cgroup);
      const knownCrun = (await known) && !hasHooks(request.bundle);
      this.#update({ pid, startTime: started ?? -1, cgroup, knownCrun });
      return pid;
    } catch (error) {
      await this.#undoCreate();
      throw error;
    } finally {
      release();
    }
  }

  async start(): Promise<void> {
    if (this.#state.started)
      throw new GantryError("conflict", `cannot start container ${this.id}: it was started before`);
    if (this.#exit !== undefined) throw new GantryError("conflict", `cannot start container ${this.id}: it has ended`);
    this.streams.begin();
    // On disk first: a supervisor that dies right here finds a process that waits, or one that runs, both as started.
    this.#update({ started: true });
    if (this.#state.knownCrun && this.#startThroughFifo()) return;
    const log = `${this.folder}/start.log`;
    const code = await this.#ports.oci.run(this.runtime, ["start", this.id], log);
    if (code === 0) return;
    this.#update({ started: false });
    throw new GantryError("invalid", startFailure("create", this.runtime.name, runtimeWords(readText(log)), []));
  }

  kill(signal: number, all: boolean): void {
    if (all) {
      if (this.#state.cgroup !== undefined) signalCgroup(this.#cgroup, signal);
      return;
    }
    const { pid, startTime } = this.#state;
    if (this.#exit !== undefined || pid === undefined || startTime === undefined) throw notRunning(this.id);
    signalProcess(pid, startTime, signal, this.id);
  }

  async setPaused(paused: boolean): Promise<void> {
    if (!this.isRunning || this.#state.cgroup === undefined) throw notRunning(this.id);
    await setCgroupFrozen(this.#cgroup, paused);
  }

  /** Ends what still runs and removes every trace outside of the log. */
  async delete(): Promise<void> {
    if (this.#exit === undefined && this.#state.pid !== undefined) {
      try {
        this.kill(SIGKILL, false);
      } catch (error) {
        if (!(error instanceof GantryError)) throw error;
      }
      if (this.#state.cgroup !== undefined && isCgroupFrozen(this.#cgroup)) await setCgroupFrozen(this.#cgroup, false);
      await within(this.#exited.promise, DELETE_TIMEOUT_MS, `container ${this.id} does not end`);
    }
    if (!this.#state.knownCrun) await this.#ports.oci.run(this.runtime, ["delete", "--force", this.id], "/dev/null");
    if (this.#state.cgroup !== undefined) await removeCgroup(this.#cgroup);
    const execs = [...this.execs.values()].map((exec) => exec.ended);
    await within(Promise.all(execs), DELETE_TIMEOUT_MS, `an exec of container ${this.id} does not end`);
    this.#removeFolders();
  }

  /** Goes on with a container that an earlier supervisor made. Returns false if it was never finished. */
  recover(): boolean {
    const { pid, startTime } = this.#state;
    if (pid === undefined || startTime === undefined) return false;
    this.#exit = readExit(this.folder);
    if (this.#exit !== undefined) {
      this.#exited.resolve();
      return true;
    }
    this.#oomKillsBefore = 0;
    this.streams.reopen();
    if (this.#state.started) this.streams.begin();
    if (!watchStranger(pid, startTime, (code) => this.#ended(code))) this.#ended(undefined);
    return true;
  }

  /** Removes what an unfinished create of an earlier supervisor left. */
  async abandon(): Promise<void> {
    await this.#undoCreate();
  }

  get #cgroup(): Cgroup {
    return this.#state.cgroup ?? NO_CGROUP;
  }

  #update(change: Partial<ContainerState>): void {
    this.#state = { ...this.#state, ...change };
    writeState(this.folder, this.#state);
  }

  async #runCreate(request: CreateProcess): Promise<number> {
    const log = `${this.folder}/create.log`;
    const pidFile = `${this.folder}/pid`;
    const console = request.terminal ? new ConsoleSocket(this.#ports.execRoot) : undefined;
    try {
      const stdio = this.streams.makeFifos();
      const socket = console === undefined ? [] : ["--console-socket", console.path];
      const args = ["create", "--bundle", request.bundle, "--pid-file", pidFile, ...socket, this.id];
      let run: { readonly ended: Promise<number | undefined> };
      try {
        run = this.#ports.oci.start(request.runtime, args, { log, stdio, timeoutMs: request.timeoutMs });
      } catch (error) {
        if (!hasCode(error, "ENOENT", "EACCES")) throw error;
        const reason = `fork/exec ${request.runtime.path}: no such file or directory`;
        throw new GantryError("invalid", `OCI runtime create failed: ${request.runtime.name}: ${reason}: unknown`);
      } finally {
        for (const fd of stdio) closeSync(fd);
      }
      const code = await run.ended;
      if (code === undefined) {
        throw new GantryError(
          "unavailable",
          `cannot create container ${this.id}: ${request.runtime.name} does not answer`,
        );
      }
      const pid = readPid(pidFile);
      if (code !== 0 || pid === undefined) {
        const words = runtimeWords(readText(log)) || runtimeWords(this.streams.takeUnread());
        throw new GantryError(
          "invalid",
          startFailure("create", request.runtime.name, words, commandOf(request.bundle)),
        );
      }
      if (console !== undefined) {
        this.streams.setMaster(await console.receive());
      }
      return pid;
    } finally {
      console?.close();
    }
  }

  async #undoCreate(): Promise<void> {
    const pid = this.#state.pid ?? readPid(`${this.folder}/pid`);
    const left = cgroupOfBundle(this.#state.bundle);
    const created = existsSync(`${this.#ports.oci.stateRoot(this.runtime)}/${this.id}`);
    if (created) await this.#ports.oci.run(this.runtime, ["delete", "--force", this.id], "/dev/null", 10_000);
    if (pid !== undefined && cgroupProcesses(left).includes(pid)) signalCgroup(left, SIGKILL);
    await removeCgroup(left).catch(() => undefined);
    this.#removeFolders();
  }

  #removeFolders(): void {
    rmSync(`${this.#ports.oci.stateRoot(this.runtime)}/${this.id}`, { recursive: true, force: true });
    rmSync(this.folder, { recursive: true, force: true });
  }

  #findCgroup(pid: number): Cgroup {
    try {
      return cgroupOf(pid);
    } catch {
      return cgroupOfBundle(this.#state.bundle);
    }
  }

  /** What `crun start` does: the name goes first, since its absence is what says "running". */
  #startThroughFifo(): boolean {
    const path = `${this.#ports.oci.stateRoot(this.runtime)}/${this.id}/exec.fifo`;
    let fd: number;
    try {
      fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch {
      return false;
    }
    try {
      unlinkSync(path);
      writeSync(fd, Buffer.alloc(1));
      return true;
    } finally {
      closeSync(fd);
    }
  }

  #ended(code: number | undefined): void {
    const oomKilled = this.#state.cgroup !== undefined && oomKills(this.#cgroup) > this.#oomKillsBefore;
    const exit: ProcessExit = { id: this.id, execId: undefined, code, at: Date.now(), oomKilled };
    this.#exit = exit;
    try {
      writeExit(this.folder, exit);
    } finally {
      this.streams.drain();
      this.#ports.announce(exit);
      this.streams.end();
      this.#exited.resolve();
    }
  }
}

function specOf(bundle: string): { process?: { args?: string[] }; hooks?: unknown; linux?: { cgroupsPath?: string } } {
  try {
    return JSON.parse(readFileSync(`${bundle}/config.json`, "utf8"));
  } catch {
    return {};
  }
}

function commandOf(bundle: string): readonly string[] {
  return specOf(bundle).process?.args ?? [];
}

/** Where the runtime was told to put the container. */
function cgroupOfBundle(bundle: string): Cgroup {
  const path = specOf(bundle).linux?.cgroupsPath;
  return path === undefined ? NO_CGROUP : cgroupAt(path);
}

/** Hooks are for the runtime to run, at start and delete. */
function hasHooks(bundle: string): boolean {
  return specOf(bundle).hooks !== undefined;
}
