import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ContainerConfig, ExecConfig } from "../api/container.ts";
import { GantryError } from "../base/errors.ts";
import { cgroupAt, cgroupProcesses } from "../kernel/cgroup.ts";
import { type ControllerFolders, controllerFolders } from "../kernel/cgroup-files.ts";
import type { RuntimeSpec, SpecProcess } from "../oci/runtime-spec.ts";
import { bundleFolder } from "./bundle.ts";
import type { ConsoleSize } from "./controller.ts";
import { type EtcFiles, etcFilesIn } from "./files.ts";
import type { ContainerSettings } from "./ports.ts";
import type { ContainerRecord } from "./record.ts";
import { buildSpec } from "./spec/build.ts";
import { execProcess } from "./spec/exec.ts";
import type { EngineDefaults } from "./spec/input.ts";
import { joinedContainer } from "./spec/modes.ts";
import type { ContainerTable } from "./table.ts";
import { containerFolder } from "./view.ts";

interface SpecRequest {
  readonly record: ContainerRecord;
  readonly table: ContainerTable;
  readonly settings: ContainerSettings;
  readonly rootfs: string;
  readonly files: EtcFiles;
  readonly netns: string | undefined;
  readonly shmPath: string | undefined;
}

/** The runtime spec of a container that is about to start, what it joins of other containers included. */
export function specOf(request: SpecRequest): { readonly spec: RuntimeSpec; readonly warnings: readonly string[] } {
  const { record, table, settings } = request;
  const { hostConfig } = record;
  const peer = (mode: string, what: string) => joined(table, mode, what);
  const net = peer(hostConfig.NetworkMode, "network");
  const ipc = peer(hostConfig.IpcMode, "IPC");
  const pid = peer(hostConfig.PidMode, "PID");
  const uts = peer(hostConfig.UTSMode, "UTS");
  if (ipc !== undefined && ipc.record.hostConfig.IpcMode !== "shareable" && ipc.record.hostConfig.IpcMode !== "host") {
    throw new GantryError(
      "invalid",
      `cannot join IPC of a container ${ipc.record.id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`,
    );
  }
  return buildSpec({
    id: record.id,
    // Containers that share a network share its names as well.
    config: { ...record.config, ...joinedNames(table, record) },
    hostConfig,
    rootfs: request.rootfs,
    mounts: record.mounts.map((mount) => ({
      ...mount,
      options: mount.options.filter((option) => option !== "nocopy"),
      readonlyNonRecursive: mount.shallowReadonly ?? mount.from?.BindOptions?.ReadOnlyNonRecursive,
      readonlyForceRecursive: mount.from?.BindOptions?.ReadOnlyForceRecursive,
    })),
    files: net === undefined ? request.files : etcFilesIn(containerFolder(settings.dataRoot, net.record.id)),
    joined: { pid: pid?.ns("pid"), ipc: ipc?.ns("ipc"), net: net?.ns("net"), uts: uts?.ns("uts") },
    netns: request.netns,
    shmPath: ipc === undefined ? request.shmPath : shmFolder(settings.execRoot, ipc.record.id),
    defaults: defaultsOf(settings),
  });
}

/** The names of the container whose network it shares; empty for one with a network of its own. */
export function joinedNames(
  table: ContainerTable,
  { hostConfig }: ContainerRecord,
): Partial<Pick<ContainerConfig, "Hostname" | "Domainname">> {
  const name = joinedContainer(hostConfig.NetworkMode);
  if (name === undefined) return {};
  const { Hostname, Domainname } = table.find(name).record.config;
  return { Hostname, Domainname };
}

/** What the engine's configuration says of all containers. */
export function defaultsOf(settings: ContainerSettings): EngineDefaults {
  return {
    ulimits: settings.defaultUlimits,
    initPath: settings.initPath,
    init: settings.init,
    seccompProfile: settings.seccompProfile,
    cgroupParent: settings.cgroupParent,
    noNewPrivileges: settings.noNewPrivileges,
  };
}

interface Peer {
  readonly record: ContainerRecord;
  readonly ns: (name: string) => string;
}

function joined(table: ContainerTable, mode: string, what: string): Peer | undefined {
  if (!mode.startsWith("container:")) return undefined;
  const { record } = table.find(mode.slice("container:".length));
  const { state } = record;
  if (state.status !== "running") {
    throw new GantryError("conflict", `cannot join ${what} of a non running container: ${record.id}`);
  }
  return { record, ns: (name) => `/proc/${state.pid}/ns/${name}` };
}

/** The tmpfs that a container with shareable IPC has in common with those that join it. */
export function shmFolder(execRoot: string, id: string): string {
  return join(bundleFolder(execRoot, id), "shm");
}

/** The spec that a running container was made with. */
function writtenSpec(settings: ContainerSettings, id: string): RuntimeSpec {
  return JSON.parse(readFileSync(join(bundleFolder(settings.execRoot, id), "config.json"), "utf8")) as RuntimeSpec;
}

/** Pids of a running container's processes, as the host counts. */
export function processesOf(record: ContainerRecord, settings: ContainerSettings): number[] {
  const path = writtenSpec(settings, record.id).linux.cgroupsPath;
  return path === undefined ? [] : cgroupProcesses(cgroupAt(path));
}

/** Where the controllers of a running container's cgroup have their files. */
export function controllersOf(id: string, settings: ContainerSettings): ControllerFolders | undefined {
  const path = writtenSpec(settings, id).linux.cgroupsPath;
  return path === undefined ? undefined : controllerFolders(path);
}

/** A further process for a running container: its own spec's, with what the exec says otherwise. */
export function execProcessOf(
  settings: ContainerSettings,
  record: ContainerRecord,
  config: ExecConfig,
  size: ConsoleSize | undefined,
): SpecProcess {
  const rootfs = join(bundleFolder(settings.execRoot, record.id), "rootfs");
  return execProcess({ own: writtenSpec(settings, record.id).process, config, container: record, rootfs, size });
}
