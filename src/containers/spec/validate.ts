import { posix } from "node:path";
import type { ContainerConfig, ContainerCreateRequest, HealthConfig, HostConfig } from "../../api/container.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import { parseExtraHost } from "../files.ts";
import { ON_FAILURE_LABEL, onFailureOf } from "../health.ts";
import { checkLogOptions } from "../log-options.ts";
import { parseSignal } from "../signal.ts";
import { normalizeCapabilities } from "./capabilities.ts";
import { parseDeviceRule } from "./devices.ts";
import { type HostFacts, hostFacts } from "./host.ts";
import { settleLimits } from "./limits.ts";
import { isPrivate, joinedContainer } from "./modes.ts";
import { checkPorts } from "./ports.ts";
import { parseProfile } from "./seccomp.ts";
import { parseSecurityOptions } from "./security-options.ts";
import { checkSysctl } from "./sysctl.ts";
import { mergeTmpfsOptions } from "./tmpfs.ts";
import { checkUlimit } from "./ulimits.ts";

const MAX_HOSTNAME = 64;
/** Nanoseconds. */
const MIN_HEALTH_DURATION = 1_000_000;

function refuse(message: string): never {
  throw new GantryError("invalid", message);
}

/**
 * Checks what a create request says by itself, before anything is made: kind `invalid` with Docker's words. Returns
 * the warnings for the client about wishes that this host will not keep.
 */
export function checkRequest(
  request: Pick<ContainerCreateRequest, "Config" | "HostConfig">,
  settings: { readonly runtimes: ReadonlyMap<string, unknown> },
  host: HostFacts = hostFacts(),
): string[] {
  const { Config, HostConfig } = request;
  checkNetworkMode(Config, HostConfig);
  checkConfig(Config);
  checkHostConfig(HostConfig, host);
  const { warnings } = settleLimits(HostConfig, host);
  checkModes(HostConfig);
  checkSecurity(HostConfig);
  const { Type, Config: logOptions } = HostConfig.LogConfig;
  if (Type !== "") checkLogOptions(Type, logOptions ?? {});
  if (HostConfig.Runtime && !settings.runtimes.has(HostConfig.Runtime)) {
    refuse(`unknown or invalid runtime name: ${HostConfig.Runtime}`);
  }
  if (HostConfig.NetworkMode === "host" && Object.keys(HostConfig.PortBindings ?? {}).length > 0) {
    warnings.push("Published ports are discarded when using host network mode");
  }
  return warnings;
}

function checkNetworkMode(config: ContainerConfig, hostConfig: HostConfig): void {
  const { NetworkMode } = hostConfig;
  if (hostConfig.UTSMode === "host" && config.Hostname !== "") {
    refuse("conflicting options: hostname and the UTS mode");
  }
  if (NetworkMode === "host" && (hostConfig.Links ?? []).length > 0) {
    refuse(
      "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
    );
  }
  if (NetworkMode !== "container" && joinedContainer(NetworkMode) === undefined) return;
  if (!joinedContainer(NetworkMode)) {
    refuse("invalid network mode: invalid container format container:<name|id>");
  }
  const conflicts: readonly (readonly [boolean, string])[] = [
    [config.Hostname !== "", "hostname and the network mode"],
    [
      (hostConfig.Links ?? []).length > 0,
      "container type network can't be used with links. This would result in undefined behavior",
    ],
    [(hostConfig.Dns ?? []).length > 0, "dns and the network mode"],
    [(hostConfig.ExtraHosts ?? []).length > 0, "custom host-to-IP mapping and the network mode"],
    [
      Object.keys(hostConfig.PortBindings ?? {}).length > 0 || hostConfig.PublishAllPorts,
      "port publishing and the container type network mode",
    ],
    [Object.keys(config.ExposedPorts ?? {}).length > 0, "port exposing and the container type network mode"],
  ];
  for (const [conflict, text] of conflicts) if (conflict) refuse(`conflicting options: ${text}`);
}

function checkConfig(config: ContainerConfig): void {
  if (config.WorkingDir !== "" && !posix.isAbsolute(config.WorkingDir)) {
    refuse(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
  }
  if (config.StopSignal) parseSignal(config.StopSignal);
  for (const entry of config.Env ?? []) {
    if (entry === "" || entry.startsWith("=")) refuse(`invalid environment variable: ${entry}`);
    if (entry.includes("\0")) refuse("invalid environment variable: it holds a NUL byte");
  }
  if (Buffer.byteLength(config.Hostname) > MAX_HOSTNAME) {
    refuse(`hostname "${config.Hostname}" is too long (maximum ${MAX_HOSTNAME} bytes)`);
  }
  checkLine("hostname", config.Hostname);
  checkLine("domainname", config.Domainname);
  checkPorts(Object.fromEntries(Object.keys(config.ExposedPorts ?? {}).map((port) => [port, null])));
  if (config.Healthcheck !== undefined) checkHealth(config.Healthcheck);
  if (onFailureOf(config.Labels) === undefined) {
    const asked = (config.Labels?.[ON_FAILURE_LABEL] ?? "").slice(0, 100);
    refuse(`invalid label ${ON_FAILURE_LABEL}=${asked}: use one of none, kill, restart, stop`);
  }
}

/** What becomes a part of a line in /etc/hosts, /etc/hostname or /etc/resolv.conf must not begin another. */
function checkLine(what: string, ...texts: readonly string[]): void {
  for (const text of texts) {
    if (/\p{Cc}/u.test(text))
      refuse(`invalid ${what} ${JSON.stringify(text.slice(0, 100))}: it holds a control character`);
  }
}

/** The durations and the retries; the test's own form is what runs it to judge. */
function checkHealth(health: HealthConfig): void {
  for (const name of ["Interval", "Timeout", "StartPeriod", "StartInterval"] as const) {
    const value = health[name] ?? 0;
    if (value !== 0 && value < MIN_HEALTH_DURATION) refuse(`${name} in Healthcheck cannot be less than 1ms`);
  }
  if ((health.Retries ?? 0) < 0) refuse("Retries in Healthcheck cannot be negative");
}

function checkHostConfig(hostConfig: HostConfig, host: HostFacts): void {
  checkRestartPolicy(hostConfig);
  for (const entry of hostConfig.ExtraHosts ?? []) parseExtraHost(entry);
  checkLine("add-host", ...(hostConfig.ExtraHosts ?? []));
  checkLine("link", ...(hostConfig.Links ?? []));
  checkLine("DNS server", ...(hostConfig.Dns ?? []));
  checkLine("DNS search domain", ...(hostConfig.DnsSearch ?? []));
  checkLine("DNS option", ...(hostConfig.DnsOptions ?? []));
  checkPorts(hostConfig.PortBindings ?? {});
  for (const [field, names] of [
    ["CapAdd", hostConfig.CapAdd],
    ["CapDrop", hostConfig.CapDrop],
  ] as const) {
    try {
      normalizeCapabilities(names ?? [], host.capabilities);
    } catch (error) {
      throw new GantryError("invalid", `invalid ${field}: ${messageOf(error)}`);
    }
  }
  if (!["", "default"].includes(hostConfig.Isolation.toLowerCase())) {
    refuse(`invalid isolation '${hostConfig.Isolation}' on linux`);
  }
  if (Object.hasOwn(hostConfig.Annotations ?? {}, "")) {
    refuse("invalid Annotations: the empty string is not permitted as an annotation key");
  }
  if (hostConfig.ShmSize < 0) refuse("SHM size can not be less than 0");
  if (hostConfig.OomScoreAdj < -1000 || hostConfig.OomScoreAdj > 1000) {
    refuse(`Invalid value ${hostConfig.OomScoreAdj}, range for oom score adj is [-1000, 1000]`);
  }
  for (const ulimit of hostConfig.Ulimits ?? []) checkUlimit(ulimit);
  for (const rule of hostConfig.DeviceCgroupRules ?? []) parseDeviceRule(rule);
  for (const { CgroupPermissions } of hostConfig.Devices ?? []) {
    if (!/^[rwm]{0,3}$/.test(CgroupPermissions)) refuse(`invalid device mode: ${CgroupPermissions}`);
  }
  for (const name of Object.keys(hostConfig.Sysctls ?? {})) checkSysctl(name, hostConfig);
  for (const options of Object.values(hostConfig.Tmpfs ?? {})) mergeTmpfsOptions(options.split(","));
  checkStorageOptions(hostConfig.StorageOpt ?? {});
}

/** The one option that Docker's overlay2 has, a quota, needs a file system that keeps one: none is kept here. */
function checkStorageOptions(options: Readonly<Record<string, string>>): void {
  for (const name of Object.keys(options)) {
    if (name.toLowerCase() !== "size") refuse(`unknown option ${name}`);
    refuse("--storage-opt is supported only for overlay over xfs with 'pquota' mount option");
  }
}

/** Also for an update: the policy alone, and against --rm. */
/** Throws invalid. */
export function checkRestartPolicy(hostConfig: Pick<HostConfig, "RestartPolicy" | "AutoRemove">): void {
  const { Name, MaximumRetryCount } = hostConfig.RestartPolicy;
  if (hostConfig.AutoRemove && Name !== "" && Name !== "no") {
    refuse("can't create 'AutoRemove' container with restart policy");
  }
  switch (Name) {
    case "always":
    case "unless-stopped":
    case "no":
      if (MaximumRetryCount === 0) return;
      refuse(
        "invalid restart policy: maximum retry count can only be used with 'on-failure'" +
          (MaximumRetryCount < 0 ? " and cannot be negative" : ""),
      );
      break;
    case "on-failure":
      if (MaximumRetryCount < 0) refuse("invalid restart policy: maximum retry count cannot be negative");
      return;
    case "":
      return;
    default:
      refuse(
        `invalid restart policy: unknown policy '${String(Name)}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
      );
  }
}

function checkModes(hostConfig: HostConfig): void {
  const { IpcMode, PidMode, UTSMode, UsernsMode, CgroupnsMode } = hostConfig;
  const words = ["", "none", "private", "host", "shareable"];
  if (!words.includes(IpcMode) && joinedContainer(IpcMode) === undefined) refuse(`invalid IPC mode: ${IpcMode}`);
  if (PidMode !== "" && (isPrivate(PidMode) || joinedContainer(PidMode) === "")) refuse(`invalid PID mode: ${PidMode}`);
  if (UTSMode !== "" && UTSMode !== "host") refuse(`invalid UTS mode: ${UTSMode}`);
  if (UsernsMode !== "" && UsernsMode !== "host") refuse(`invalid USER mode: ${UsernsMode}`);
  if (!["", "private", "host"].includes(CgroupnsMode)) refuse(`invalid cgroup namespace mode: ${CgroupnsMode}`);
}

function checkSecurity(hostConfig: HostConfig): void {
  const { seccomp } = parseSecurityOptions(hostConfig.SecurityOpt ?? []);
  if (seccomp !== undefined && !["", "builtin", "unconfined"].includes(seccomp)) parseProfile(seccomp);
}
