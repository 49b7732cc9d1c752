import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { isMountPoint } from "../kernel/mount.ts";
import type { LiveSandbox } from "../networks/network.ts";
import { bundleFolder } from "./bundle.ts";
import { sweepJail } from "./jail.ts";
import { chosenDns } from "./joining.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { linkedPorts } from "./link.ts";
import { sweepSources } from "./mount-sources.ts";
import { imagePins } from "./mounts.ts";
import { refreshFiles } from "./network-files.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerRecord, ResolvedMount, RunningState } from "./record.ts";
import { shouldRevive } from "./restart-policy.ts";
import { removeView, viewsFolder } from "./root-view.ts";
import type { ContainerTable } from "./table.ts";

/**
 * Makes records, processes, mounts, networks and folders agree after whatever ended the last engine: adopts what
 * runs, records what ended meanwhile, takes down what nobody was told of.
 */
export async function settle(ports: ContainerPorts, table: ContainerTable, lifecycle: Lifecycle): Promise<void> {
  const { dataRoot, execRoot } = ports.settings();
  const processes = new Map((await ports.runtime.list()).map((process) => [process.id, process]));

  for (const entry of table.all()) {
    const { id, state } = entry.record;
    const process = processes.get(id);
    if (state.status !== "running") continue;
    if (process?.status === "running" || process?.status === "paused") {
      // Stopped for a commit that died with the last engine: it goes on.
      const { pausedFor, ...own } = state;
      if (pausedFor !== undefined) {
        if (process.status === "paused") await ports.runtime.resume(id);
        table.update(entry, { state: { ...own, paused: false, pid: process.pid } });
        continue;
      }
      const paused = process.status === "paused";
      if (paused !== state.paused || process.pid !== state.pid) {
        table.update(entry, { state: { ...state, paused, pid: process.pid } });
      }
      continue;
    }
    // A jail whose process was never let go was never told to anyone as started.
    await lifecycle.exited(
      process?.exit ?? { id, execId: undefined, code: undefined, at: Date.now(), oomKilled: false },
    );
  }

  const isLive = (id: string) => table.get(id)?.record.state.status === "running";
  await ports.volumes.adopt(volumesInUse(table));
  const strays = new Set([...processes.keys(), ...listFolder(join(execRoot, "bundles"))]);
  for (const id of strays) {
    if (isLive(id)) continue;
    await Promise.all([sweepJail(ports, id), ports.networks.release(id)]).catch((error: unknown) =>
      ports.log.error(`cannot take down what a crash left: ${messageOf(error)}`, { container: id }),
    );
  }
  for (const name of listFolder(viewsFolder(execRoot))) {
    await removeView(ports, name).catch((error: unknown) =>
      ports.log.error(`cannot take down what a crash left: ${messageOf(error)}`, { container: name }),
    );
  }
  const live = new Map<string, LiveSandbox>();
  for (const { record } of table.all()) {
    if (record.state.status !== "running") continue;
    live.set(record.id, liveSandbox(ports, table, record, record.state));
    // It is mounted by the last engine; who mounts it elsewhere must know.
    const rootfs = join(bundleFolder(execRoot, record.id), "rootfs");
    if (isMountPoint(rootfs) && ports.snapshots.has(record.id)) await ports.snapshots.mount(record.id, rootfs);
  }
  await ports.networks.reconcile(live);
  // A crash may have come between a change of networks and that of the files that tell the container of it.
  for (const id of live.keys()) refreshFiles(ports, table.get(id)!.record);
  await sweepSources(ports).catch((error: unknown) =>
    ports.log.error(`cannot take down what a crash left: ${messageOf(error)}`),
  );
  const pins = table.all().flatMap(({ record }) => imagePins(record).map(({ key }) => key));
  await ports.snapshots.recover(new Set([...table.all().map((entry) => entry.record.id), ...pins]));
  for (const id of listFolder(join(dataRoot, "containers"))) {
    if (table.get(id) === undefined) rmSync(join(dataRoot, "containers", id), { recursive: true, force: true });
  }

  for (const entry of table.all()) {
    const { record } = entry;
    // A create that died between its record and its answer, or a --rm whose removal did.
    const goesWithItsExit = record.hostConfig.AutoRemove && record.restartWanted !== true;
    if (record.pending || (record.state.status === "exited" && goesWithItsExit)) {
      await lifecycle.remove(entry, { force: true, volumes: true });
    } else if (!ports.snapshots.has(record.id)) {
      ports.log.error("the files of a container are gone: it can't be started any more", { container: record.id });
    }
  }
  await ports.shippedLogs.resume(table.all().map(({ record }) => record));
  await lifecycle.quiet();
}

/** Names of the volumes that running containers have, by the container. */
function volumesInUse(table: ContainerTable): ReadonlyMap<string, readonly string[]> {
  const running = table.all().filter(({ record }) => record.state.status === "running");
  return new Map(running.map(({ record }) => [record.id, record.mounts.flatMap(volumeNames)]));
}

function volumeNames({ type, name }: ResolvedMount): readonly string[] {
  return type === "volume" && name !== undefined ? [name] : [];
}

/** Starts, at boot, what its restart policy wants up. */
export function revive(ports: ContainerPorts, table: ContainerTable, lifecycle: Lifecycle): void {
  for (const entry of table.all()) {
    if (entry.record.state.status === "running" || entry.transient.restarting || !shouldRevive(entry.record)) continue;
    void lifecycle
      .revive(entry)
      .catch((error: unknown) =>
        ports.log.error(`cannot start again: ${messageOf(error)}`, { container: entry.record.id }),
      );
  }
}

function liveSandbox(
  ports: ContainerPorts,
  table: ContainerTable,
  record: ContainerRecord,
  state: RunningState,
): LiveSandbox {
  return {
    containerName: record.name,
    hostname: record.config.Hostname,
    networks: state.networks,
    ports: state.ports,
    links: linkedPorts(table, record),
    dns: chosenDns(ports, record),
    hasResolver: state.hasResolver,
  };
}

function listFolder(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : [];
}
