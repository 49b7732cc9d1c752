import { randomBytes } from "node:crypto";
import { hostname as nameOfHost } from "node:os";
import type { ContainerConfig, HealthConfig, HostConfig, LogConfig } from "../api/container.ts";
import { byKey } from "../base/by-key.ts";
import { GantryError } from "../base/errors.ts";
import type { ImageProcess } from "../oci/image.ts";
import type { ContainerSettings } from "./ports.ts";
import { parseSignal } from "./signal.ts";
import { type HostFacts, hostFacts } from "./spec/host.ts";
import { defaultPaths } from "./spec/masked-paths.ts";
import { cgroupnsMode } from "./spec/namespaces.ts";
import { isPortKey } from "./spec/ports.ts";

/** A new container's id: 64 hex digits, never all decimal in its first twelve (it would read as a number). */
export function newId(): string {
  for (;;) {
    const id = randomBytes(32).toString("hex");
    if (!/^\d{12}/.test(id)) return id;
  }
}

/** The user's wishes over the image's: what the container runs with, as inspect shows it. */
export function mergeConfig(
  user: ContainerConfig,
  image: ImageProcess,
  id: string,
  hostConfig: HostConfig,
): ContainerConfig {
  const layered = layConfig(user, image);
  const merged: ContainerConfig = {
    ...layered,
    Hostname: hostname(user, id, hostConfig),
    ExposedPorts: emptyToUndefined(byKey({ ...layered.ExposedPorts, ...portsOf(hostConfig) })),
  };
  if ((merged.Entrypoint ?? []).length + (merged.Cmd ?? []).length === 0) {
    throw new GantryError("invalid", "no command specified");
  }
  if (commandStart(merged) === "") throw new GantryError("invalid", "no command specified");
  // An image may have any number: of one that is none nobody could stop the container.
  if (merged.StopSignal) parseSignal(merged.StopSignal);
  return merged;
}

/** One config over another: what the upper one leaves open is the lower one's. */
export function layConfig(user: ContainerConfig, image: ImageProcess): ContainerConfig {
  const entrypoint = user.Entrypoint === null || user.Entrypoint.length === 0 ? null : user.Entrypoint;
  // `--entrypoint ""` arrives as [""]: it clears the image's entrypoint and its command with it.
  const cleared = entrypoint?.length === 1 && entrypoint[0] === "";
  const ownCommand = user.Cmd !== null && user.Cmd.length > 0;
  const imageEntrypoint = image.Entrypoint ?? null;
  const Entrypoint = cleared ? null : (entrypoint ?? imageEntrypoint);
  const Cmd = ownCommand || entrypoint !== null ? user.Cmd : (image.Cmd ?? user.Cmd);
  return {
    ...user,
    User: user.User === "" ? (image.User ?? "") : user.User,
    Env: emptyListToNull(mergeEnv(image.Env ?? [], user.Env ?? [])),
    Entrypoint,
    Cmd: Cmd !== null && Cmd.length === 0 ? null : Cmd,
    WorkingDir: user.WorkingDir === "" ? (image.WorkingDir ?? "") : user.WorkingDir,
    Labels: byKey({ ...image.Labels, ...user.Labels }),
    Volumes: emptyToNull(byKey({ ...image.Volumes, ...user.Volumes })),
    ExposedPorts: emptyToUndefined(byKey({ ...soundPorts(image.ExposedPorts), ...user.ExposedPorts })),
    StopSignal: user.StopSignal || image.StopSignal || undefined,
    StopTimeout: user.StopTimeout ?? image.StopTimeout,
    Healthcheck: mergeHealth(user.Healthcheck, image.Healthcheck),
    Shell: user.Shell ?? image.Shell ?? undefined,
  };
}

function commandStart(config: ContainerConfig): string | undefined {
  return (config.Entrypoint ?? [])[0] ?? (config.Cmd ?? [])[0];
}

function hostname(user: ContainerConfig, id: string, hostConfig: HostConfig): string {
  if (user.Hostname !== "") return user.Hostname;
  // By network, as Docker decides it: a container with the host's UTS namespace alone keeps its id for a name.
  return hostConfig.NetworkMode === "host" ? nameOfHost() : id.slice(0, 12);
}

/** The image's variables in their order, replaced by name; a bare name takes the image's away. */
function mergeEnv(image: readonly string[], user: readonly string[]): string[] {
  const own = new Map(user.map((entry) => [entry.split("=", 1)[0] ?? "", entry]));
  const kept = image.filter((entry) => !own.has(entry.split("=", 1)[0] ?? ""));
  return [...user.filter((entry) => entry.includes("=")), ...kept];
}

function mergeHealth(user: HealthConfig | undefined, image: HealthConfig | undefined): HealthConfig | undefined {
  if (user === undefined) return image;
  if (image === undefined) return user;
  const test = (user.Test ?? []).length > 0 ? user.Test : image.Test;
  return {
    Test: test,
    Interval: user.Interval || image.Interval,
    Timeout: user.Timeout || image.Timeout,
    Retries: user.Retries || image.Retries,
    StartPeriod: user.StartPeriod || image.StartPeriod,
    StartInterval: user.StartInterval || image.StartInterval,
  };
}

/** Without what is no port: nothing checks what an image declares, and a container of it must start all the same. */
function soundPorts(declared: ImageProcess["ExposedPorts"]): Record<string, Record<string, never>> {
  const sound = Object.keys(declared ?? {}).filter(isPortKey);
  return Object.fromEntries(sound.map((port) => [port, {}]));
}

function portsOf(hostConfig: HostConfig): Record<string, Record<string, never>> {
  return Object.fromEntries(Object.keys(hostConfig.PortBindings ?? {}).map((port) => [port, {}]));
}

function emptyListToNull<T>(list: T[]): T[] | null {
  return list.length === 0 ? null : list;
}

function emptyToNull<T>(record: Record<string, T>): Record<string, T> | null {
  return Object.keys(record).length === 0 ? null : record;
}

function emptyToUndefined<T>(record: Record<string, T>): Record<string, T> | undefined {
  return Object.keys(record).length === 0 ? undefined : record;
}

/** Fills in what the user left to the engine: what inspect then shows as Docker's does. */
export function completeHostConfig(
  wanted: HostConfig,
  settings: ContainerSettings,
  host: Pick<HostFacts, "cgroupLayout"> = hostFacts(),
): HostConfig {
  const NetworkMode = wanted.NetworkMode === "" || wanted.NetworkMode === "default" ? "bridge" : wanted.NetworkMode;
  return {
    ...wanted,
    NetworkMode,
    IpcMode: wanted.IpcMode === "" ? "private" : wanted.IpcMode,
    ShmSize: wanted.ShmSize === 0 ? settings.defaultShmSize : wanted.ShmSize,
    Runtime: wanted.Runtime ? wanted.Runtime : settings.defaultRuntime,
    RestartPolicy: wanted.RestartPolicy.Name === "" ? { ...wanted.RestartPolicy, Name: "no" } : wanted.RestartPolicy,
    // Docker's rule: a limit without a word on swap allows as much swap again.
    MemorySwap: wanted.Memory > 0 && wanted.MemorySwap === 0 ? wanted.Memory * 2 : wanted.MemorySwap,
    LogConfig: logConfigOf(wanted.LogConfig, settings),
    CgroupnsMode: cgroupnsMode(wanted.CgroupnsMode, host),
    // Docker's client sends -1 for what nobody asked.
    MemorySwappiness: wanted.MemorySwappiness === -1 ? null : wanted.MemorySwappiness,
    ...defaultPaths(wanted),
    OomKillDisable: wanted.OomKillDisable ?? false,
    PidsLimit: wanted.PidsLimit === 0 || wanted.PidsLimit === -1 ? null : wanted.PidsLimit,
  };
}

/** The engine's options hold for the engine's driver, whether that was named or not; the container's own over them. */
function logConfigOf({ Type, Config }: LogConfig, settings: ContainerSettings): LogConfig {
  const own = Config ?? {};
  if (Type !== "" && Type !== settings.logDriver) return { Type, Config: own };
  return { Type: settings.logDriver, Config: { ...settings.logOptions, ...own } };
}

/** Anonymous volumes: what the image and the user declare by path alone. */
export function anonymousVolumes(config: ContainerConfig): string[] {
  return Object.keys(config.Volumes ?? {});
}
