import { readlinkSync } from "node:fs";
import type { ContainerStats } from "../../api/stats.ts";
import { GantryError, hasCode } from "../../base/errors.ts";
import type { StatsOptions } from "../controller.ts";
import type { Lifecycle } from "../lifecycle.ts";
import type { ContainerSettings } from "../ports.ts";
import type { ContainerRecord, RunningState } from "../record.ts";
import { controllersOf } from "../spec-of.ts";
import type { ContainerTable, Entry } from "../table.ts";
import { StatsSampler, type Subject } from "./sampler.ts";

/** What containers use, as `stats` asks for it. */
export class ContainerMeter {
  readonly #table: ContainerTable;
  readonly #removals: Lifecycle["removals"];
  readonly #settings: () => ContainerSettings;
  readonly #sampler = new StatsSampler((id) => this.#subject(id));
  /** Where each container's cgroup is, by its run: reading it takes a millisecond. */
  readonly #places = new WeakMap<Entry, { readonly run: string; readonly subject: Subject["running"] }>();

  constructor(table: ContainerTable, removals: Lifecycle["removals"], settings: () => ContainerSettings) {
    this.#table = table;
    this.#removals = removals;
    this.#settings = settings;
  }

  /**
   * Samples of a container, about one a second, the first at once. Goes on through its stops and restarts, with zeros
   * while it does not run, and ends with its removal.
   */
  stream(entry: Entry, signal: AbortSignal): AsyncIterable<ContainerStats> {
    const { id } = entry.record;
    const removed = this.#removals.next(id, signal);
    return this.#follow(id, removed);
  }

  async *#follow(id: string, removed: Promise<unknown>): AsyncGenerator<ContainerStats> {
    using watcher = this.#sampler.watch(id);
    const end = () => watcher.end();
    removed.then(end, end);
    for (;;) {
      const stats = await watcher.next();
      if (stats === undefined) return;
      yield stats;
    }
  }

  /** One answer: of a single look with `oneShot`, else of two, so that what it used in between can be told. */
  async once(entry: Entry, options: StatsOptions): Promise<ContainerStats> {
    const { id } = entry.record;
    const single = options.oneShot || entry.record.state.status !== "running";
    const stats = single ? this.#sampler.look(id) : await this.#second(entry, options.signal);
    if (stats === undefined) throw new GantryError("not-found", `No such container: ${id}`);
    return stats;
  }

  async #second(entry: Entry, signal: AbortSignal): Promise<ContainerStats | undefined> {
    const leave = new AbortController();
    try {
      let newest: ContainerStats | undefined;
      for await (const stats of this.stream(entry, AbortSignal.any([signal, leave.signal]))) {
        newest = stats;
        // One that ended meanwhile has no second sample.
        if (stats.precpu_stats.system_cpu_usage !== undefined || entry.record.state.status !== "running") return stats;
      }
      return newest;
    } finally {
      leave.abort();
    }
  }

  #subject(id: string): Subject | undefined {
    const entry = this.#table.get(id);
    if (entry === undefined) return undefined;
    const { name, state } = entry.record;
    if (state.status !== "running") return { name, running: undefined };
    const known = this.#places.get(entry);
    if (known?.run === state.startedAt) return { name, running: known.subject };
    const subject = this.#place(entry.record, state);
    if (subject !== undefined) this.#places.set(entry, { run: state.startedAt, subject });
    return { name, running: subject };
  }

  #place({ id }: ContainerRecord, { pid, startedAt }: RunningState): Subject["running"] {
    try {
      const folders = controllersOf(id, this.#settings());
      return folders && { id, folders, pid, ownNetwork: hasOwnNetwork(pid), run: startedAt };
    } catch (error) {
      // Its process has just ended; that is about to be recorded.
      if (hasCode(error, "ENOENT", "ESRCH")) return undefined;
      throw error;
    }
  }
}

/** A container's own network namespace, or another's; not the engine's, through whatever it shares that. */
function hasOwnNetwork(pid: number): boolean {
  return readlinkSync(`/proc/${pid}/ns/net`) !== readlinkSync("/proc/self/ns/net");
}
