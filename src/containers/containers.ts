import type { Readable } from "node:stream";
import type { ContainerPathStat, FilesystemChange } from "../api/archive.ts";
import type {
  ContainerCreateRequest,
  ContainerCreateResponse,
  ContainerInspect,
  ContainerSummary,
  ContainersPruneResponse,
  ContainerUpdateRequest,
  ContainerUpdateResponse,
  EndpointSettings,
  ExecConfig,
  ExecInspect,
  HealthcheckResult,
  TopResponse,
} from "../api/container.ts";
import type { Filters } from "../api/filters.ts";
import type { ContainerStats } from "../api/stats.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import type { ImageUse } from "../images/image.ts";
import type { VolumeUsers } from "../volumes/users.ts";
import { type ArchiveParts, exportContainer, readArchive, statPath, writeArchive } from "./archive.ts";
import { attachContainer } from "./attach.ts";
import { revive, settle } from "./boot.ts";
import { listChanges } from "./changes.ts";
import { commitContainer } from "./commit.ts";
import type {
  ArchiveAnswer,
  ArchiveWriteOptions,
  AttachOptions,
  CommitRequest,
  ContainerController,
  ContainerListOptions,
  CreateOptions,
  ExecStartOptions,
  LogsOptions,
  LogsResult,
  StatsOptions,
  StopOptions,
  WaitCondition,
  WaitOptions,
  WaitResult,
} from "./controller.ts";
import { createContainer } from "./creation.ts";
import { publishContainerEvent } from "./event.ts";
import { ExecSessions } from "./exec.ts";
import { refuseRestarting } from "./freezing.ts";
import { HealthMonitor } from "./health-monitor.ts";
import { Lifecycle, UNKNOWN_EXIT } from "./lifecycle.ts";
import { findLinked, removeLink } from "./link.ts";
import { inspectContainer, listContainers } from "./listing.ts";
import { logDetails, logStream, readableLogOf } from "./log.ts";
import { connectContainer, disconnectContainer } from "./membership.ts";
import { allocatingName, checkName } from "./name.ts";
import { forgetLink } from "./network-files.ts";
import type { ContainerPorts } from "./ports.ts";
import { pruneContainers } from "./prune.ts";
import { usersOf } from "./remove.ts";
import { RootViews } from "./root-view.ts";
import { processesOf } from "./spec-of.ts";
import { ContainerMeter } from "./stats/stats.ts";
import { ContainerTable, type Entry } from "./table.ts";
import { listProcesses } from "./top.ts";
import { updateContainer } from "./update/update.ts";
import { volumeUsers } from "./volume-users.ts";

/** The containers of one engine. Make it, then `boot()` it before anything else is asked of it. */
export class Containers implements ContainerController {
  readonly #ports: ContainerPorts;
  readonly #table: ContainerTable;
  readonly #lifecycle: Lifecycle;
  readonly #execs: ExecSessions;
  readonly #health: HealthMonitor;
  readonly #archives: ArchiveParts;
  readonly #meter: ContainerMeter;

  constructor(ports: ContainerPorts) {
    this.#ports = ports;
    this.#table = new ContainerTable(ports.store);
    this.#execs = new ExecSessions(ports);
    this.#lifecycle = new Lifecycle(ports, this.#table, {
      running: (entry) => this.#health.watch(entry),
      halted: (id) => this.#health.unwatch(id),
      ended: (id) => this.#execs.forgetUnbegun(id),
      removed: (id) => this.#execs.forget(id),
    });
    this.#health = new HealthMonitor({
      events: ports.events,
      log: ports.log,
      onHealthCheck: ports.onHealthCheck,
      table: this.#table,
      execs: this.#execs,
      act: (entry, action) => this.#lifecycle.unhealthy(entry, action),
    });
    this.#archives = { ports, views: new RootViews(ports, this.#lifecycle) };
    this.#meter = new ContainerMeter(this.#table, this.#lifecycle.removals, ports.settings);
  }

  /** Settles what the last engine left, then listens to the supervisor; restart policies act from then on. */
  async boot(): Promise<void> {
    await settle(this.#ports, this.#table, this.#lifecycle);
    this.#ports.runtime.onExit((exit) => {
      if (exit.execId !== undefined) {
        this.#execs.exited(exit, this.#table.get(exit.id));
        return;
      }
      this.#lifecycle.exited(exit).catch((error: unknown) => {
        this.#ports.log.error(`cannot settle an exit: ${messageOf(error)}`, { container: exit.id });
      });
    });
    for (const entry of this.#table.all()) this.#health.watch(entry);
    revive(this.#ports, this.#table, this.#lifecycle);
  }

  create(
    wantedName: string | undefined,
    request: ContainerCreateRequest,
    options: CreateOptions,
  ): Promise<ContainerCreateResponse> {
    const parts = { ports: this.#ports, table: this.#table, lifecycle: this.#lifecycle };
    return createContainer(parts, wantedName, request, options);
  }

  async start(id: string): Promise<void> {
    await this.#lifecycle.start(this.#table.find(id));
  }

  async stop(id: string, options: StopOptions): Promise<void> {
    await this.#lifecycle.stop(this.#table.find(id), options);
  }

  async restart(id: string, options: StopOptions): Promise<void> {
    await this.#lifecycle.restart(this.#table.find(id), options);
  }

  async kill(id: string, signal: string): Promise<void> {
    try {
      await this.#lifecycle.kill(this.#table.find(id), signal);
    } catch (error) {
      // By the name that was asked for, as clients of older engines know it.
      const kind = error instanceof GantryError ? error.kind : "internal";
      throw new GantryError(kind, `cannot kill container: ${id}: ${messageOf(error)}`, { cause: error });
    }
  }

  async remove(id: string, options: { readonly force: boolean; readonly volumes: boolean }): Promise<void> {
    await this.#lifecycle.remove(findLinked(this.#table, id), options);
  }

  async removeLink(name: string): Promise<void> {
    const { parent, hostNames } = removeLink(this.#table, name);
    forgetLink(this.#ports, this.#table, parent, hostNames);
  }

  async pause(id: string): Promise<void> {
    await this.#lifecycle.pause(this.#table.find(id));
  }

  async unpause(id: string): Promise<void> {
    await this.#lifecycle.unpause(this.#table.find(id));
  }

  async update(id: string, request: ContainerUpdateRequest): Promise<ContainerUpdateResponse> {
    const parts = { ports: this.#ports, table: this.#table, lifecycle: this.#lifecycle };
    return updateContainer(parts, this.#table.find(id), request);
  }

  async connectNetwork(id: string, network: string, settings: Partial<EndpointSettings>): Promise<void> {
    const parts = { ports: this.#ports, table: this.#table, lifecycle: this.#lifecycle };
    await connectContainer(parts, id, network, settings);
  }

  async disconnectNetwork(id: string, network: string, options: { readonly force: boolean }): Promise<void> {
    const parts = { ports: this.#ports, table: this.#table, lifecycle: this.#lifecycle };
    await disconnectContainer(parts, id, network, options);
  }

  async rename(id: string, name: string): Promise<void> {
    const entry = this.#table.find(id);
    if (name === "") throw new GantryError("invalid", "Neither old nor new names may be empty");
    const wanted = allocatingName(() => checkName(name.startsWith("/") ? name : `/${name}`));
    await this.#lifecycle.rename(entry, wanted);
  }

  async wait(id: string, condition: WaitCondition, options: WaitOptions): Promise<WaitResult> {
    const entry = this.#table.find(id);
    const { record } = entry;
    const code = this.#waitFor(entry, condition, options.signal);
    options.ready();
    const StatusCode = await code;
    const { state } = entry.record;
    // Only an exit that nobody could learn is an error of the wait; a failed start is told by the start.
    const unknown = state.status === "exited" && state.error === UNKNOWN_EXIT;
    return unknown ? { StatusCode, Error: { Message: `${UNKNOWN_EXIT} (container ${record.name})` } } : { StatusCode };
  }

  #waitFor(entry: Entry, condition: WaitCondition, signal: AbortSignal): Promise<number> {
    const { id, state } = entry.record;
    switch (condition) {
      case "removed":
        return this.#lifecycle.removals.next(id, signal);
      case "next-exit":
        return this.#lifecycle.exits.next(id, signal);
      case "not-running":
        if (state.status !== "running" && !entry.transient.restarting) return Promise.resolve(state.exitCode);
        return this.#lifecycle.exits.next(id, signal);
    }
  }

  list(options: ContainerListOptions): Promise<ContainerSummary[]> {
    return listContainers(this.#ports, this.#table, options);
  }

  inspect(id: string, options: { readonly size: boolean }): Promise<ContainerInspect> {
    return inspectContainer(this.#ports, this.#table, this.#table.find(id), options);
  }

  async healthcheck(id: string): Promise<HealthcheckResult> {
    return await this.#health.probe(this.#table.find(id));
  }

  async top(id: string, psArgs: string): Promise<TopResponse> {
    const entry = this.#running(id);
    return listProcesses(new Set(processesOf(entry.record, this.#ports.settings())), psArgs);
  }

  stats(id: string, options: StatsOptions): Promise<ContainerStats> {
    return this.#meter.once(this.#table.find(id), options);
  }

  statsStream(id: string, signal: AbortSignal): AsyncIterable<ContainerStats> {
    return this.#meter.stream(this.#table.find(id), signal);
  }

  async logs(id: string, options: LogsOptions): Promise<LogsResult> {
    const entry = this.#table.find(id);
    if (!options.stdout && !options.stderr) {
      throw new GantryError("invalid", "Bad parameters: you must choose at least one stream");
    }
    const target = readableLogOf(entry.record, this.#ports.settings());
    const isUp = entry.record.state.status === "running" || entry.transient.restarting;
    const ended = isUp
      ? this.#lifecycle.exits.next(entry.record.id, options.signal).then(ignore, ignore)
      : Promise.resolve();
    const details = options.details ? logDetails(entry.record) : "";
    return {
      tty: entry.record.config.Tty,
      stream: logStream(target, entry.record.config.Tty, options, details, ended),
    };
  }

  async attach(id: string, options: AttachOptions): Promise<void> {
    await attachContainer(this.#ports, this.#table.find(id), options);
  }

  async changes(id: string): Promise<FilesystemChange[]> {
    await this.#whole(id, "list its changes");
    return listChanges(this.#ports.snapshots, this.#table.find(id).record);
  }

  async statPath(id: string, path: string): Promise<ContainerPathStat> {
    return statPath(this.#archives, this.#table.find(id), id, path);
  }

  async readArchive(id: string, path: string): Promise<ArchiveAnswer> {
    await this.#whole(id, "copy from container");
    return readArchive(this.#archives, this.#table.find(id), id, path);
  }

  async writeArchive(id: string, path: string, body: Readable, options: ArchiveWriteOptions): Promise<void> {
    await this.#whole(id, "copy into container");
    await writeArchive(this.#archives, this.#table.find(id), id, path, body, options);
  }

  async export(id: string): Promise<AsyncIterableIterator<Uint8Array>> {
    await this.#whole(id, "export");
    return exportContainer(this.#archives, this.#table.find(id));
  }

  async commit(id: string, request: CommitRequest): Promise<string> {
    await this.#whole(id, "commit", request.signal);
    return commitContainer(this.#ports, this.#lifecycle, this.#table.find(id), request);
  }

  async resize(id: string, rows: number, columns: number): Promise<void> {
    const { record } = this.#running(id);
    if (!record.config.Tty) return;
    await this.#ports.runtime.resize(record.id, undefined, rows, columns);
    publishContainerEvent(this.#ports.events, record, "resize", { height: String(rows), width: String(columns) });
  }

  async execCreate(id: string, config: ExecConfig): Promise<{ Id: string }> {
    const entry = this.#running(id);
    if (entry.record.state.status === "running" && entry.record.state.paused) {
      throw new GantryError("conflict", `container ${id} is paused, unpause the container before exec`);
    }
    return this.#execs.create(entry, config);
  }

  async execStart(execId: string, options: ExecStartOptions): Promise<void> {
    await this.#execs.start(execId, options);
  }

  async execInspect(execId: string): Promise<ExecInspect> {
    return await this.#execs.inspect(execId);
  }

  async execResize(execId: string, rows: number, columns: number): Promise<void> {
    await this.#execs.resize(execId, rows, columns);
  }

  prune(filters: Filters): Promise<ContainersPruneResponse> {
    return pruneContainers({ ports: this.#ports, table: this.#table, lifecycle: this.#lifecycle }, filters);
  }

  counts(): { running: number; paused: number; stopped: number } {
    const counts = { running: 0, paused: 0, stopped: 0 };
    for (const { record } of this.#table.all()) {
      if (record.state.status !== "running") counts.stopped++;
      else if (record.state.paused) counts.paused++;
      else counts.running++;
    }
    return counts;
  }

  /** Resolves when nothing is left of processes that ended and containers that were removed. */
  async quiet(): Promise<void> {
    await this.#lifecycle.quiet();
  }

  async stopAll(timeoutSeconds: number): Promise<void> {
    await this.#lifecycle.stopAll(timeoutSeconds);
  }

  /** Image ids to the containers made of them: what forbids an image's removal. */
  imageUses(): Map<string, ImageUse[]> {
    const uses = new Map<string, ImageUse[]>();
    for (const { record } of this.#table.all()) {
      const use = { containerId: record.id, running: record.state.status === "running" };
      const mounted = record.mounts.flatMap(({ image }) => image?.id ?? []);
      for (const id of new Set([record.imageId, ...mounted])) uses.set(id, [...(uses.get(id) ?? []), use]);
    }
    return uses;
  }

  /** The same containers as those who take care of volumes ask for them. */
  volumeUsers(): VolumeUsers {
    return volumeUsers({ table: this.#table, lifecycle: this.#lifecycle });
  }

  nameOf(id: string): string | undefined {
    return this.#table.get(id)?.record.name;
  }

  /** Ids of the containers that mount a volume. */
  usersOfVolume(name: string): string[] {
    return usersOf(this.#table, name);
  }

  /** The engine never waits for a part of a layer that a registry still has: it waits for all of them, and tells why not. */
  async #whole(id: string, what: string, signal?: AbortSignal): Promise<void> {
    const { imageId } = this.#table.find(id).record;
    await this.#ports.images.whole(imageId, what, signal === undefined ? {} : { signal });
  }

  #running(id: string): Entry {
    const entry = this.#table.find(id);
    refuseRestarting(entry);
    if (entry.record.state.status !== "running") {
      throw new GantryError("conflict", `container ${entry.record.id} is not running`);
    }
    return entry;
  }
}

function ignore(): void {}
