import { GantryError } from "../base/errors.ts";
import type { ContainerCreateRequest, EndpointSettings, Mount } from "./container.ts";
import { compareVersions } from "./version.ts";

/**
 * Requests of earlier versions of the API, put into words of the newest: what a version didn't have is left out, as
 * its engines ignored it, or refused where leaving it out would do harm; defaults are those of the time.
 */
interface Row {
  /** The version from which on the request is taken as it comes. */
  readonly until: string;
  readonly change: (request: ContainerCreateRequest) => ContainerCreateRequest;
}

const CREATE_ROWS: readonly Row[] = [
  { until: "1.48", change: (request) => withMounts(withEndpoints(request, sameGateway), refuseImage) },
  { until: "1.46", change: (request) => withMounts(request, withoutTmpfsOptions) },
  { until: "1.45", change: (request) => withMounts(request, refuseSubpath) },
  { until: "1.44", change: (request) => refuseSeveral(withMounts(withoutStartInterval(request), shallowReadOnly)) },
  { until: "1.43", change: (request) => withHost(request, { Annotations: undefined }) },
  { until: "1.42", change: (request) => withHost(withMounts(request, ofItsType), { ConsoleSize: [0, 0] }) },
  { until: "1.41", change: (request) => withDefault(request, "CgroupnsMode", "host") },
  { until: "1.40", change: (request) => withDefault(withMounts(request, recursive), "IpcMode", "shareable") },
  { until: "1.25", change: (request) => withHost(request, { AutoRemove: false }) },
];

/** A request to create a container from a client of `version`. Throws invalid. */
export function olderCreateRequest(version: string, request: ContainerCreateRequest): ContainerCreateRequest {
  const rows = CREATE_ROWS.filter(({ until }) => compareVersions(version, until) < 0);
  return rows.reduce((changed, { change }) => change(changed), request);
}

type Host = ContainerCreateRequest["HostConfig"];

function withHost(request: ContainerCreateRequest, fields: Partial<Host>): ContainerCreateRequest {
  return { ...request, HostConfig: { ...request.HostConfig, ...fields } };
}

function withDefault(
  request: ContainerCreateRequest,
  field: "CgroupnsMode" | "IpcMode",
  value: string,
): ContainerCreateRequest {
  return request.HostConfig[field] === "" ? withHost(request, { [field]: value }) : request;
}

function withMounts(request: ContainerCreateRequest, change: (mount: Mount) => Mount): ContainerCreateRequest {
  const mounts = request.HostConfig.Mounts;
  return mounts === undefined ? request : withHost(request, { Mounts: mounts.map(change) });
}

function withEndpoints(
  request: ContainerCreateRequest,
  change: (endpoint: Partial<EndpointSettings>) => Partial<EndpointSettings>,
): ContainerCreateRequest {
  const endpoints = Object.entries(request.NetworkingConfig.EndpointsConfig).map(([name, endpoint]) => {
    return [name, endpoint === null ? null : change(endpoint)];
  });
  return {
    ...request,
    NetworkingConfig: { ...request.NetworkingConfig, EndpointsConfig: Object.fromEntries(endpoints) },
  };
}

function sameGateway(endpoint: Partial<EndpointSettings>): Partial<EndpointSettings> {
  return { ...endpoint, GwPriority: 0 };
}

function refuseImage(mount: Mount): Mount {
  if (mount.Type === "image") throw new GantryError("invalid", 'mount type "image" needs API v1.48 or newer');
  return mount;
}

function withoutTmpfsOptions(mount: Mount): Mount {
  if (mount.TmpfsOptions?.Options === undefined) return mount;
  return { ...mount, TmpfsOptions: { ...mount.TmpfsOptions, Options: undefined } };
}

function refuseSubpath(mount: Mount): Mount {
  if (mount.VolumeOptions?.Subpath) {
    throw new GantryError("invalid", "VolumeOptions.Subpath needs API v1.45 or newer");
  }
  return mount;
}

/** Whether a read-only `-v` leaves alone what is mounted below it: it reached that only since 1.44. */
export function readonlyWasShallow(version: string): boolean {
  return compareVersions(version, "1.44") < 0;
}

/** The same of a `--mount`. */
function shallowReadOnly(mount: Mount): Mount {
  if (mount.Type !== "bind") return mount;
  if (mount.BindOptions?.ReadOnlyForceRecursive) {
    throw new GantryError("invalid", "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
  }
  if (!mount.ReadOnly || mount.BindOptions?.NonRecursive) return mount;
  return { ...mount, BindOptions: { ...mount.BindOptions, ReadOnlyNonRecursive: true } };
}

function withoutStartInterval(request: ContainerCreateRequest): ContainerCreateRequest {
  const { Healthcheck } = request.Config;
  if (Healthcheck?.StartInterval === undefined) return request;
  return { ...request, Config: { ...request.Config, Healthcheck: { ...Healthcheck, StartInterval: undefined } } };
}

function refuseSeveral(request: ContainerCreateRequest): ContainerCreateRequest {
  const names = Object.keys(request.NetworkingConfig.EndpointsConfig);
  if (names.length < 2) return request;
  const shown = names.sort().join(", ").slice(0, 500);
  throw new GantryError("invalid", `Container cannot be connected to network endpoints: ${shown}`);
}

/** Options of another type's were not looked at. */
function ofItsType(mount: Mount): Mount {
  const { VolumeOptions, TmpfsOptions, BindOptions, ...rest } = mount;
  return {
    ...rest,
    ...(VolumeOptions !== undefined && mount.Type === "volume" ? { VolumeOptions } : {}),
    ...(TmpfsOptions !== undefined && mount.Type === "tmpfs" ? { TmpfsOptions } : {}),
    ...(BindOptions === undefined ? {} : { BindOptions: { ...BindOptions, CreateMountpoint: undefined } }),
  };
}

function recursive(mount: Mount): Mount {
  if (!mount.BindOptions?.NonRecursive) return mount;
  return { ...mount, BindOptions: { ...mount.BindOptions, NonRecursive: undefined } };
}
