import { cpus, hostname } from "node:os";
import type { RegistryIndex, SystemInfo, VersionInfo } from "../api/system.ts";
import { API_VERSION, MIN_API_VERSION } from "../api/version.ts";
import type { ContainerController } from "../containers/controller.ts";
import { LOG_DRIVERS } from "../containers/log-options.ts";
import type { EventBus } from "../events/bus.ts";
import type { ImageRegistry } from "../images/image.ts";
import { maskProxy } from "../remote/proxy.ts";
import type { OciRuntime } from "../runtime/process.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import type { VolumeStore } from "../volumes/volume.ts";
import { type Host, isForwarding, openDescriptors } from "./host.ts";
import type { EngineConfig } from "./options.ts";
import type { EngineSystem } from "./ports.ts";
import { remoteSettings } from "./remote-settings.ts";

export interface SystemPorts {
  readonly engineId: string;
  readonly engineVersion: string;
  readonly host: Host;
  /** As the default runtime says it. */
  readonly runtimeVersion: string;
  readonly config: () => EngineConfig;
  readonly runtimes: () => ReadonlyMap<string, OciRuntime>;
  readonly initPath: string | undefined;
  readonly containers: Pick<ContainerController, "counts">;
  readonly images: Pick<ImageRegistry, "list">;
  readonly snapshots: Pick<Snapshotter, "driver">;
  readonly volumes: Pick<VolumeStore, "drivers">;
  readonly events: EventBus;
}

export function engineSystem(ports: SystemPorts): EngineSystem {
  return { version: () => versionInfo(ports), info: () => systemInfo(ports) };
}

function versionInfo({ engineVersion, host, runtimeVersion, config }: SystemPorts): VersionInfo {
  const shared = {
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    GitCommit: "",
    GoVersion: "",
    Os: "linux",
    Arch: host.goArch,
    KernelVersion: host.kernelVersion,
    BuildTime: "",
  };
  return {
    Platform: { Name: "Gantry" },
    Components: [
      { Name: "Engine", Version: engineVersion, Details: { ...shared, Experimental: "false", Node: process.version } },
      { Name: config().defaultRuntime, Version: runtimeVersion, Details: { GitCommit: "" } },
    ],
    Version: engineVersion,
    ...shared,
  };
}

async function systemInfo(ports: SystemPorts): Promise<SystemInfo> {
  const { host, runtimes } = ports;
  const config = ports.config();
  const { proxies } = remoteSettings(config, process.env);
  const { running, paused, stopped } = ports.containers.counts();
  const has = (controller: string) => host.controllers.has(controller);
  const [memory, cpu, cpuset, pids] = [has("memory"), has("cpu"), has("cpuset"), has("pids")];
  const forwarding = isForwarding();
  return {
    ID: ports.engineId,
    Containers: running + paused + stopped,
    ContainersRunning: running,
    ContainersPaused: paused,
    ContainersStopped: stopped,
    Images: (await ports.images.list({})).length,
    Driver: ports.snapshots.driver,
    DriverStatus: [],
    Plugins: {
      Volume: await ports.volumes.drivers(),
      Network: ["bridge", "host", "ipvlan", "macvlan", "null"],
      Authorization: null,
      // `none` is a word for having none.
      Log: LOG_DRIVERS.filter((name) => name !== "none"),
    },
    MemoryLimit: memory,
    SwapLimit: host.swapLimit,
    CpuCfsPeriod: cpu,
    CpuCfsQuota: cpu,
    CPUShares: cpu,
    CPUSet: cpuset,
    PidsLimit: pids,
    IPv4Forwarding: forwarding,
    Debug: config.debug,
    NFd: openDescriptors(),
    OomKillDisable: memory && host.cgroupVersion === "1",
    NGoroutines: process.getActiveResourcesInfo().length,
    SystemTime: new Date().toISOString(),
    LoggingDriver: config.logDriver,
    CgroupDriver: "cgroupfs",
    CgroupVersion: host.cgroupVersion,
    NEventsListener: ports.events.listeners,
    KernelVersion: host.kernelVersion,
    OperatingSystem: host.operatingSystem,
    OSVersion: host.osVersion,
    OSType: "linux",
    Architecture: host.machine,
    IndexServerAddress: config.defaultRegistry === "docker.io" ? HUB_INDEX : config.defaultRegistry,
    RegistryConfig: registryConfig(config),
    NCPU: cpus().length,
    MemTotal: host.memoryBytes,
    GenericResources: null,
    DockerRootDir: config.dataRoot,
    HttpProxy: maskProxy(proxies.http),
    HttpsProxy: maskProxy(proxies.https),
    NoProxy: proxies.exceptions,
    Name: hostname(),
    Labels: [...config.labels],
    ExperimentalBuild: false,
    ServerVersion: ports.engineVersion,
    Runtimes: Object.fromEntries(
      Array.from(runtimes().values(), ({ name, path, args }) => [
        name,
        { path, ...(args.length > 0 && { runtimeArgs: [...args] }) },
      ]),
    ),
    DefaultRuntime: config.defaultRuntime,
    Swarm: {
      NodeID: "",
      NodeAddr: "",
      LocalNodeState: "inactive",
      ControlAvailable: false,
      Error: "",
      RemoteManagers: null,
    },
    LiveRestoreEnabled: config.liveRestore,
    Isolation: "",
    InitBinary: ports.initPath?.split("/").at(-1) ?? "",
    ContainerdCommit: { ID: "" },
    RuncCommit: { ID: ports.runtimeVersion },
    InitCommit: { ID: "" },
    SecurityOptions: securityOptions(config),
    ...(config.defaultAddressPools.length > 0 && {
      DefaultAddressPools: config.defaultAddressPools.map(({ base, size }) => ({ Base: base, Size: size })),
    }),
    CDISpecDirs: null,
    Warnings: warnings(config, { memory, swap: host.swapLimit, cpu, pids, forwarding }),
  };
}

function securityOptions(config: EngineConfig): string[] {
  const profile = config.seccompProfile === "" ? "builtin" : config.seccompProfile;
  const options = [`name=seccomp,profile=${profile}`, "name=cgroupns"];
  return config.noNewPrivileges ? [...options, "name=no-new-privileges"] : options;
}

function warnings(config: EngineConfig, can: Readonly<Record<string, boolean>>): string[] | null {
  const open = config.hosts.filter((host) => host.startsWith("tcp://") && !config.tlsVerify);
  const found = [
    ...open.map((host) => `WARNING: API is accessible on ${host} without client certificates: it gives root access`),
    ...(can.memory ? [] : ["WARNING: No memory limit support"]),
    ...(can.swap ? [] : ["WARNING: No swap limit support"]),
    ...(can.cpu ? [] : ["WARNING: No cpu cfs quota support"]),
    ...(can.pids ? [] : ["WARNING: No pids limit support"]),
    ...(can.forwarding ? [] : ["WARNING: IPv4 forwarding is disabled"]),
  ];
  return found.length === 0 ? null : found;
}

const HUB_INDEX = "https://index.docker.io/v1/";

function registryConfig(config: EngineConfig): SystemInfo["RegistryConfig"] {
  const mirrors = [...(config.registries["docker.io"]?.mirrors ?? []), ...config.registryMirrors];
  const isRange = (name: string) => /\/\d+$/.test(name);
  const hub: RegistryIndex = { Name: "docker.io", Mirrors: mirrors, Secure: true, Official: true };
  const insecure = config.insecureRegistries.filter((name) => !isRange(name));
  const ruled = Object.keys(config.registries).filter((name) => name !== "docker.io");
  const named = [...new Set([...insecure, ...ruled])].map((name): [string, RegistryIndex] => {
    const rule = config.registries[name];
    const isSecure = !insecure.includes(name) && rule?.insecure !== true;
    return [name, { Name: name, Mirrors: [...(rule?.mirrors ?? [])], Secure: isSecure, Official: false }];
  });
  return {
    InsecureRegistryCIDRs: ["::1/128", "127.0.0.0/8", ...config.insecureRegistries.filter(isRange)],
    IndexConfigs: Object.fromEntries([["docker.io", hub], ...named]),
    Mirrors: mirrors,
  };
}
