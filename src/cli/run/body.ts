import type { ContainerConfig, ContainerCreateRequest, HostConfig, RestartPolicy } from "../../api/container.ts";
import { parseUlimit } from "../../base/units.ts";
import type { ParsedFlags } from "../flags/parse.ts";
import { cutAt } from "./cut-at.ts";
import { parseBytesRate, parseDevices, parseGpus, parseOperationsRate, parseWeight } from "./devices.ts";
import { pairs, readEnvironment, readLabels } from "./environment.ts";
import { onFailureLabel, parseHealth } from "./health.ts";
import { parseMount, parseVolumes } from "./mounts.ts";
import { checkMac, parseNetworking } from "./networks.ts";
import { parsePorts } from "./ports.ts";
import { parseSecurity } from "./security.ts";

/** The body of POST /containers/create: the configuration's fields lie beside HostConfig and NetworkingConfig. */
export type CreateBody = ContainerConfig & Pick<ContainerCreateRequest, "HostConfig" | "NetworkingConfig">;

/** Turns the flags and arguments of `run` or `create` into the create request, as Docker's client does. */
export function createBody(flags: ParsedFlags, args: readonly string[]): CreateBody {
  if (flags.text("mac-address") !== "") checkMac(flags.text("mac-address").trim());
  const swappiness = flags.int("memory-swappiness");
  if (swappiness !== -1 && (swappiness < 0 || swappiness > 100)) {
    throw new Error(`invalid value: ${swappiness}. Valid memory swappiness range is 0-100`);
  }
  const volumes = parseVolumes(flags.list("volume"));
  const ports = parsePorts(flags.list("publish"), flags.list("expose"));
  const networking = parseNetworking(flags);
  return {
    ...config(flags, args, volumes.anonymous, ports.exposed),
    HostConfig: hostConfig(flags, volumes.binds, ports.bindings, networking.mode),
    NetworkingConfig: { EndpointsConfig: networking.endpoints },
  };
}

function config(
  flags: ParsedFlags,
  args: readonly string[],
  volumes: ContainerConfig["Volumes"],
  exposed: NonNullable<ContainerConfig["ExposedPorts"]>,
): ContainerConfig {
  const streams = flags.list("attach");
  const interactive = flags.bool("interactive");
  const attachStdin = interactive || streams.includes("stdin");
  const health = parseHealth(flags);
  const environment = readEnvironment(flags.list("env-file"), flags.list("env"));
  return {
    Hostname: flags.text("hostname"),
    Domainname: flags.text("domainname"),
    User: flags.text("user"),
    AttachStdin: attachStdin,
    AttachStdout: streams.length === 0 || streams.includes("stdout"),
    AttachStderr: streams.length === 0 || streams.includes("stderr"),
    ...(Object.keys(exposed).length === 0 ? {} : { ExposedPorts: exposed }),
    Tty: flags.bool("tty"),
    OpenStdin: interactive,
    StdinOnce: interactive && attachStdin,
    Env: environment.length === 0 ? null : environment,
    Cmd: args.length > 1 ? args.slice(1) : null,
    ...(health === undefined ? {} : { Healthcheck: health }),
    Image: args[0] ?? "",
    Volumes: volumes,
    WorkingDir: flags.text("workdir"),
    Entrypoint: flags.changed("entrypoint") ? [flags.text("entrypoint")] : null,
    OnBuild: null,
    Labels: { ...readLabels(flags.list("label-file"), flags.list("label")), ...onFailureLabel(flags) },
    ...(flags.text("stop-signal") === "" ? {} : { StopSignal: flags.text("stop-signal") }),
    ...(flags.changed("stop-timeout") ? { StopTimeout: flags.int("stop-timeout") } : {}),
  };
}

function hostConfig(
  flags: ParsedFlags,
  binds: string[] | null,
  bindings: HostConfig["PortBindings"],
  networkMode: string,
): HostConfig {
  const list = (name: string): string[] | null => (flags.list(name).length === 0 ? null : [...flags.list(name)]);
  const namespaces = namespaceModes(flags);
  const devices = parseDevices(flags.list("device"));
  const gpus = flags.list("gpus").map(parseGpus);
  const requests = [...gpus, ...devices.requests];
  const security = parseSecurity(flags.list("security-opt"));
  const mounts = flags.list("mount").map(parseMount);
  const tmpfs = Object.fromEntries(
    flags
      .list("tmpfs")
      .map((text) => cutAt(text, ":"))
      .map(([path, options]) => [path, options ?? ""]),
  );
  const restart = parseRestart(flags.text("restart"));
  if (flags.bool("rm") && restart.Name !== "no" && restart.Name !== "") {
    throw new Error("conflicting options: cannot specify both --restart and --rm");
  }
  return {
    Binds: binds,
    ContainerIDFile: flags.text("cidfile"),
    LogConfig: logConfig(flags),
    NetworkMode: networkMode,
    PortBindings: bindings,
    RestartPolicy: restart,
    AutoRemove: flags.bool("rm"),
    VolumeDriver: flags.text("volume-driver"),
    VolumesFrom: list("volumes-from"),
    ConsoleSize: [0, 0],
    ...(flags.changed("annotation") ? { Annotations: pairs(flags.list("annotation")) } : {}),
    ...capabilities(flags.list("cap-add"), flags.list("cap-drop")),
    ...namespaces,
    Dns: [...flags.list("dns")],
    DnsOptions: [...flags.list("dns-option")],
    DnsSearch: [...flags.list("dns-search")],
    ExtraHosts: list("add-host"),
    GroupAdd: list("group-add"),
    IpcMode: flags.text("ipc"),
    Cgroup: "",
    Links: list("link"),
    OomScoreAdj: flags.int("oom-score-adj"),
    Privileged: flags.bool("privileged"),
    PublishAllPorts: flags.bool("publish-all"),
    ReadonlyRootfs: flags.bool("read-only"),
    SecurityOpt: security.options,
    ...(flags.changed("storage-opt") ? { StorageOpt: storageOptions(flags) } : {}),
    ...(flags.changed("tmpfs") ? { Tmpfs: tmpfs } : {}),
    ShmSize: flags.int("shm-size"),
    ...(flags.changed("sysctl") ? { Sysctls: pairs(flags.list("sysctl")) } : {}),
    ...(flags.text("runtime") === "" ? {} : { Runtime: flags.text("runtime") }),
    Isolation: flags.text("isolation"),
    ...(mounts.length === 0 ? {} : { Mounts: mounts }),
    MaskedPaths: security.maskedPaths,
    ReadonlyPaths: security.readonlyPaths,
    ...(flags.changed("init") ? { Init: flags.bool("init") } : {}),
    ...resources(flags),
    Devices: devices.mappings,
    DeviceRequests: requests.length === 0 ? null : requests,
  };
}

function resources(flags: ParsedFlags): Omit<HostConfig, keyof Omit<HostConfig, ResourceKey>> {
  const rates = (name: string): ReturnType<typeof parseBytesRate>[] => flags.list(name).map(parseBytesRate);
  const operations = (name: string): ReturnType<typeof parseBytesRate>[] => flags.list(name).map(parseOperationsRate);
  const rules = flags.list("device-cgroup-rule");
  return {
    CpuShares: flags.int("cpu-shares"),
    Memory: flags.int("memory"),
    NanoCpus: flags.int("cpus"),
    CgroupParent: flags.text("cgroup-parent"),
    BlkioWeight: flags.int("blkio-weight"),
    BlkioWeightDevice: flags.list("blkio-weight-device").map(parseWeight),
    BlkioDeviceReadBps: rates("device-read-bps"),
    BlkioDeviceWriteBps: rates("device-write-bps"),
    BlkioDeviceReadIOps: operations("device-read-iops"),
    BlkioDeviceWriteIOps: operations("device-write-iops"),
    CpuPeriod: flags.int("cpu-period"),
    CpuQuota: flags.int("cpu-quota"),
    CpuRealtimePeriod: flags.int("cpu-rt-period"),
    CpuRealtimeRuntime: flags.int("cpu-rt-runtime"),
    CpusetCpus: flags.text("cpuset-cpus"),
    CpusetMems: flags.text("cpuset-mems"),
    DeviceCgroupRules: rules.length === 0 ? null : [...rules],
    MemoryReservation: flags.int("memory-reservation"),
    MemorySwap: flags.int("memory-swap"),
    MemorySwappiness: flags.int("memory-swappiness"),
    OomKillDisable: flags.bool("oom-kill-disable"),
    PidsLimit: flags.int("pids-limit"),
    Ulimits: ulimits(flags),
    CpuCount: flags.int("cpu-count"),
    CpuPercent: flags.int("cpu-percent"),
    IOMaximumIOps: flags.int("io-maxiops"),
    IOMaximumBandwidth: flags.int("io-maxbandwidth"),
  };
}

type ResourceKey =
  | "CpuShares"
  | "Memory"
  | "NanoCpus"
  | "CgroupParent"
  | "BlkioWeight"
  | "BlkioWeightDevice"
  | "BlkioDeviceReadBps"
  | "BlkioDeviceWriteBps"
  | "BlkioDeviceReadIOps"
  | "BlkioDeviceWriteIOps"
  | "CpuPeriod"
  | "CpuQuota"
  | "CpuRealtimePeriod"
  | "CpuRealtimeRuntime"
  | "CpusetCpus"
  | "CpusetMems"
  | "DeviceCgroupRules"
  | "MemoryReservation"
  | "MemorySwap"
  | "MemorySwappiness"
  | "OomKillDisable"
  | "PidsLimit"
  | "Ulimits"
  | "CpuCount"
  | "CpuPercent"
  | "IOMaximumIOps"
  | "IOMaximumBandwidth";

function ulimits(flags: ParsedFlags): NonNullable<HostConfig["Ulimits"]> {
  // Of two for the same limit the later one counts.
  const byName = new Map(
    flags
      .list("ulimit")
      .map(parseUlimit)
      .map((limit) => [limit.name, limit]),
  );
  return [...byName.values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((limit) => ({ Name: limit.name, Hard: limit.hard, Soft: limit.soft }));
}

function namespaceModes(flags: ParsedFlags): Pick<HostConfig, "PidMode" | "UTSMode" | "UsernsMode" | "CgroupnsMode"> {
  const pid = flags.text("pid");
  if (pid !== "" && pid !== "host" && !/^container:./.test(pid)) throw new Error("--pid: invalid PID mode");
  if (!["", "host"].includes(flags.text("uts"))) throw new Error("--uts: invalid UTS mode");
  if (!["", "host"].includes(flags.text("userns"))) throw new Error("--userns: invalid USER mode");
  if (!["", "host", "private"].includes(flags.text("cgroupns"))) throw new Error("--cgroupns: invalid CGROUP mode");
  return {
    PidMode: pid,
    UTSMode: flags.text("uts"),
    UsernsMode: flags.text("userns"),
    CgroupnsMode: flags.text("cgroupns"),
  };
}

/** `no`, `always`, `unless-stopped` or `on-failure[:count]`; which names there are is the engine's to say. */
export function parseRestart(text: string): RestartPolicy {
  if (text === "") return { Name: "", MaximumRetryCount: 0 };
  const [name, count] = cutAt(text, ":");
  if (count !== undefined && name === "")
    throw new Error("invalid restart policy format: no policy provided before colon");
  if (count !== undefined && count !== "" && !/^[+-]?\d+$/.test(count)) {
    throw new Error("invalid restart policy format: maximum retry count must be an integer");
  }
  return { Name: name as RestartPolicy["Name"], MaximumRetryCount: Number(count ?? 0) };
}

function logConfig(flags: ParsedFlags): HostConfig["LogConfig"] {
  const driver = flags.text("log-driver");
  const options = flags.list("log-opt");
  if (driver === "none" && options.length > 0) throw new Error("invalid logging opts for driver none");
  return { Type: driver, Config: pairs(options) };
}

function storageOptions(flags: ParsedFlags): Record<string, string> {
  for (const option of flags.list("storage-opt")) {
    if (!option.includes("=")) throw new Error("invalid storage option");
  }
  return pairs(flags.list("storage-opt"));
}

/** Capabilities in the kernel's names; `ALL` stands for every other, and what is added isn't dropped. */
function capabilities(add: readonly string[], drop: readonly string[]): Pick<HostConfig, "CapAdd" | "CapDrop"> {
  const normal = (values: readonly string[]): string[] => {
    const names = values
      .map((value) => value.trim().toUpperCase())
      .map((name) => (name === "ALL" || name.startsWith("CAP_") ? name : `CAP_${name}`));
    return [...new Set(names)].sort();
  };
  const added = normal(add);
  const dropped = normal(drop).filter((name) => !added.includes(name));
  return { CapAdd: added.length === 0 ? null : added, CapDrop: dropped.length === 0 ? null : dropped };
}
