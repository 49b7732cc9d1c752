import { posix } from "node:path";
import type { DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice } from "../../api/container.ts";
import { csvFields } from "../../base/csv.ts";
import { ramInBytes } from "../../base/units.ts";
import { cutAt } from "./cut-at.ts";

function isMode(text: string): boolean {
  return text !== "" && /^[rwm]+$/.test(text) && new Set(text).size === text.length;
}

/** `vendor.com/class=name`: a device of the Container Device Interface. */
function isCdi(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9_.-]*\/[A-Za-z0-9][A-Za-z0-9_.-]*=[A-Za-z0-9][A-Za-z0-9_.:-]*$/.test(text);
}

export interface Devices {
  readonly mappings: DeviceMapping[];
  readonly requests: DeviceRequest[];
}

export function parseDevices(values: readonly string[]): Devices {
  const names = values.filter(isCdi);
  return {
    mappings: values.filter((value) => !isCdi(value)).map(parseDevice),
    requests:
      names.length === 0 ? [] : [{ Driver: "cdi", Count: 0, DeviceIDs: names, Capabilities: null, Options: null }],
  };
}

/** `path[:path in container][:rwm]`. */
function parseDevice(text: string): DeviceMapping {
  const parts = text.split(":");
  const [source = "", second, third] = parts;
  if (parts.length > 3 || source === "") throw new Error(`bad format for path: ${text}`);
  const secondIsMode = parts.length === 2 && isMode(second ?? "");
  const target = second === undefined || secondIsMode ? source : second;
  if (third !== undefined && !isMode(third)) throw new Error(`bad mode specified: ${third}`);
  if (!posix.isAbsolute(target)) throw new Error(`${target} is not an absolute path`);
  return {
    PathOnHost: source,
    PathInContainer: target,
    CgroupPermissions: third ?? (secondIsMode ? (second ?? "") : "rwm"),
  };
}

export function checkDeviceRule(text: string): string {
  if (/^[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}$/.test(text)) return text;
  throw new Error(`invalid device cgroup format '${text}'`);
}

export function parseWeight(text: string): WeightDevice {
  const [path, weight] = deviceAnd(text);
  if (!/^\d+$/.test(weight) || (Number(weight) > 0 && (Number(weight) < 10 || Number(weight) > 1000))) {
    throw new Error(`invalid weight for device: ${text}`);
  }
  return { Path: path, Weight: Number(weight) };
}

export function parseBytesRate(text: string): ThrottleDevice {
  const [path, rate] = deviceAnd(text);
  const bad = `invalid rate for device: ${text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb`;
  try {
    return { Path: path, Rate: ramInBytes(rate) };
  } catch {
    throw new Error(bad);
  }
}

export function parseOperationsRate(text: string): ThrottleDevice {
  const [path, rate] = deviceAnd(text);
  if (!/^\d+$/.test(rate)) {
    throw new Error(
      `invalid rate for device: ${text}. The correct format is <device-path>:<number>. Number must be a positive integer`,
    );
  }
  return { Path: path, Rate: Number(rate) };
}

function deviceAnd(text: string): readonly [string, string] {
  const [path, value] = cutAt(text, ":");
  if (value === undefined || path === "") throw new Error(`bad format: ${text}`);
  if (!path.startsWith("/dev/")) throw new Error(`bad format for device path: ${text}`);
  return [path, value];
}

/** A flag's check that keeps the text and refuses what `parse` refuses. */
export function checkedBy(parse: (text: string) => unknown): (text: string) => string {
  return (text) => {
    parse(text);
    return text;
  };
}

/** Reads `--gpus`: `all`, a number, or `device=…,driver=…,count=…,capabilities=…,options=…`. */
export function parseGpus(text: string): DeviceRequest {
  const request: {
    Driver: string;
    Count: number;
    DeviceIDs: string[] | null;
    Capabilities: string[][] | null;
    Options: Record<string, string>;
  } = { Driver: "", Count: 0, DeviceIDs: null, Capabilities: null, Options: {} };
  const seen = new Set<string>();
  for (const field of csvFields(text)) {
    const [name, given] = cutAt(field, "=");
    const key = given === undefined ? "count" : name;
    const value = given ?? field;
    if (seen.has(key)) throw new Error(`gpu request key '${key}' can be specified only once`);
    seen.add(key);
    if (key === "driver") request.Driver = value;
    else if (key === "count") request.Count = parseCount(value);
    else if (key === "device") request.DeviceIDs = value.split(",");
    else if (key === "capabilities") request.Capabilities = [[...value.split(","), "gpu"]];
    else if (key === "options") {
      for (const option of csvFields(value)) {
        const [left, right] = cutAt(option, "=");
        request.Options[left] = right ?? "";
      }
    } else throw new Error(`unexpected key '${key}' in '${field}'`);
  }
  if (!seen.has("count") && request.DeviceIDs === null) request.Count = 1;
  request.Capabilities ??= [["gpu"]];
  return request;
}

function parseCount(text: string): number {
  if (text === "all") return -1;
  if (/^[+-]?\d+$/.test(text)) return Number(text);
  throw new Error(`invalid count (${text}): value must be either "all" or an integer: invalid syntax`);
}
