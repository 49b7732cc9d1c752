import { GantryError } from "../base/errors.ts";
import type { KeyedLock } from "../base/keyed-lock.ts";
import { publishContainerEvent } from "./event.ts";
import { healthUnwatched } from "./health.ts";
import type { ContainerPorts } from "./ports.ts";
import type { PauseReason, RunningState } from "./record.ts";
import type { ContainerTable, Entry } from "./table.ts";

/** Who wants to know when a container stands still and when it goes on. */
export interface FreezingListener {
  halted(id: string): void;
  running(entry: Entry): void;
}

/** Pauses containers and lets them go on. */
export class Freezing {
  readonly #ports: Pick<ContainerPorts, "runtime" | "events">;
  readonly #table: ContainerTable;
  readonly #locks: KeyedLock;
  readonly #listener: FreezingListener;

  constructor(
    ports: Pick<ContainerPorts, "runtime" | "events">,
    table: ContainerTable,
    locks: KeyedLock,
    listener: FreezingListener,
  ) {
    this.#ports = ports;
    this.#table = table;
    this.#locks = locks;
    this.#listener = listener;
  }

  /** With a reason it is the engine that pauses it: a boot lets it go on. */
  async pause(entry: Entry, reason?: PauseReason): Promise<void> {
    await this.#locks.run(entry.record.id, async () => {
      const { state: before, id } = entry.record;
      refuseRestarting(entry);
      if (before.status !== "running") throw new GantryError("conflict", `container ${id} is not running`);
      if (before.paused) throw new GantryError("conflict", `container ${id} is already paused`);
      const state: RunningState = { ...before, ...(reason !== undefined && { pausedFor: reason }) };
      this.#listener.halted(id);
      try {
        // Before it stands still: a crash must not leave it so.
        if (reason !== undefined) this.#table.update(entry, { state });
        await this.#ports.runtime.pause(id);
        this.#table.update(entry, { state: { ...state, paused: true }, health: healthUnwatched(entry.record.health) });
      } catch (error) {
        this.#listener.running(entry);
        throw error;
      }
      publishContainerEvent(this.#ports.events, entry.record, "pause");
    });
  }

  async unpause(entry: Entry): Promise<void> {
    const { state, id } = entry.record;
    if (state.status !== "running" || !state.paused) {
      throw new GantryError("conflict", `container ${id} is not paused`);
    }
    await this.thaw(entry);
    publishContainerEvent(this.#ports.events, entry.record, "unpause");
  }

  /** Lets a container go on if it is paused; nobody is told. */
  async thaw(entry: Entry): Promise<void> {
    await this.#locks.run(entry.record.id, async () => {
      if (entry.record.state.status !== "running" || !entry.record.state.paused) return;
      await this.#ports.runtime.resume(entry.record.id);
      if (entry.record.state.status !== "running") return;
      const { pausedFor: _, ...state } = entry.record.state;
      this.#table.update(entry, { state: { ...state, paused: false } });
      this.#listener.running(entry);
    });
  }
}

/** Refuses what needs a process while a container waits for its restart. */
export function refuseRestarting({ record, transient }: Entry): void {
  if (!transient.restarting) return;
  throw new GantryError("conflict", `Container ${record.id} is restarting, wait until the container is running`);
}
