import { lstatSync, readdirSync, realpathSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";
import type { DeviceMapping, HostConfig } from "../../api/container.ts";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import type { SpecDevice, SpecDeviceRule } from "../../oci/runtime-spec.ts";

export interface BuiltDevices {
  readonly devices: SpecDevice[];
  readonly rules: SpecDeviceRule[];
}

/** null, zero, full, random, urandom, tty, console: character devices that every container may use. */
const DEFAULT_DEVICES: readonly (readonly [number, number])[] = [
  [1, 3],
  [1, 5],
  [1, 7],
  [1, 8],
  [1, 9],
  [5, 0],
  [5, 1],
];
/** Folders of /dev that a container has of its own. */
const NOT_HANDED_ON = new Set(["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"]);
const MAX_DEVICES = 10_000;

/** The device nodes to make and what the device cgroup allows. Reads the nodes of the host. */
export function buildDevices(hostConfig: HostConfig): BuiltDevices {
  const request = hostConfig.DeviceRequests?.[0];
  if (request !== undefined) {
    const wanted = (request.Capabilities ?? []).map((row) => `[${row.join(" ")}]`).join(" ");
    throw new GantryError(
      "invalid",
      `could not select device driver ${JSON.stringify(request.Driver ?? "")} with capabilities: [${wanted}]`,
    );
  }
  if (hostConfig.Privileged) {
    const elsewhere = (hostConfig.Devices ?? []).filter((mapping) => mapping.PathOnHost !== mapping.PathInContainer);
    return {
      devices: [...devicesBelow("/dev", "/dev", NOT_HANDED_ON), ...elsewhere.flatMap(mapDevices)],
      rules: [{ allow: true, access: "rwm" }],
    };
  }
  const rules: SpecDeviceRule[] = [
    { allow: false, access: "rwm" },
    ...DEFAULT_DEVICES.map(([major, minor]) => ({ allow: true, type: "c" as const, major, minor, access: "rwm" })),
  ];
  const devices: SpecDevice[] = [];
  for (const mapping of hostConfig.Devices ?? []) {
    const mapped = mapDevices(mapping);
    devices.push(...mapped);
    for (const { type, major, minor } of mapped) {
      if (type !== "c" && type !== "b") continue;
      rules.push({ allow: true, type, major, minor, access: mapping.CgroupPermissions || "rwm" });
    }
  }
  return { devices, rules: [...rules, ...(hostConfig.DeviceCgroupRules ?? []).map(parseDeviceRule)] };
}

/** A row of `--device-cgroup-rule`, e.g. `c 1:3 mr` or `b *:* rwm`. */
export function parseDeviceRule(text: string): SpecDeviceRule {
  const match = /^([acb]) (\d{1,10}|\*):(\d{1,10}|\*) ([rwm]{1,3})$/.exec(text);
  if (match === null) throw new GantryError("invalid", `invalid device cgroup rule format: '${text}'`);
  const [, type, major, minor, access] = match;
  // A wildcard is a number that isn't there: crun would write a -1 as it is, which the kernel refuses.
  return {
    allow: true,
    type: type as "a" | "b" | "c",
    ...(major !== "*" && { major: Number(major) }),
    ...(minor !== "*" && { minor: Number(minor) }),
    access,
  };
}

/** One device, or all those below a folder. */
function mapDevices(mapping: DeviceMapping): SpecDevice[] {
  const refuse = (why: string) =>
    new GantryError(
      "invalid",
      `error gathering device information while adding custom device ${JSON.stringify(mapping.PathOnHost)}: ${why}`,
    );
  const inContainer = mapping.PathInContainer || mapping.PathOnHost;
  try {
    const path = realpathSync(mapping.PathOnHost);
    const stat = statSync(path);
    const device = deviceOf(inContainer, stat);
    if (device !== undefined) return [device];
    const below = stat.isDirectory() ? devicesBelow(path, inContainer, new Set()) : [];
    if (below.length > 0) return below;
  } catch (error) {
    throw refuse(hasCode(error, "ENOENT") ? "no such file or directory" : messageOf(error));
  }
  throw refuse("not a device node");
}

function devicesBelow(folder: string, inContainer: string, leftOut: ReadonlySet<string>): SpecDevice[] {
  const found: SpecDevice[] = [];
  const pending: [string, string][] = [[folder, inContainer]];
  while (pending.length > 0) {
    const [path, shown] = pending.pop() as [string, string];
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory()) {
        if (!leftOut.has(entry.name)) pending.push([join(path, entry.name), join(shown, entry.name)]);
        continue;
      }
      if (!entry.isCharacterDevice() && !entry.isBlockDevice()) continue;
      if (leftOut.size > 0 && entry.name === "console") continue;
      const stat = lstatIfThere(join(path, entry.name));
      const device = stat === undefined ? undefined : deviceOf(join(shown, entry.name), stat);
      if (device !== undefined) found.push(device);
      if (found.length > MAX_DEVICES)
        throw new GantryError("invalid", `more than ${MAX_DEVICES} devices below ${folder}`);
    }
  }
  return found;
}

function lstatIfThere(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function deviceOf(path: string, stat: Stats): SpecDevice | undefined {
  const type = stat.isCharacterDevice() ? "c" : stat.isBlockDevice() ? "b" : stat.isFIFO() ? "p" : undefined;
  if (type === undefined) return undefined;
  const { major, minor } = deviceNumbers(stat.rdev);
  return { path, type, major, minor, fileMode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid };
}

/** glibc's layout of dev_t: the numbers are split over 64 bits, more than JavaScript's bit operators reach. */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  const bits = BigInt(rdev);
  return {
    major: Number(((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xfffff000n)),
    minor: Number((bits & 0xffn) | ((bits >> 12n) & 0xffffff00n)),
  };
}
