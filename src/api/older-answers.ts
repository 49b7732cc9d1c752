import type { ContainerConfig, ContainerInspect, ContainerSummary } from "./container.ts";
import type { BuildCacheRow, DiskUsage } from "./disk-usage.ts";
import type { ImageInspect, ImageSummary } from "./image.ts";
import type { RouteName } from "./routes.ts";
import type { RuntimeInfo, SystemInfo } from "./system.ts";
import { compareVersions } from "./version.ts";

/**
 * What answers looked like to earlier versions of the API, where clients of them rely on it. The engine speaks the
 * newest; these rows are applied on the way out, newest first.
 */
interface Row {
  readonly route: RouteName;
  readonly appliesTo: (version: string) => boolean;
  readonly change: (value: never) => unknown;
}

/** For versions before `until`. Fields of any answer that are not in the type of the newest one are free. */
function row<T>(route: RouteName, until: string, change: (value: T) => unknown): Row {
  const appliesTo = (version: string) => compareVersions(version, until) < 0;
  return { route, appliesTo, change: change as (value: never) => unknown };
}

/** For versions from `since` on: they leave out what the engine still has for the earlier ones. */
function newer<T>(route: RouteName, since: string, change: (value: T) => unknown): Row {
  const appliesTo = (version: string) => compareVersions(version, since) >= 0;
  return { route, appliesTo, change: change as (value: never) => unknown };
}

const eachOf =
  <T>(change: (value: T) => unknown) =>
  (values: readonly T[]): unknown =>
    values.map(change);

const ROWS: readonly Row[] = [
  row(
    "imageList",
    "1.51",
    eachOf<ImageSummary>((image) => ({ ...image, Containers: -1 })),
  ),
  row(
    "imageList",
    "1.48",
    eachOf<ImageSummary & { Descriptor?: unknown }>(({ Descriptor: _, ...image }) => image),
  ),
  row(
    "imageList",
    "1.44",
    eachOf<ImageSummary>((image) => ({ ...image, VirtualSize: image.Size })),
  ),
  row("imageList", "1.43", eachOf<ImageSummary>(withNone)),

  newer<ImageInspect>("imageInspect", "1.50", (image) => ({ ...image, Config: imageFields(image.Config) })),
  row<ImageInspect>("imageInspect", "1.50", (image) => ({ ...image, Config: withProcessFields(image.Config) })),
  row<ImageInspect & { Descriptor?: unknown; Manifests?: unknown }>(
    "imageInspect",
    "1.48",
    ({ Descriptor: _, Manifests: __, ...image }) => image,
  ),
  row<ImageInspect>("imageInspect", "1.45", (image) => ({
    ...image,
    Container: "",
    ContainerConfig: withProcessFields({}),
  })),
  row<ImageInspect>("imageInspect", "1.44", (image) => ({
    ...image,
    Created: image.Created || "0001-01-01T00:00:00Z",
    VirtualSize: image.Size,
  })),

  row("containerList", "1.48", eachOf<ContainerSummary>(withoutManifest)),
  row("containerList", "1.46", eachOf<ContainerSummary>(withoutAnnotations)),

  row<ContainerInspect>("containerInspect", "1.48", withoutManifest),
  row<ContainerInspect>("containerInspect", "1.45", withShortIdAlias),
  row<ContainerInspect>("containerInspect", "1.42", (container) => ({
    ...container,
    HostConfig: { ...container.HostConfig, KernelMemory: 0, KernelMemoryTCP: 0 },
  })),

  row<SystemInfo & { DiscoveredDevices?: unknown }>("info", "1.50", ({ DiscoveredDevices: _, ...info }) => ({
    ...info,
    BridgeNfIptables: false,
    BridgeNfIp6tables: false,
  })),
  row<SystemInfo & { FirewallBackend?: unknown }>("info", "1.49", ({ FirewallBackend: _, ...info }) => ({
    ...info,
    ContainerdCommit: withExpected(info.ContainerdCommit),
    RuncCommit: withExpected(info.RuncCommit),
    InitCommit: withExpected(info.InitCommit),
  })),
  row<SystemInfo>("info", "1.48", (info) => ({
    ...info,
    RegistryConfig: {
      AllowNondistributableArtifactsCIDRs: [],
      AllowNondistributableArtifactsHostnames: [],
      ...info.RegistryConfig,
    },
  })),
  row<SystemInfo & { Containerd?: unknown }>("info", "1.46", ({ Containerd: _, ...info }) => info),
  row<SystemInfo>("info", "1.44", (info) => ({ ...info, Runtimes: withoutStatus(info.Runtimes) })),
  row<SystemInfo>("info", "1.42", (info) => ({ ...info, KernelMemory: false, KernelMemoryTCP: false })),
  row<SystemInfo>("info", "1.25", (info) => ({
    ...info,
    ExecutionDriver: "<not supported>",
    SecurityOptions: info.SecurityOptions.flatMap((option) => /(?:^|,)name=([^,]+)/.exec(option)?.[1] ?? []),
  })),

  row<DiskUsage>("diskUsage", "1.48", (usage) => withImages(usage, ({ Descriptor: _, ...image }) => image)),
  row<DiskUsage>("diskUsage", "1.42", (usage) =>
    usage.BuildCache ? { ...usage, BuildCache: usage.BuildCache.map(withOneParent) } : usage,
  ),
  row<DiskUsage>("diskUsage", "1.44", (usage) => withImages(usage, (image) => ({ ...image, VirtualSize: image.Size }))),
];

function withImages(usage: DiskUsage, change: (image: ImageSummary & { Descriptor?: unknown }) => ImageSummary) {
  return { ...usage, Images: usage.Images?.map(change) ?? null };
}

/** An answer of the engine as clients of `version` expect it. `value` is left as it is. */
export function olderAnswer(route: RouteName, version: string, value: unknown): unknown {
  return rowsOf(route, version).reduce((changed, { change }) => change(changed as never), value);
}

const found = new Map<string, readonly Row[]>();

/** Versions are checked before, so there are as many entries as versions and routes at most. */
function rowsOf(route: RouteName, version: string): readonly Row[] {
  const key = `${version} ${route}`;
  let rows = found.get(key);
  if (rows === undefined) {
    rows = ROWS.filter((each) => each.route === route && each.appliesTo(version));
    if (found.size < 5000) found.set(key, rows);
  }
  return rows;
}

function withNone(image: ImageSummary): unknown {
  if (image.RepoTags.length > 0 || image.RepoDigests.length > 0) return image;
  return { ...image, RepoTags: ["<none>:<none>"], RepoDigests: ["<none>@<none>"] };
}

/** What a config shows since API 1.50: the rest of a container's was never an image's to say. */
const IMAGE_FIELDS: ReadonlySet<string> = new Set([
  "ArgsEscaped",
  "Cmd",
  "Entrypoint",
  "Env",
  "ExposedPorts",
  "Healthcheck",
  "Labels",
  "OnBuild",
  "Shell",
  "StopSignal",
  "User",
  "Volumes",
  "WorkingDir",
]);

function imageFields(config: ContainerConfig | null): unknown {
  if (config === null) return null;
  return Object.fromEntries(Object.entries(config).filter(([field]) => IMAGE_FIELDS.has(field)));
}

/** Fields of containers that images were said to have as well. */
function withProcessFields(config: object | null): unknown {
  const unset = {
    Hostname: "",
    Domainname: "",
    User: "",
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
  };
  const rest = { Tty: false, OpenStdin: false, StdinOnce: false, Env: null, Cmd: null, Image: "", Volumes: null };
  return { ...unset, ...rest, WorkingDir: "", Entrypoint: null, OnBuild: null, Labels: null, ...config };
}

function withoutManifest<T extends { ImageManifestDescriptor?: unknown }>({
  ImageManifestDescriptor: _,
  ...container
}: T): unknown {
  return container;
}

function withoutAnnotations(container: ContainerSummary): unknown {
  const { Annotations: _, ...host } = container.HostConfig;
  return { ...container, HostConfig: host };
}

/** On networks of users the short id was listed among a container's aliases. */
function withShortIdAlias(container: ContainerInspect): unknown {
  const settings = container.NetworkSettings;
  const names = [container.Id.slice(0, 12), container.Config.Hostname].filter((name) => name !== "");
  const networks = Object.entries(settings.Networks).map(([name, endpoint]) => {
    if (["bridge", "host", "none", "default"].includes(name)) return [name, endpoint];
    return [name, { ...endpoint, Aliases: [...new Set([...(endpoint.Aliases ?? []), ...names])] }];
  });
  return { ...container, NetworkSettings: { ...settings, Networks: Object.fromEntries(networks) } };
}

function withExpected(commit: { readonly ID: string }): unknown {
  return { ...commit, Expected: commit.ID };
}

function withoutStatus(runtimes: Readonly<Record<string, RuntimeInfo & { status?: unknown }>>): unknown {
  return Object.fromEntries(Object.entries(runtimes).map(([name, { status: _, ...runtime }]) => [name, runtime]));
}

function withOneParent({ Parents, ...cache }: BuildCacheRow): unknown {
  return { ...cache, Parent: Parents?.[0] ?? "" };
}
