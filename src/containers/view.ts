import { join } from "node:path";
import type {
  ContainerInspect,
  ContainerState,
  ContainerStatus,
  ContainerSummary,
  EndpointSettings,
  HostConfig,
  NetworkSettings,
  PortMap,
  PortSummary,
} from "../api/container.ts";
import { EMPTY_ENDPOINT } from "../api/endpoint.ts";
import { humanDuration } from "../base/units.ts";
import { etcFilesIn } from "./files.ts";
import { type HealthRecord, shownHealth } from "./health.ts";
import { toMountPoint } from "./mounts.ts";
import { type ContainerRecord, NEVER, type Transient } from "./record.ts";

/** What inspect and ps need beside the record. */
export interface ViewContext {
  readonly folder: string;
  readonly driver: string;
  readonly graphData: Record<string, string>;
  /** False when the name the container was made with now means another image, or none. */
  readonly imageNameStands: boolean;
  readonly networkIds: Readonly<Record<string, string>>;
  /** The container's links as they are shown. */
  readonly links: string[] | null;
  /** What links call it beside its own name. */
  readonly linkNames: readonly string[];
}

export function statusOf(record: ContainerRecord, transient: Transient): ContainerStatus {
  if (transient.removing) return "removing";
  if (transient.dead) return "dead";
  if (transient.restarting) return "restarting";
  if (record.state.status === "running") return record.state.paused ? "paused" : "running";
  return record.state.status;
}

function stateOf(record: ContainerRecord, transient: Transient): ContainerState {
  const { state } = record;
  const Status = statusOf(record, transient);
  const running = state.status === "running" || transient.restarting;
  return {
    Status,
    Running: running,
    Paused: Status === "paused",
    Restarting: transient.restarting,
    OOMKilled: state.status === "exited" && state.oomKilled,
    Dead: transient.dead,
    Pid: state.status === "running" ? state.pid : 0,
    ExitCode: state.status === "running" ? 0 : state.exitCode,
    Error: state.status === "running" ? "" : state.error,
    StartedAt: state.status === "created" ? NEVER : state.startedAt,
    FinishedAt: state.status === "exited" ? state.finishedAt : NEVER,
    ...shownHealth(record.health),
  };
}

/** The STATUS column of ps. */
function statusText(record: ContainerRecord, transient: Transient, nowMs = Date.now()): string {
  const ago = (time: string) => humanDuration(Math.max(0, nowMs - Date.parse(time)));
  const { state } = record;
  const status = statusOf(record, transient);
  if (status === "removing") return "Removal In Progress";
  if (status === "dead") return "Dead";
  switch (state.status) {
    case "running":
      return `Up ${ago(state.startedAt)}${state.paused ? " (Paused)" : healthNote(record.health)}`;
    case "exited":
      return `${status === "restarting" ? "Restarting" : "Exited"} (${state.exitCode}) ${ago(state.finishedAt)} ago`;
    case "created":
      return "Created";
  }
}

function healthNote(health: HealthRecord | undefined): string {
  if (health === undefined) return "";
  return ` (${health.status === "starting" ? "health: starting" : health.status})`;
}

const NO_FILES = { resolvConf: "", hostname: "", hosts: "" };

export function inspectOf(record: ContainerRecord, transient: Transient, context: ViewContext): ContainerInspect {
  const [path = "", ...args] = commandOf(record);
  // Made by the first start.
  const files = record.state.status === "created" ? NO_FILES : etcFilesIn(context.folder);
  return {
    Id: record.id,
    Created: record.created,
    Path: path,
    Args: args,
    State: stateOf(record, transient),
    Image: record.imageId,
    ResolvConfPath: files.resolvConf,
    HostnamePath: files.hostname,
    HostsPath: files.hosts,
    LogPath: logPathOf(record, context.folder),
    Name: `/${record.name}`,
    RestartCount: record.restartCount,
    Driver: context.driver,
    Platform: "linux",
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: "",
    ExecIDs: transient.execIds.size === 0 ? null : [...transient.execIds],
    HostConfig: { ...shownHostConfig(record.hostConfig), Links: context.links },
    GraphDriver: { Name: context.driver, Data: context.graphData },
    Mounts: record.mounts.filter((mount) => mount.type !== "tmpfs" || mount.from !== undefined).map(toMountPoint),
    Config: record.config,
    NetworkSettings: networkSettings(record, context),
    ...manifestOf(record),
  };
}

/** Shown of the one driver whose file is for others to read, once there is one. */
function logPathOf({ id, hostConfig, state }: ContainerRecord, folder: string): string {
  return hostConfig.LogConfig.Type === "json-file" && state.status !== "created" ? jsonLogPath(folder, id) : "";
}

/** Docker leaves out an init that nobody decided on. */
function shownHostConfig({ Init, ...shown }: HostConfig): HostConfig {
  return Init === undefined || Init === null ? shown : { ...shown, Init };
}

function commandOf(record: ContainerRecord): string[] {
  return [...(record.config.Entrypoint ?? []), ...(record.config.Cmd ?? [])];
}

function networkSettings(record: ContainerRecord, context: ViewContext): NetworkSettings {
  const running = record.state.status === "running" ? record.state : undefined;
  const networks = networksOf(record, context);
  const bridge = networks.bridge;
  return {
    Bridge: "",
    SandboxID: running === undefined ? "" : record.id,
    SandboxKey: running?.sandboxKey ?? "",
    Ports: running?.ports ?? {},
    HairpinMode: false,
    LinkLocalIPv6Address: "",
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: bridge?.EndpointID ?? "",
    Gateway: bridge?.Gateway ?? "",
    GlobalIPv6Address: bridge?.GlobalIPv6Address ?? "",
    GlobalIPv6PrefixLen: bridge?.GlobalIPv6PrefixLen ?? 0,
    IPAddress: bridge?.IPAddress ?? "",
    IPPrefixLen: bridge?.IPPrefixLen ?? 0,
    IPv6Gateway: bridge?.IPv6Gateway ?? "",
    MacAddress: bridge?.MacAddress ?? "",
    Networks: networks,
  };
}

/** Networks by name: what is connected while it runs, else what is wished for. */
function networksOf(record: ContainerRecord, context: ViewContext): Record<string, EndpointSettings> {
  if (record.state.status === "running") return { ...record.state.networks };
  const neverRan = record.state.status === "created";
  return Object.fromEntries(
    Object.entries(record.endpoints).map(([name, wanted]) => [
      name,
      { ...EMPTY_ENDPOINT, ...wanted, NetworkID: neverRan ? "" : (context.networkIds[name] ?? "") },
    ]),
  );
}

export function summaryOf(record: ContainerRecord, transient: Transient, context: ViewContext): ContainerSummary {
  const [path = "", ...args] = commandOf(record);
  const annotations = record.hostConfig.Annotations;
  return {
    Id: record.id,
    Names: [record.name, ...context.linkNames].map((name) => `/${name}`),
    Image: context.imageNameStands ? record.image : record.imageId,
    ImageID: record.imageId,
    Command: [path, ...args.map((arg) => (arg.includes(" ") ? `'${arg}'` : arg))].join(" "),
    Created: Math.floor(Date.parse(record.created) / 1000),
    Ports: record.state.status === "running" ? portsOf(record.state.ports) : [],
    Labels: record.config.Labels ?? {},
    State: statusOf(record, transient),
    Status: statusText(record, transient),
    HostConfig: {
      NetworkMode: record.hostConfig.NetworkMode,
      ...(annotations === undefined ? {} : { Annotations: annotations }),
    },
    NetworkSettings: { Networks: networksOf(record, context) },
    Mounts: record.mounts.filter((mount) => mount.type !== "tmpfs" || mount.from !== undefined).map(toMountPoint),
    ...manifestOf(record),
  };
}

function manifestOf({ imageManifest }: ContainerRecord): Pick<ContainerInspect, "ImageManifestDescriptor"> {
  return imageManifest === undefined ? {} : { ImageManifestDescriptor: imageManifest };
}

function portsOf(ports: PortMap): PortSummary[] {
  const rows: PortSummary[] = [];
  for (const [key, bindings] of Object.entries(ports)) {
    const [port, type = "tcp"] = key.split("/");
    const row = { PrivatePort: Number(port), Type: type };
    if (bindings === null || bindings.length === 0) rows.push(row);
    for (const binding of bindings ?? []) {
      rows.push({ IP: binding.HostIp, PrivatePort: row.PrivatePort, PublicPort: Number(binding.HostPort), Type: type });
    }
  }
  return rows;
}

/** Where a container's files lie under the data root. */
export function containerFolder(dataRoot: string, id: string): string {
  return join(dataRoot, "containers", id);
}

/** Where Docker's tools look for a container's log. */
export function jsonLogPath(folder: string, id: string): string {
  return join(folder, `${id}-json.log`);
}
