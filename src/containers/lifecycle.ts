import { setTimeout as delay } from "node:timers/promises";
import { GantryError, isKind, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import { CompiledSeccomp } from "../runtime/compiled-seccomp.ts";
import type { ProcessExit } from "../runtime/process.ts";
import { exitCodeOfFailure } from "../runtime/runtime-error.ts";
import type { StopOptions } from "./controller.ts";
import { publishContainerEvent, publishVolumeEvents } from "./event.ts";
import { makeJail, sweepJail } from "./jail.ts";
import type { ContainerPorts } from "./ports.ts";
import { type ExitedState, NEVER, timestamp } from "./record.ts";
import { removeContainer } from "./remove.ts";
import { nextBackoff, shouldRestart } from "./restart-policy.ts";
import { parseSignal } from "./signal.ts";
import { Sweeps } from "./sweeps.ts";
import type { ContainerTable, Entry } from "./table.ts";
import { Waiters } from "./waiters.ts";

const SIGKILL = 9;
/** How long a SIGKILL may take to show before the caller is told that the process cannot be killed. */
const KILL_PATIENCE_MS = 10_000;

/** What an exit code is called when nobody could learn it, and the error that says so. */
const UNKNOWN_EXIT_CODE = 255;
export const UNKNOWN_EXIT = "the exit code could not be learnt: the supervisor was not running";

/**
 * Moves containers between created, running, paused and exited. Changes of one container are ordered by its lock; the
 * lock is never held while waiting for a process to end, so a process that cannot end holds up nobody.
 */
export class Lifecycle {
  readonly #ports: ContainerPorts;
  readonly #table: ContainerTable;
  readonly #locks = new KeyedLock();
  readonly #seccomp: CompiledSeccomp;
  readonly #sweeps: Sweeps;
  readonly exits = new Waiters();
  readonly removals = new Waiters();
  readonly #onRemoved: (id: string) => void;
  #closing = false;

  /** `onRemoved` is told of each container that is gone for good. */
  constructor(ports: ContainerPorts, table: ContainerTable, onRemoved: (id: string) => void) {
    this.#ports = ports;
    this.#table = table;
    this.#onRemoved = onRemoved;
    this.#sweeps = new Sweeps(ports.log);
    this.#seccomp = new CompiledSeccomp(ports.settings().execRoot);
  }

  async start(entry: Entry): Promise<void> {
    await this.#locks.run(entry.record.id, async () => {
      this.#refuseGone(entry);
      const { state } = entry.record;
      if (state.status === "running") {
        if (state.paused) throw new GantryError("conflict", "cannot start a paused container, try unpause instead");
        throw new GantryError("not-modified", `container ${entry.record.id} is running already`);
      }
      this.#cancelRestart(entry);
      entry.transient.backoffMs = 0;
      entry.transient.manuallyStopped = false;
      await this.#startLocked(entry);
    });
  }

  async #startLocked(entry: Entry): Promise<void> {
    const { id } = entry.record;
    await this.#sweeps.of(id);
    try {
      const jail = await makeJail(this.#ports, this.#table, this.#seccomp, entry.record);
      await using undo = jail.undo;
      for (const warning of jail.warnings) this.#ports.log.warn(warning, { container: id });
      const { pid, networks, ports, sandboxKey } = jail;
      // Before the process is let go: a crash after this finds a record to settle, one before it finds nothing told.
      const recorded = this.#table.updateSoon(entry, {
        state: { status: "running", pid, startedAt: timestamp(), paused: false, networks, ports, sandboxKey },
        stoppedByUser: false,
      });
      failpoint("containers.start.recorded");
      recorded.catch(() => {});
      await this.#ports.runtime.start(id);
      await recorded;
      failpoint("containers.start.started");
      undo.move();
    } catch (error) {
      this.#startFailed(entry, error);
      throw error;
    }
    publishVolumeEvents(this.#ports.events, entry.record, "mount");
    publishContainerEvent(this.#ports.events, entry.record, "start");
  }

  #startFailed(entry: Entry, error: unknown): void {
    const message = messageOf(error);
    const before = entry.record.state;
    const exitCode = exitCodeOfFailure(message, 128);
    this.#table.update(entry, {
      state:
        before.status === "exited"
          ? { ...before, exitCode, error: message }
          : { status: "created", exitCode, error: message },
    });
    publishContainerEvent(this.#ports.events, entry.record, "die", { exitCode: String(exitCode), execDuration: "0" });
    this.exits.notify(entry.record.id, exitCode);
    if (entry.record.hostConfig.AutoRemove) void this.remove(entry, { force: true, volumes: true }).catch(() => {});
  }

  /** Runs `act` while nothing else changes the container. Throws not-found if it is gone by then. */
  async exclusively<T>(entry: Entry, act: () => Promise<T>): Promise<T> {
    const { id } = entry.record;
    return this.#locks.run(id, () => {
      if (this.#table.get(id) !== entry) throw new GantryError("not-found", `No such container: ${id}`);
      return act();
    });
  }

  /** Called once for each exit of a container's first process. */
  async exited(exit: ProcessExit): Promise<void> {
    const entry = this.#table.get(exit.id);
    if (entry === undefined) return;
    await this.#locks.run(exit.id, () => this.#exitedLocked(entry, exit));
  }

  async #exitedLocked(entry: Entry, exit: ProcessExit): Promise<void> {
    const { record, transient } = entry;
    if (record.state.status !== "running" || this.#table.get(record.id) !== entry) return;
    const { startedAt } = record.state;
    const ranMs = exit.at - Date.parse(startedAt);
    const exitCode = exit.code ?? UNKNOWN_EXIT_CODE;
    const state: ExitedState = {
      status: "exited",
      exitCode,
      startedAt,
      finishedAt: isoOf(exit.at),
      oomKilled: exit.oomKilled,
      error: exit.code === undefined ? UNKNOWN_EXIT : "",
    };
    const removes = record.hostConfig.AutoRemove;
    const recorded = this.#recordExit(entry, state);
    failpoint("containers.exit.recorded");
    if (exit.oomKilled) publishContainerEvent(this.#ports.events, entry.record, "oom");
    publishContainerEvent(this.#ports.events, entry.record, "die", {
      exitCode: String(exitCode),
      execDuration: String(Math.max(0, Math.floor(ranMs / 1000))),
    });
    publishVolumeEvents(this.#ports.events, entry.record, "unmount");
    if (transient.manuallyStopped) publishContainerEvent(this.#ports.events, entry.record, "stop");
    if (removes) {
      const removal = this.#removeLocked(entry, { volumes: true, running: true });
      this.exits.notify(record.id, exitCode);
      await removal;
      return;
    }
    if (!this.#closing && shouldRestart(entry.record, exitCode, transient.manuallyStopped)) {
      transient.restarting = true;
      transient.backoffMs = nextBackoff(transient.backoffMs, ranMs);
      await this.#dismantle(record.id);
      await recorded;
      this.exits.notify(record.id, exitCode);
      this.#restartLater(entry);
      return;
    }
    await this.#dismantle(record.id);
    await recorded;
    this.exits.notify(record.id, exitCode);
  }

  /** What ended has ended, also when the disk is full: boot learns it again from what the supervisor wrote. */
  async #recordExit(entry: Entry, state: ExitedState): Promise<void> {
    const { record } = entry;
    entry.record = { ...record, state };
    // A container that goes with its exit needs no record of it: a crash here finds it running and comes by again.
    if (record.hostConfig.AutoRemove) return;
    try {
      await this.#table.updateSoon(entry, { state });
    } catch (error) {
      this.#ports.log.error(`cannot record an exit: ${messageOf(error)}`, { container: record.id });
    }
  }

  #restartLater(entry: Entry): void {
    const { transient } = entry;
    transient.restartTimer = setTimeout(() => {
      const restarted = this.#locks.run(entry.record.id, async () => {
        if (!transient.restarting || this.#table.get(entry.record.id) !== entry) return;
        transient.restarting = false;
        transient.restartTimer = undefined;
        this.#table.update(entry, { restartCount: entry.record.restartCount + 1 });
        await this.#startLocked(entry);
      });
      restarted.catch((error: unknown) =>
        this.#ports.log.error(`cannot restart: ${messageOf(error)}`, { container: entry.record.id }),
      );
    }, transient.backoffMs);
  }

  #cancelRestart(entry: Entry): void {
    clearTimeout(entry.transient.restartTimer);
    entry.transient.restartTimer = undefined;
    entry.transient.restarting = false;
  }

  /** Frees what others may want at once, addresses and ports; the rest of the jail goes while nobody waits. */
  async #dismantle(id: string): Promise<void> {
    try {
      await this.#ports.networks.release(id);
    } catch (error) {
      this.#ports.log.error(`cannot leave the networks: ${messageOf(error)}`, { container: id });
    }
    this.#sweeps.add(id, () => sweepJail(this.#ports, id));
  }

  /** Resolves when everything that processes and removed containers left is gone. */
  async quiet(): Promise<void> {
    await this.#sweeps.all();
  }

  /** Ends the process: its stop signal, then after the timeout SIGKILL. Resolves when it has ended. */
  async stop(entry: Entry, options: StopOptions): Promise<void> {
    const { record } = entry;
    if (entry.transient.restarting) {
      this.#cancelRestart(entry);
      this.#table.update(entry, { stoppedByUser: true });
      return;
    }
    if (record.state.status !== "running") {
      throw new GantryError("not-modified", `container ${record.id} is not running`);
    }
    await this.#end(entry, options);
  }

  async #end(entry: Entry, options: StopOptions): Promise<void> {
    const { record } = entry;
    const signal = parseSignal(options.signal || record.config.StopSignal || "SIGTERM");
    const seconds = options.timeoutSeconds ?? record.config.StopTimeout ?? 10;
    const ended = this.#whenEnded(entry);
    entry.transient.manuallyStopped = true;
    // On the disk with the exit at the latest, which is what the caller waits for.
    void this.#table.updateSoon(entry, { stoppedByUser: true }).catch(() => {});
    await this.#signal(entry, signal);
    const inTime = seconds < 0 ? ended.then(() => true) : within(ended, seconds * 1000);
    if (await inTime) return;
    await this.#killAndWait(entry, ended);
  }

  async #killAndWait(entry: Entry, ended: Promise<unknown>): Promise<void> {
    await this.#signal(entry, SIGKILL);
    if (!(await within(ended, KILL_PATIENCE_MS))) {
      throw new GantryError(
        "internal",
        `tried to kill container ${entry.record.id}, but did not receive an exit event: its process is stuck in the kernel`,
      );
    }
  }

  /** Resolves when the process has ended and its end is recorded. */
  #whenEnded(entry: Entry): Promise<unknown> {
    return entry.record.state.status === "running" ? this.exits.next(entry.record.id, undefined) : Promise.resolve();
  }

  async #signal(entry: Entry, signal: number): Promise<void> {
    const { state, id } = entry.record;
    // A frozen process would take the signal only when it thaws.
    const paused = state.status === "running" && state.paused;
    try {
      await this.#ports.runtime.kill(id, signal);
    } catch (error) {
      // It ended by itself a moment ago: what the caller wants is the case.
      if (!isKind(error, "not-found") && !isKind(error, "conflict")) throw error;
      return;
    }
    if (paused) await this.#thaw(entry);
    publishContainerEvent(this.#ports.events, entry.record, "kill", { signal: String(signal) });
  }

  async #thaw(entry: Entry): Promise<void> {
    await this.#locks.run(entry.record.id, async () => {
      if (entry.record.state.status !== "running" || !entry.record.state.paused) return;
      await this.#ports.runtime.resume(entry.record.id);
      if (entry.record.state.status !== "running") return;
      this.#table.update(entry, { state: { ...entry.record.state, paused: false } });
    });
  }

  async kill(entry: Entry, signalText: string): Promise<void> {
    const signal = parseSignal(signalText === "" ? "SIGKILL" : signalText);
    const { record } = entry;
    if (record.state.status !== "running") {
      throw new GantryError("conflict", `cannot kill container: ${record.name}: container ${record.id} is not running`);
    }
    if (signal === SIGKILL || signal === parseSignal(record.config.StopSignal || "SIGTERM")) {
      entry.transient.manuallyStopped = true;
      this.#table.update(entry, { stoppedByUser: true });
    }
    if (signal !== SIGKILL) {
      await this.#ports.runtime.kill(record.id, signal);
      publishContainerEvent(this.#ports.events, record, "kill", { signal: String(signal) });
      return;
    }
    const ended = this.#whenEnded(entry);
    await this.#signal(entry, SIGKILL);
    // Docker answers when the process is gone; one that is stuck in the kernel must not keep the caller for ever.
    await within(ended, KILL_PATIENCE_MS);
  }

  async restart(entry: Entry, options: StopOptions): Promise<void> {
    if (entry.transient.restarting) this.#cancelRestart(entry);
    else if (entry.record.state.status === "running") await this.#end(entry, options);
    await this.start(entry);
    publishContainerEvent(this.#ports.events, entry.record, "restart");
  }

  async pause(entry: Entry): Promise<void> {
    await this.#locks.run(entry.record.id, async () => {
      const { state, id, name } = entry.record;
      if (state.status !== "running") throw new GantryError("conflict", `container ${name} is not running`);
      if (state.paused) throw new GantryError("conflict", `container ${name} is already paused`);
      await this.#ports.runtime.pause(id);
      this.#table.update(entry, { state: { ...state, paused: true } });
      publishContainerEvent(this.#ports.events, entry.record, "pause");
    });
  }

  async unpause(entry: Entry): Promise<void> {
    const { state, name } = entry.record;
    if (state.status !== "running" || !state.paused) {
      throw new GantryError("conflict", `container ${name} is not paused`);
    }
    await this.#thaw(entry);
    publishContainerEvent(this.#ports.events, entry.record, "unpause");
  }

  async remove(entry: Entry, options: { readonly force: boolean; readonly volumes: boolean }): Promise<void> {
    const { record, transient } = entry;
    if (transient.removing) {
      throw new GantryError("conflict", `removal of container ${record.name} is already in progress`);
    }
    if (record.state.status === "running" && !options.force) {
      throw new GantryError(
        "conflict",
        record.state.paused
          ? `cannot remove container "/${record.name}": container is paused and must be unpaused first`
          : `cannot remove container "/${record.name}": container is running: stop the container before removing or force remove`,
      );
    }
    // A restart policy, or another caller, may start it between its end and its removal: then it is ended again.
    for (let gone = false; !gone; ) {
      this.#cancelRestart(entry);
      transient.manuallyStopped = true;
      if (entry.record.state.status === "running") await this.#killForRemoval(entry);
      gone = await this.#locks.run(record.id, async () => {
        // Its own --rm, or another caller, was quicker.
        if (this.#table.get(record.id) !== entry) return true;
        if (entry.record.state.status === "running") {
          if (options.force) return false;
          throw new GantryError("conflict", `cannot remove container "/${record.name}": it was started meanwhile`);
        }
        await this.#removeLocked(entry, { volumes: options.volumes, running: false });
        return true;
      });
    }
  }

  async #killForRemoval(entry: Entry): Promise<void> {
    try {
      await this.#killAndWait(entry, this.#whenEnded(entry));
    } catch (error) {
      const why = `could not kill: ${messageOf(error)}`;
      throw new GantryError("internal", `cannot remove container "/${entry.record.name}": ${why}`);
    }
  }

  async #removeLocked(entry: Entry, options: { volumes: boolean; running: boolean }): Promise<void> {
    const { id, state } = entry.record;
    entry.transient.removing = true;
    try {
      if (options.running) await this.#dismantle(id);
      const sweep = removeContainer(this.#ports, this.#table, entry, options, this.#sweeps.of(id));
      this.#sweeps.add(id, sweep);
      await this.#table.flushed(entry);
    } catch (error) {
      entry.transient.removing = false;
      entry.transient.dead = true;
      throw error;
    }
    this.#onRemoved(id);
    publishContainerEvent(this.#ports.events, entry.record, "destroy");
    const code = state.status === "running" ? 0 : state.exitCode;
    this.exits.notify(id, code);
    this.removals.notify(id, code);
  }

  async rename(entry: Entry, name: string): Promise<void> {
    await this.#locks.run(entry.record.id, () => {
      const { id, name: before } = entry.record;
      if (name === before) {
        throw new GantryError("invalid", "Renaming a container with the same name as its current name");
      }
      this.#table.reserve(name, id);
      try {
        this.#table.update(entry, { name });
      } catch (error) {
        this.#table.release(name, id);
        throw error;
      }
      this.#table.release(before, id);
      publishContainerEvent(this.#ports.events, entry.record, "rename", { oldName: `/${before}` });
    });
  }

  #refuseGone(entry: Entry): void {
    if (this.#table.get(entry.record.id) !== entry) {
      throw new GantryError("not-found", `No such container: ${entry.record.id}`);
    }
    if (entry.transient.removing || entry.transient.dead) {
      throw new GantryError("conflict", "container is marked for removal and cannot be started");
    }
  }

  /** Brings back, after boot, what its restart policy wants up. */
  async revive(entry: Entry): Promise<void> {
    await this.#locks.run(entry.record.id, () => this.#startLocked(entry));
  }

  /** Stops every container; from now on nothing restarts or removes itself: the engine is about to end. */
  async stopAll(timeoutSeconds: number): Promise<void> {
    this.#closing = true;
    const running = this.#table.all().filter((entry) => entry.record.state.status === "running");
    for (const entry of this.#table.all()) this.#cancelRestart(entry);
    const results = await Promise.allSettled(running.map((entry) => this.#stopForShutdown(entry, timeoutSeconds)));
    for (const result of results) {
      if (result.status === "rejected") this.#ports.log.error(`cannot stop: ${messageOf(result.reason)}`);
    }
  }

  async #stopForShutdown(entry: Entry, timeoutSeconds: number): Promise<void> {
    const ended = this.#whenEnded(entry);
    await this.#signal(entry, parseSignal(entry.record.config.StopSignal || "SIGTERM"));
    const seconds = Math.min(entry.record.config.StopTimeout ?? 10, timeoutSeconds);
    if (!(await within(ended, seconds * 1000))) await this.#killAndWait(entry, ended);
    await this.#locks.run(entry.record.id, () => {});
  }
}

/** True if `ended` came before the time was up. */
async function within(ended: Promise<unknown>, ms: number): Promise<boolean> {
  const stop = new AbortController();
  try {
    return await Promise.race([ended.then(() => true), delay(ms, false, { signal: stop.signal }).catch(() => false)]);
  } finally {
    stop.abort();
  }
}

function isoOf(unixMs: number): string {
  return unixMs <= 0 ? NEVER : new Date(unixMs).toISOString().replace("Z", "000000Z");
}
