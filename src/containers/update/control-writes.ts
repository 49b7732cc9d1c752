import type { HostConfig, ThrottleDevice } from "../../api/container.ts";
import type { SpecResources, SpecThrottle } from "../../oci/runtime-spec.ts";
import { buildResources } from "../spec/resources.ts";
import type { Changeable } from "./merge.ts";

/** One value for one file of a cgroup. */
export interface ControlWrite {
  readonly controller: string;
  /** The first of these that is there is written to. */
  readonly files: readonly string[];
  readonly value: string;
  /** What takes the write back, from what the file said before; by default that itself. */
  readonly undo?: (before: string) => string;
}

/** Two limits of which the inner may never be above the outer: which is written first depends on where they stand. */
export interface NestedWrites {
  readonly inner: ControlWrite | undefined;
  readonly outer: ControlWrite;
}

export type LimitWrites = ControlWrite | NestedWrites;

/**
 * What brings a running container's cgroup from its present limits to the next ones: a write for each of `changed` and
 * no others. `next` has been through `settleLimits` and `mergeUpdate`.
 */
export function limitWrites(
  version: 1 | 2,
  present: HostConfig,
  next: HostConfig,
  changed: readonly Changeable[],
): LimitWrites[] {
  const has = (...names: Changeable[]) => names.some((name) => changed.includes(name));
  const spec = buildResources(next);
  const writes = version === 1 ? v1(next, spec, has) : v2(next, spec, has);
  if (has("PidsLimit")) {
    const limit = next.PidsLimit ?? 0;
    writes.push({ controller: "pids", files: ["pids.max"], value: limit > 0 ? String(limit) : "max" });
  }
  for (const name of ["cpus", "mems"] as const) {
    if (!has(name === "cpus" ? "CpusetCpus" : "CpusetMems")) continue;
    writes.push({ controller: "cpuset", files: [`cpuset.${name}`], value: spec.cpu?.[name] ?? "" });
  }
  return [...writes, ...throttleWrites(version, present, spec, has)];
}

type Has = (...names: Changeable[]) => boolean;

function v1(next: HostConfig, { cpu, blockIO }: Omit<SpecResources, "devices">, has: Has): LimitWrites[] {
  const writes: LimitWrites[] = [];
  const add = (controller: string, file: string, value: number | string) =>
    writes.push({ controller, files: [file], value: String(value) });
  if (has("CpuShares")) add("cpu", "cpu.shares", next.CpuShares);
  if (has("NanoCpus", "CpuPeriod") && cpu?.period !== undefined) add("cpu", "cpu.cfs_period_us", cpu.period);
  if (has("NanoCpus", "CpuQuota")) add("cpu", "cpu.cfs_quota_us", cpu?.quota ?? -1);
  if (has("CpuRealtimePeriod", "CpuRealtimeRuntime")) {
    writes.push(
      ...nested(
        "cpu",
        ["cpu.rt_runtime_us", has("CpuRealtimeRuntime") ? next.CpuRealtimeRuntime : undefined],
        ["cpu.rt_period_us", has("CpuRealtimePeriod") ? next.CpuRealtimePeriod : undefined],
      ),
    );
  }
  if (has("Memory", "MemorySwap")) {
    writes.push(
      ...nested(
        "memory",
        ["memory.limit_in_bytes", has("Memory") ? next.Memory : undefined],
        ["memory.memsw.limit_in_bytes", has("MemorySwap") ? next.MemorySwap : undefined],
      ),
    );
  }
  if (has("MemoryReservation")) add("memory", "memory.soft_limit_in_bytes", next.MemoryReservation);
  if (has("MemorySwappiness")) add("memory", "memory.swappiness", next.MemorySwappiness ?? 60);
  if (has("OomKillDisable")) {
    writes.push({
      controller: "memory",
      files: ["memory.oom_control"],
      value: next.OomKillDisable === true ? "1" : "0",
      undo: (before) => /oom_kill_disable (\d)/.exec(before)?.[1] ?? "0",
    });
  }
  if (has("BlkioWeight")) {
    writes.push({
      controller: "blkio",
      files: ["blkio.weight", "blkio.bfq.weight"],
      value: String(next.BlkioWeight),
    });
  }
  if (has("BlkioWeightDevice")) {
    for (const { major, minor, weight } of blockIO?.weightDevice ?? []) {
      const files = ["blkio.weight_device", "blkio.bfq.weight_device"];
      writes.push(forDevice("blkio", files, `${major}:${minor}`, String(weight), "0"));
    }
  }
  return writes;
}

function nested(
  controller: string,
  [innerFile, inner]: readonly [string, number | undefined],
  [outerFile, outer]: readonly [string, number | undefined],
): LimitWrites[] {
  const write = (file: string, value: number): ControlWrite => ({ controller, files: [file], value: String(value) });
  if (outer === undefined) return inner === undefined ? [] : [write(innerFile, inner)];
  return [{ inner: inner === undefined ? undefined : write(innerFile, inner), outer: write(outerFile, outer) }];
}

function v2(next: HostConfig, { cpu, blockIO }: Omit<SpecResources, "devices">, has: Has): LimitWrites[] {
  const writes: LimitWrites[] = [];
  const add = (controller: string, file: string, value: number | string) =>
    writes.push({ controller, files: [file], value: String(value) });
  if (has("CpuShares")) add("cpu", "cpu.weight", weightOfShares(next.CpuShares));
  if (has("NanoCpus", "CpuPeriod", "CpuQuota")) {
    add("cpu", "cpu.max", `${cpu?.quota ?? "max"} ${cpu?.period ?? 100_000}`);
  }
  if (has("Memory")) add("memory", "memory.max", next.Memory);
  if (has("Memory", "MemorySwap") && next.MemorySwap !== 0) {
    // v2 counts swap by itself, the API together with memory.
    add("memory", "memory.swap.max", next.MemorySwap < 0 ? "max" : next.MemorySwap - next.Memory);
  }
  if (has("MemoryReservation")) add("memory", "memory.low", next.MemoryReservation);
  if (has("BlkioWeight")) {
    const { BlkioWeight: weight } = next;
    writes.push({ controller: "io", files: ["io.bfq.weight"], value: String(weight), undo: defaultWeight });
  }
  if (has("BlkioWeightDevice")) {
    for (const { major, minor, weight } of blockIO?.weightDevice ?? []) {
      writes.push(forDevice("io", ["io.bfq.weight"], `${major}:${minor}`, String(weight), "default"));
    }
  }
  return writes;
}

/** Of the rows of a weight file the one without a device. */
function defaultWeight(before: string): string {
  return /^(?:default )?\d+/.exec(before)?.[0] ?? "100";
}

/** As OCI runtimes map v1's 2 … 262,144 to v2's 1 … 10,000. */
function weightOfShares(shares: number): number {
  return 1 + Math.floor(((Math.min(Math.max(shares, 2), 262_144) - 2) * 9999) / 262_142);
}

const THROTTLES = [
  ["BlkioDeviceReadBps", "throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"],
  ["BlkioDeviceWriteBps", "throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"],
  ["BlkioDeviceReadIOps", "throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"],
  ["BlkioDeviceWriteIOps", "throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"],
] as const;

/** A list takes the place of the one before: a device that is no more in it gets rid of its limit. */
function throttleWrites(
  version: 1 | 2,
  present: HostConfig,
  spec: Omit<SpecResources, "devices">,
  has: Has,
): ControlWrite[] {
  const before = buildDevices(present);
  return THROTTLES.flatMap(([name, list, file, key]) => {
    if (!has(name)) return [];
    const wished = new Map((spec.blockIO?.[list] ?? []).map((row) => [deviceOf(row), row.rate]));
    for (const device of before(name)) if (!wished.has(device)) wished.set(device, 0);
    return Array.from(wished, ([device, rate]) =>
      version === 1
        ? forDevice("blkio", [file], device, String(rate), "0")
        : forDevice("io", ["io.max"], device, `${key}=${rate === 0 ? "max" : rate}`, `${key}=max`, key),
    );
  });
}

/** The devices that were limited before; one that is not there any more has no limit to be taken away. */
function buildDevices(present: HostConfig): (name: (typeof THROTTLES)[number][0]) => string[] {
  const list = (name: (typeof THROTTLES)[number][0]) => THROTTLES.find(([field]) => field === name)?.[1];
  return (name) =>
    (present[name] ?? []).flatMap((row: ThrottleDevice) => {
      try {
        const built = buildResources({ ...present, ...NO_DEVICES, [name]: [row] }).blockIO;
        return (built?.[list(name) ?? "throttleReadBpsDevice"] ?? []).map(deviceOf);
      } catch {
        return [];
      }
    });
}

const NO_DEVICES = {
  BlkioWeightDevice: null,
  BlkioDeviceReadBps: null,
  BlkioDeviceWriteBps: null,
  BlkioDeviceReadIOps: null,
  BlkioDeviceWriteIOps: null,
} as const;

function deviceOf({ major, minor }: Pick<SpecThrottle, "major" | "minor">): string {
  return `${major}:${minor}`;
}

/** A file of a row a device: `8:0 1048576`, or on v2 `8:0 rbps=1048576 wbps=max`. */
function forDevice(
  controller: string,
  files: readonly string[],
  device: string,
  value: string,
  none: string,
  key?: string,
): ControlWrite {
  const row = new RegExp(`^${device} (.*)$`, "m");
  return {
    controller,
    files,
    value: `${device} ${value}`,
    undo: (before) => {
      const was = row.exec(before)?.[1];
      const own = key === undefined ? was : was?.split(" ").find((pair) => pair.startsWith(`${key}=`));
      return `${device} ${own ?? none}`;
    },
  };
}
