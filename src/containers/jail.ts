import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { GantryError, isKind } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { detachMount, MS, mount } from "../kernel/mount.ts";
import type { CompiledSeccomp } from "../runtime/compiled-seccomp.ts";
import { bundleFolder } from "./bundle.ts";
import { etcFilesIn, writeEtcFiles } from "./files.ts";
import { type Joined, joinNetworks } from "./joining.ts";
import { linkedPorts, resolveLinks } from "./link.ts";
import { logTargetOf } from "./log.ts";
import { openSources } from "./mount-sources.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerRecord } from "./record.ts";
import { shmFolder, specOf } from "./spec-of.ts";
import type { ContainerTable } from "./table.ts";
import { containerFolder } from "./view.ts";

/** A jail that is made and waits for its process to be let go. */
export interface Jail {
  readonly pid: number;
  readonly network: Joined;
  readonly warnings: readonly string[];
  /** Takes the jail down again: for a start that fails later. */
  readonly undo: AsyncDisposableStack;
}

/**
 * Mounts the root filesystem, makes the network namespace and its endpoints, writes the bundle and has the runtime
 * make the jail. Each step puts its undo on a stack; a failure unwinds it and leaves nothing.
 */
export async function makeJail(
  ports: ContainerPorts,
  table: ContainerTable,
  seccomp: CompiledSeccomp,
  record: ContainerRecord,
): Promise<Jail> {
  const { id } = record;
  const settings = ports.settings();
  const bundle = bundleFolder(settings.execRoot, id);
  const rootfs = join(bundle, "rootfs");
  await using undo = new AsyncDisposableStack();

  mkdirSync(rootfs, { recursive: true, mode: 0o700 });
  undo.defer(() => rm(bundle, { recursive: true, force: true }));
  await ports.snapshots.mount(id, rootfs, { volatile: record.hostConfig.AutoRemove });
  undo.defer(() => ports.snapshots.unmount(rootfs));
  failpoint("containers.start.mounted");

  undo.defer(() => ports.volumes.release(id));
  // The runtime takes copies of them into the jail.
  await using sources = await openSources(ports, record, id, { placed: true });

  const links = resolveLinks(table, record);
  const network = await joinNetworks(ports, record, undo);
  ports.networks.link(id, linkedPorts(table, record));
  failpoint("containers.start.networked");

  const folder = containerFolder(settings.dataRoot, id);
  // It was made with the container; somebody who cleaned up may have taken it since.
  mkdirSync(folder, { recursive: true, mode: 0o710 });
  const files = etcFilesIn(folder);
  writeEtcFiles(files, {
    config: record.config,
    hostConfig: record.hostConfig,
    networks: network.networks,
    hasResolver: network.hasResolver,
    links,
    engineDns: settings.dns,
    hostGateways: ports.networks.hostGateways(),
  });
  const runtime = settings.runtimes.get(record.runtime === "" ? settings.defaultRuntime : record.runtime);
  if (runtime === undefined) throw new GantryError("invalid", `unknown or invalid runtime name: ${record.runtime}`);
  const shmPath = record.hostConfig.IpcMode === "shareable" ? shmFolder(settings.execRoot, id) : undefined;
  if (shmPath !== undefined) {
    mkdirSync(shmPath, { mode: 0o700 });
    mount("shm", shmPath, "tmpfs", MS.NOSUID | MS.NODEV | MS.NOEXEC, `mode=1777,size=${record.hostConfig.ShmSize}`);
    undo.defer(() => detachMount(shmPath));
  }
  const { spec, warnings } = specOf({
    record: withEnvironment(
      { ...record, mounts: sources.mounts },
      links.flatMap(({ environment }) => environment),
    ),
    table,
    settings,
    rootfs,
    files,
    netns: network.path,
    shmPath,
  });
  writeFileSync(join(bundle, "config.json"), JSON.stringify(seccomp.use(spec, runtime)), { mode: 0o600 });
  failpoint("containers.start.bundled");

  await ports.shippedLogs.begin(record);
  undo.defer(() => ports.shippedLogs.ended(id));
  const { pid } = await ports.runtime.create({
    id,
    bundle,
    runtime,
    terminal: record.config.Tty,
    openStdin: record.config.OpenStdin,
    stdinOnce: record.config.StdinOnce,
    log: logTargetOf(record, settings),
  });
  undo.defer(() => ports.runtime.delete(id));
  seccomp.learn(spec, runtime, id);
  failpoint("containers.start.created");
  return {
    pid,
    network,
    warnings,
    undo: undo.move(),
  };
}

/** The record as its process is to see it; what the user set wins. */
function withEnvironment(record: ContainerRecord, more: readonly string[]): ContainerRecord {
  if (more.length === 0) return record;
  return { ...record, config: { ...record.config, Env: [...more, ...(record.config.Env ?? [])] } };
}

/**
 * Takes down what a start made but for the network, whatever of it is there: after an exit, and at boot for what a
 * crash left.
 */
export async function sweepJail(ports: ContainerPorts, id: string): Promise<void> {
  const { execRoot } = ports.settings();
  const bundle = bundleFolder(execRoot, id);
  const shm = shmFolder(execRoot, id);
  if (existsSync(shm)) await detachMount(shm);
  await Promise.all([
    // A crash may have left the rest without a process.
    ports.runtime.delete(id).catch((error: unknown) => {
      if (!isKind(error, "not-found")) throw error;
    }),
    ports.snapshots.unmount(join(bundle, "rootfs")),
  ]);
  await ports.volumes.release(id);
  await rm(bundle, { recursive: true, force: true });
}
