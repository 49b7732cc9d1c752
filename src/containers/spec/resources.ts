import { statSync } from "node:fs";
import { posix } from "node:path";
import type { HostConfig, Resources } from "../../api/container.ts";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import type { SpecResources, SpecThrottle } from "../../oci/runtime-spec.ts";
import { deviceNumbers } from "./devices.ts";

const CFS_PERIOD_US = 100_000;

/** The limits in the OCI form, device rules aside. `resources` has been through `settleLimits`. */
export function buildResources(resources: Resources): Omit<SpecResources, "devices"> {
  return {
    ...nonEmpty("memory", buildMemory(resources)),
    ...nonEmpty("cpu", buildCpu(resources)),
    ...((resources.PidsLimit ?? 0) > 0 && { pids: { limit: resources.PidsLimit as number } }),
    ...nonEmpty("blockIO", buildBlockIo(resources)),
  };
}

function nonEmpty<K extends string, T extends object>(key: K, value: T): { [key in K]?: T } {
  return (Object.keys(value).length === 0 ? {} : { [key]: value }) as { [key in K]?: T };
}

function buildMemory(r: Resources): NonNullable<SpecResources["memory"]> {
  return {
    ...(r.Memory > 0 && { limit: r.Memory }),
    ...(r.MemoryReservation > 0 && { reservation: r.MemoryReservation }),
    ...(r.Memory > 0 && r.MemorySwap !== 0 && { swap: r.MemorySwap }),
    ...(r.MemorySwappiness !== null && { swappiness: r.MemorySwappiness }),
    ...(r.OomKillDisable === true && { disableOOMKiller: true }),
  };
}

function buildCpu(r: Resources): NonNullable<SpecResources["cpu"]> {
  const quota = r.NanoCpus > 0 ? Math.trunc((r.NanoCpus * CFS_PERIOD_US) / 1e9) : r.CpuQuota;
  const period = r.NanoCpus > 0 ? CFS_PERIOD_US : r.CpuPeriod;
  return {
    ...(r.CpuShares !== 0 && { shares: r.CpuShares }),
    // Below 0 means no limit, which is what there is without it; crun would write it as an unsigned number.
    ...(quota > 0 && { quota }),
    ...(period !== 0 && { period }),
    ...(r.CpuRealtimePeriod !== 0 && { realtimePeriod: r.CpuRealtimePeriod }),
    ...(r.CpuRealtimeRuntime !== 0 && { realtimeRuntime: r.CpuRealtimeRuntime }),
    ...(r.CpusetCpus !== "" && { cpus: r.CpusetCpus }),
    ...(r.CpusetMems !== "" && { mems: r.CpusetMems }),
  };
}

function buildBlockIo(r: Resources): NonNullable<SpecResources["blockIO"]> {
  const throttles = (devices: Resources["BlkioDeviceReadBps"]): SpecThrottle[] =>
    (devices ?? []).map(({ Path, Rate }) => ({ ...numbersOf(Path), rate: Rate }));
  const weights = (r.BlkioWeightDevice ?? []).map(({ Path, Weight }) => ({ ...numbersOf(Path), weight: Weight }));
  const lists = {
    weightDevice: weights,
    throttleReadBpsDevice: throttles(r.BlkioDeviceReadBps),
    throttleWriteBpsDevice: throttles(r.BlkioDeviceWriteBps),
    throttleReadIOPSDevice: throttles(r.BlkioDeviceReadIOps),
    throttleWriteIOPSDevice: throttles(r.BlkioDeviceWriteIOps),
  };
  return {
    ...(r.BlkioWeight > 0 && { weight: r.BlkioWeight }),
    ...Object.fromEntries(Object.entries(lists).filter(([, rows]) => rows.length > 0)),
  };
}

function numbersOf(path: string): { major: number; minor: number } {
  try {
    return deviceNumbers(statSync(path).rdev);
  } catch (error) {
    throw new GantryError(
      "invalid",
      `stat ${path}: ${hasCode(error, "ENOENT") ? "no such file or directory" : messageOf(error)}`,
    );
  }
}

/** Where the container's cgroup lies in each hierarchy; `kernel/cgroup` takes the same path. */
export function cgroupsPathOf(hostConfig: HostConfig, defaultParent: string, id: string): string {
  return posix.join("/", hostConfig.CgroupParent || defaultParent, id);
}
