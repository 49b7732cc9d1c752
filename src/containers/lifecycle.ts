import { GantryError, isKind, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import { CompiledSeccomp } from "../runtime/compiled-seccomp.ts";
import type { ProcessExit } from "../runtime/process.ts";
import { exitCodeOfFailure } from "../runtime/runtime-error.ts";
import type { StopOptions } from "./controller.ts";
import { Ending, endsIt } from "./ending.ts";
import { publishContainerEvent, publishVolumeEvents } from "./event.ts";
import { Freezing, type FreezingListener } from "./freezing.ts";
import { healthAtStart, healthUnwatched, type OnFailure } from "./health.ts";
import { makeJail, sweepJail } from "./jail.ts";
import { allocatingName } from "./name.ts";
import { refreshLinks } from "./network-files.ts";
import type { ContainerPorts } from "./ports.ts";
import { type ContainerRecord, type ExitedState, NEVER, type PauseReason, timestamp } from "./record.ts";
import { removeContainer } from "./remove.ts";
import { shouldRestart } from "./restart-policy.ts";
import { Restarts } from "./restarts.ts";
import { parseSignal } from "./signal.ts";
import { joinedNames } from "./spec-of.ts";
import { Sweeps } from "./sweeps.ts";
import type { ContainerTable, Entry } from "./table.ts";
import { Waiters } from "./waiters.ts";

/** What an exit code is called when nobody could learn it, and the error that says so. */
const UNKNOWN_EXIT_CODE = 255;
export const UNKNOWN_EXIT = "the exit code could not be learnt: the supervisor was not running";

/** Who wants to know what becomes of containers. */
export interface LifecycleListener extends FreezingListener {
  /** Its first process has ended. */
  ended(id: string): void;
  /** It is gone for good. */
  removed(id: string): void;
}

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
  readonly #listener: LifecycleListener;
  readonly #restarts: Restarts;
  readonly #freezing: Freezing;
  readonly #ending: Ending;
  #closing = false;

  constructor(ports: ContainerPorts, table: ContainerTable, listener: LifecycleListener) {
    this.#ports = ports;
    this.#table = table;
    this.#listener = listener;
    this.#restarts = new Restarts((entry) => this.#restartNow(entry), ports.log);
    this.#freezing = new Freezing(ports, table, this.#locks, listener);
    this.#ending = new Ending(ports, this.exits, this.#freezing);
    this.#sweeps = new Sweeps(ports.log);
    this.#seccomp = new CompiledSeccomp(ports.settings().execRoot);
  }

  async start(entry: Entry): Promise<void> {
    await this.#locks.run(entry.record.id, async () => {
      this.#refuseGone(entry);
      const { state } = entry.record;
      if (state.status === "running" && state.paused) {
        throw new GantryError("conflict", "cannot start a paused container, try unpause instead");
      }
      if (state.status === "running" || entry.transient.restarting) {
        throw new GantryError("not-modified", `container ${entry.record.id} is running already`);
      }
      entry.transient.backoffMs = 0;
      entry.transient.manuallyStopped = false;
      await this.#startLocked(entry, { restartCount: 0 });
    });
  }

  /**
   * Runs `act` while nothing else changes this container, after what is being cleaned up of it. Throws not-found if it
   * is gone.
   */
  async undisturbed<T>(entry: Entry, act: () => Promise<T>): Promise<T> {
    const { id } = entry.record;
    return this.#locks.run(id, async () => {
      if (this.#table.get(id) !== entry) throw new GantryError("not-found", `No such container: ${id}`);
      await this.#sweeps.of(id);
      return act();
    });
  }

  /** Cleans up in the background: before the container starts again or is opened again, and before the engine ends. */
  sweepLater(id: string, act: () => Promise<void>): void {
    this.#sweeps.add(id, act);
  }

  async #startLocked(entry: Entry, change: Pick<ContainerRecord, "restartCount">): Promise<void> {
    const { id } = entry.record;
    entry.transient.stopTold = false;
    if (!this.#ports.snapshots.has(id)) {
      throw new GantryError("internal", `cannot start container ${id}: its files are gone from the data root`);
    }
    await this.#sweeps.of(id);
    try {
      const jail = await makeJail(this.#ports, this.#table, this.#seccomp, entry.record);
      await using undo = jail.undo;
      for (const warning of jail.warnings) this.#ports.log.warn(warning, { container: id });
      const { pid, network } = jail;
      // Before the process is let go: a crash after this finds a record to settle, one before it finds nothing told.
      const recorded = this.#table.updateSoon(entry, {
        state: {
          status: "running",
          pid,
          startedAt: timestamp(),
          paused: false,
          networks: network.networks,
          ports: network.ports,
          sandboxKey: network.path ?? "",
          hasResolver: network.hasResolver,
        },
        endpoints: network.endpoints,
        stoppedByUser: false,
        restartWanted: false,
        config: { ...entry.record.config, ...joinedNames(this.#table, entry.record) },
        health: healthAtStart(entry.record.config, entry.record.health),
        ...change,
      });
      entry.transient.restarting = false;
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
    refreshLinks(this.#ports, this.#table, entry.record);
    publishContainerEvent(this.#ports.events, entry.record, "start");
    this.#listener.running(entry);
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
    this.#ports.networks.withdraw(exit.id);
    await this.#locks.run(exit.id, () => this.#exitedLocked(entry, exit));
  }

  async #exitedLocked(entry: Entry, exit: ProcessExit): Promise<void> {
    const { record, transient } = entry;
    if (record.state.status !== "running" || this.#table.get(record.id) !== entry) return;
    this.#listener.halted(record.id);
    await transient.signalling;
    transient.signalling = undefined;
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
    const removes = record.hostConfig.AutoRemove && record.restartWanted !== true;
    const recorded = this.#recordExit(entry, state);
    failpoint("containers.exit.recorded");
    if (exit.oomKilled) publishContainerEvent(this.#ports.events, entry.record, "oom");
    publishContainerEvent(this.#ports.events, entry.record, "die", {
      exitCode: String(exitCode),
      execDuration: String(Math.max(0, Math.floor(ranMs / 1000))),
    });
    publishVolumeEvents(this.#ports.events, entry.record, "unmount");
    if (transient.stopTold) publishContainerEvent(this.#ports.events, entry.record, "stop");
    this.#ports.shippedLogs.ended(record.id);
    this.#listener.ended(record.id);
    if (removes) {
      const removal = this.#removeLocked(entry, { volumes: true, running: true });
      this.exits.notify(record.id, exitCode);
      await removal;
      return;
    }
    const restarts = !this.#closing && shouldRestart(entry.record, exitCode, transient.manuallyStopped);
    if (restarts) this.#restarts.plan(entry, ranMs);
    await this.#dismantle(record.id);
    await recorded;
    this.exits.notify(record.id, exitCode);
    if (restarts) this.#restarts.arm(entry);
  }

  /** What ended has ended, also when the disk is full: boot learns it again from what the supervisor wrote. */
  async #recordExit(entry: Entry, state: ExitedState): Promise<void> {
    const { record } = entry;
    const health = healthUnwatched(record.health);
    entry.record = { ...record, state, health };
    // A container that goes with its exit needs no record of it: a crash here finds it running and comes by again.
    if (record.hostConfig.AutoRemove && record.restartWanted !== true) return;
    try {
      await this.#table.updateSoon(entry, { state, health });
    } catch (error) {
      this.#ports.log.error(`cannot record an exit: ${messageOf(error)}`, { container: record.id });
    }
  }

  /** The policy may have been changed during the wait: it is asked again. */
  async #restartNow(entry: Entry): Promise<void> {
    await this.#locks.run(entry.record.id, async () => {
      const { record, transient } = entry;
      if (!transient.restarting || this.#table.get(record.id) !== entry) return;
      const { exitCode } = record.state as ExitedState;
      if (!shouldRestart(record, exitCode, transient.manuallyStopped)) {
        this.#giveUpRestart(entry);
        return;
      }
      transient.comingBack = true;
      try {
        await this.#startLocked(entry, { restartCount: record.restartCount + 1 });
      } finally {
        transient.comingBack = false;
        transient.restarting = false;
      }
    });
  }

  /** A restart whose wait is over can't be taken back any more; it takes no longer than a start. */
  async #settled(entry: Entry): Promise<void> {
    if (entry.transient.comingBack) await this.#locks.run(entry.record.id, () => {});
  }

  /** To be called when the restart policy was changed: a restart that it no longer wants is not waited for. */
  policyChanged(entry: Entry): void {
    const { record, transient } = entry;
    if (!transient.restarting || transient.comingBack || record.state.status !== "exited") return;
    if (!shouldRestart(record, record.state.exitCode, transient.manuallyStopped)) this.#giveUpRestart(entry);
  }

  /** True if it waited for one: then it has ended for good, and those who wait are told. */
  #giveUpRestart(entry: Entry): boolean {
    if (!this.#restarts.cancel(entry)) return false;
    const { id, state } = entry.record;
    this.exits.notify(id, state.status === "running" ? 0 : state.exitCode);
    return true;
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
    await this.#settled(entry);
    const { record } = entry;
    if (entry.transient.restarting) {
      this.#table.update(entry, { stoppedByUser: true, restartWanted: false });
      this.#giveUpRestart(entry);
      publishContainerEvent(this.#ports.events, entry.record, "stop");
      return;
    }
    if (record.state.status !== "running") {
      throw new GantryError("not-modified", `container ${record.id} is not running`);
    }
    await this.#stopRunning(entry, options);
  }

  async #stopRunning(entry: Entry, options: StopOptions): Promise<void> {
    this.#listener.halted(entry.record.id);
    entry.transient.manuallyStopped = true;
    entry.transient.stopTold = true;
    // On the disk with the exit at the latest, which is what the caller waits for.
    void this.#table.updateSoon(entry, { stoppedByUser: true, restartWanted: false }).catch(() => {});
    await this.#ending.stop(entry, options);
  }

  async kill(entry: Entry, signalText: string): Promise<void> {
    const signal = parseSignal(signalText === "" ? "SIGKILL" : signalText);
    await this.#settled(entry);
    const { record, transient } = entry;
    if (record.state.status !== "running" && !transient.restarting) {
      throw new GantryError("conflict", `container ${record.id} is not running`);
    }
    if (endsIt(entry, signal)) {
      transient.manuallyStopped = true;
      this.#table.update(entry, { stoppedByUser: true, restartWanted: false });
    }
    if (!transient.restarting) await this.#ending.signal(entry, signal);
    else if (endsIt(entry, signal)) this.#giveUpRestart(entry);
  }

  async restart(entry: Entry, options: StopOptions): Promise<void> {
    await this.#settled(entry);
    if (!this.#restarts.cancel(entry) && entry.record.state.status === "running") {
      await this.#stopRunning(entry, options);
    }
    try {
      await this.start(entry);
    } catch (error) {
      // Who restarted it at the same time has started it: it is what was asked for.
      if (!isKind(error, "not-modified")) throw error;
    }
    publishContainerEvent(this.#ports.events, entry.record, "restart");
  }

  /** What its health check's failure asks for; a restart comes after a wait if failures come quickly. */
  async unhealthy(entry: Entry, action: Exclude<OnFailure, "none">): Promise<void> {
    if (entry.record.state.status !== "running" || entry.transient.manuallyStopped) return;
    switch (action) {
      case "kill":
        await this.#ending.kill(entry);
        return;
      case "stop":
        await this.#stopRunning(entry, {});
        return;
      case "restart":
        this.#listener.halted(entry.record.id);
        await this.#table.updateSoon(entry, { restartWanted: true });
        await this.#ending.stop(entry, {});
    }
  }

  /** With a reason it is the engine that pauses it: a boot lets it go on. */
  async pause(entry: Entry, reason?: PauseReason): Promise<void> {
    await this.#freezing.pause(entry, reason);
  }

  async unpause(entry: Entry): Promise<void> {
    await this.#freezing.unpause(entry);
  }

  async remove(entry: Entry, options: { readonly force: boolean; readonly volumes: boolean }): Promise<void> {
    const { record, transient } = entry;
    if (transient.removing) {
      throw new GantryError("conflict", `removal of container ${record.name} is already in progress`);
    }
    if (!options.force) refuseUp(entry);
    // A restart policy, or another caller, may start it between its end and its removal: then it is ended again.
    for (let gone = false; !gone; ) {
      this.#restarts.cancel(entry);
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
    this.#listener.halted(entry.record.id);
    try {
      await this.#ending.kill(entry);
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
    this.#listener.removed(id);
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
      allocatingName(() => this.#table.reserve(name, id));
      const { networks } = this.#ports;
      networks.rename(id, name);
      try {
        const { state } = entry.record;
        const renamed =
          state.status === "running" ? { state: { ...state, networks: networks.state(id).networks } } : {};
        this.#table.update(entry, { name, ...renamed });
      } catch (error) {
        networks.rename(id, before);
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
    await this.#locks.run(entry.record.id, () => this.#startLocked(entry, { restartCount: 0 }));
  }

  /** Stops every container; from now on nothing restarts or removes itself: the engine is about to end. */
  async stopAll(timeoutSeconds: number): Promise<void> {
    this.#closing = true;
    await Promise.all(this.#table.all().map((entry) => this.#settled(entry)));
    const running = this.#table.all().filter((entry) => entry.record.state.status === "running");
    for (const entry of this.#table.all()) this.#restarts.cancel(entry);
    const results = await Promise.allSettled(running.map((entry) => this.#stopForShutdown(entry, timeoutSeconds)));
    for (const result of results) {
      if (result.status === "rejected") this.#ports.log.error(`cannot stop: ${messageOf(result.reason)}`);
    }
  }

  async #stopForShutdown(entry: Entry, timeoutSeconds: number): Promise<void> {
    this.#listener.halted(entry.record.id);
    const own = entry.record.config.StopTimeout ?? 10;
    await this.#ending.stop(entry, { timeoutSeconds: own < 0 ? timeoutSeconds : Math.min(own, timeoutSeconds) });
    await this.#locks.run(entry.record.id, () => {});
  }
}

/** Without force only what is down can be removed. */
function refuseUp({ record, transient }: Entry): void {
  const { state, name } = record;
  const refuse = (why: string): never => {
    throw new GantryError("conflict", `cannot remove container "/${name}": container is ${why}`);
  };
  if (transient.restarting) refuse("restarting: stop the container before removing or force remove");
  if (state.status !== "running") return;
  if (state.paused) refuse("paused and must be unpaused first");
  refuse("running: stop the container before removing or force remove");
}

function isoOf(unixMs: number): string {
  return unixMs <= 0 ? NEVER : new Date(unixMs).toISOString().replace("Z", "000000Z");
}
