import { GantryError } from "../base/errors.ts";
import type {
  ContainerConfig,
  ContainerCreateRequest,
  ContainerUpdateRequest,
  DeviceMapping,
  DeviceRequest,
  EndpointIpamConfig,
  EndpointSettings,
  HealthConfig,
  HostConfig,
  LogConfig,
  Mount,
  PortBinding,
  Propagation,
  Resources,
  RestartPolicy,
  ThrottleDevice,
  Ulimit,
  WeightDevice,
} from "./container.ts";
import { decodeJson } from "./decode.ts";
import * as go from "./shape.ts";

/** A string that the domain checks against its own list of words. */
const word = <T extends string>() => go.text as go.Shape<string> as unknown as go.Shape<T>;
const { text, flag, int, int64, uint16, uint64, list, map, optional, pointer } = go;

const emptyStruct = go.struct<Record<string, never>>("struct {}", {});
const texts = list(text);
const textMap = map(text);

const health = go.struct<HealthConfig>("container.HealthConfig", {
  Test: optional(texts),
  Interval: optional(int64),
  Timeout: optional(int64),
  Retries: optional(int),
  StartPeriod: optional(int64),
  StartInterval: optional(int64),
});

const configFields = {
  Hostname: text,
  Domainname: text,
  User: text,
  AttachStdin: flag,
  AttachStdout: flag,
  AttachStderr: flag,
  ExposedPorts: optional(map(emptyStruct)),
  Tty: flag,
  OpenStdin: flag,
  StdinOnce: flag,
  Env: texts,
  Cmd: go.words,
  Healthcheck: optional(health),
  ArgsEscaped: optional(flag),
  Image: text,
  Volumes: map(emptyStruct),
  WorkingDir: text,
  Entrypoint: go.words,
  NetworkDisabled: optional(flag),
  MacAddress: optional(text),
  OnBuild: texts,
  Labels: textMap,
  StopSignal: optional(text),
  StopTimeout: optional(int),
  Shell: optional(go.words),
} satisfies { [K in keyof ContainerConfig]-?: go.Shape<ContainerConfig[K]> };

const throttle = list(go.struct<ThrottleDevice>("blkiodev.ThrottleDevice", { Path: text, Rate: uint64 }));

const resourceFields = {
  CpuShares: int64,
  Memory: int64,
  NanoCpus: int64,
  CgroupParent: text,
  BlkioWeight: uint16,
  BlkioWeightDevice: list(go.struct<WeightDevice>("blkiodev.WeightDevice", { Path: text, Weight: uint16 })),
  BlkioDeviceReadBps: throttle,
  BlkioDeviceWriteBps: throttle,
  BlkioDeviceReadIOps: throttle,
  BlkioDeviceWriteIOps: throttle,
  CpuPeriod: int64,
  CpuQuota: int64,
  CpuRealtimePeriod: int64,
  CpuRealtimeRuntime: int64,
  CpusetCpus: text,
  CpusetMems: text,
  Devices: list(
    go.struct<DeviceMapping>("container.DeviceMapping", {
      PathOnHost: text,
      PathInContainer: text,
      CgroupPermissions: text,
    }),
  ),
  DeviceCgroupRules: texts,
  DeviceRequests: list(
    go.struct<DeviceRequest>("container.DeviceRequest", {
      Driver: optional(text),
      Count: optional(int),
      DeviceIDs: texts,
      Capabilities: list(list(text) as go.Shape<string[]>),
      Options: textMap,
    }),
  ),
  MemoryReservation: int64,
  MemorySwap: int64,
  MemorySwappiness: pointer(int64),
  OomKillDisable: pointer(flag),
  PidsLimit: pointer(int64),
  Ulimits: list(go.struct<Ulimit>("units.Ulimit", { Name: text, Soft: int64, Hard: int64 })),
  CpuCount: int64,
  CpuPercent: int64,
  IOMaximumIOps: uint64,
  IOMaximumBandwidth: uint64,
} satisfies { [K in keyof Resources]-?: go.Shape<Resources[K]> };

const mount = go.struct<Mount>("mount.Mount", {
  Type: word<Mount["Type"]>(),
  Source: optional(text),
  Target: text,
  ReadOnly: optional(flag),
  Consistency: optional(text),
  BindOptions: optional(
    go.struct<NonNullable<Mount["BindOptions"]>>("mount.BindOptions", {
      Propagation: optional(word<Propagation>()),
      NonRecursive: optional(flag),
      CreateMountpoint: optional(flag),
      ReadOnlyNonRecursive: optional(flag),
      ReadOnlyForceRecursive: optional(flag),
    }),
  ),
  VolumeOptions: optional(
    go.struct<NonNullable<Mount["VolumeOptions"]>>("mount.VolumeOptions", {
      NoCopy: optional(flag),
      Labels: optional(textMap),
      DriverConfig: optional(
        go.struct<{ Name?: string; Options?: Record<string, string> | null }>("mount.Driver", {
          Name: optional(text),
          Options: optional(textMap),
        }),
      ),
      Subpath: optional(text),
    }),
  ),
  ImageOptions: optional(go.struct<{ Subpath?: string }>("mount.ImageOptions", { Subpath: optional(text) })),
  TmpfsOptions: optional(
    go.struct<NonNullable<Mount["TmpfsOptions"]>>("mount.TmpfsOptions", {
      SizeBytes: optional(int64),
      Mode: optional(go.uint32),
      Options: optional(list(list(text) as go.Shape<string[]>)),
    }),
  ),
});

const portBinding = go.struct<PortBinding>("nat.PortBinding", { HostIp: text, HostPort: text });

const restartPolicy = go.struct<RestartPolicy>("container.RestartPolicy", {
  Name: word<RestartPolicy["Name"]>(),
  MaximumRetryCount: int,
});

/** The body of POST /containers/{id}/update. */
export const updateBody = go.struct<ContainerUpdateRequest>("container.UpdateConfig", {
  ...resourceFields,
  RestartPolicy: restartPolicy,
});

/** The config alone, as POST /commit takes it. */
export const containerConfig = go.struct<ContainerConfig>("container.Config", configFields);

const hostConfig = go.struct<HostConfig>("container.HostConfig", {
  Binds: texts,
  ContainerIDFile: text,
  LogConfig: go.struct<LogConfig>("container.LogConfig", { Type: text, Config: textMap }),
  NetworkMode: text,
  PortBindings: map(list(portBinding)),
  RestartPolicy: restartPolicy,
  AutoRemove: flag,
  VolumeDriver: text,
  VolumesFrom: texts,
  ConsoleSize: go.pair,
  Annotations: optional(textMap),
  CapAdd: go.words,
  CapDrop: go.words,
  CgroupnsMode: text,
  Dns: texts,
  DnsOptions: texts,
  DnsSearch: texts,
  ExtraHosts: texts,
  GroupAdd: texts,
  IpcMode: text,
  Cgroup: text,
  Links: texts,
  OomScoreAdj: int,
  PidMode: text,
  Privileged: flag,
  PublishAllPorts: flag,
  ReadonlyRootfs: flag,
  SecurityOpt: texts,
  StorageOpt: optional(textMap),
  Tmpfs: optional(textMap),
  UTSMode: text,
  UsernsMode: text,
  ShmSize: int64,
  Sysctls: optional(textMap),
  Runtime: optional(text),
  Isolation: text,
  ...resourceFields,
  Mounts: optional(list(mount)),
  MaskedPaths: texts,
  ReadonlyPaths: texts,
  Init: pointer(flag),
});

/** Also of the requests that join a container to a network. */
export const endpointSettings = go.struct<EndpointSettings>("network.EndpointSettings", {
  IPAMConfig: pointer(
    go.struct<EndpointIpamConfig>("network.EndpointIPAMConfig", {
      IPv4Address: optional(text),
      IPv6Address: optional(text),
      LinkLocalIPs: optional(texts),
    }),
  ),
  Links: texts,
  Aliases: texts,
  MacAddress: text,
  DriverOpts: textMap,
  GwPriority: optional(int),
  NetworkID: text,
  EndpointID: text,
  Gateway: text,
  IPAddress: text,
  IPPrefixLen: int,
  IPv6Gateway: text,
  GlobalIPv6Address: text,
  GlobalIPv6PrefixLen: int,
  DNSNames: texts,
});

interface CreateBody extends ContainerConfig {
  HostConfig: HostConfig;
  NetworkingConfig: { EndpointsConfig: Record<string, EndpointSettings | null> | null };
}

/** The body of POST /containers/create as it comes. */
export const createBody = go.struct<CreateBody>("container.CreateRequest", {
  ...configFields,
  HostConfig: hostConfig,
  NetworkingConfig: go.struct<CreateBody["NetworkingConfig"]>("network.NetworkingConfig", {
    EndpointsConfig: map(pointer(endpointSettings)),
  }),
});

/** Reads the body of POST /containers/create into a complete request. Throws invalid. */
export function decodeCreateRequest(document: string): ContainerCreateRequest {
  const { HostConfig: host, NetworkingConfig, ...Config } = decodeJson(createBody, document);
  if (!names(Config)) {
    throw new GantryError("invalid", "config cannot be empty in order to create a container");
  }
  return {
    Config,
    HostConfig: { ...host, NetworkMode: host.NetworkMode === "" ? "default" : host.NetworkMode },
    NetworkingConfig: { EndpointsConfig: NetworkingConfig.EndpointsConfig ?? {} },
  };
}

/** True if the client said anything about the process at all; an image is the least that it needs. */
function names(config: ContainerConfig): boolean {
  return Object.values(config).some((value) => value !== "" && value !== false && value !== null);
}
