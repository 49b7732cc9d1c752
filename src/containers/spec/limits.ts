import type { Resources } from "../../api/container.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import { isAvailable } from "./cpuset.ts";
import type { HostFacts, LimitSupport } from "./host.ts";

const MIN_MEMORY = 6 * 1024 * 1024;
const NO_CGROUP = "capabilities or the cgroup is not mounted.";

/**
 * What of the wished limits this host can keep: what the kernel doesn't know is dropped with a warning, what makes no
 * sense is refused with `invalid`, both in Docker's words. `update`: limits of a container that exists already.
 */
export function settleLimits<T extends Resources>(
  wished: T,
  host: Pick<HostFacts, "supports" | "cpus" | "cpuset">,
  options: { readonly update?: boolean } = {},
): { readonly resources: T; readonly warnings: string[] } {
  const warnings: string[] = [];
  const resources = { ...wished };
  if (resources.MemorySwappiness === -1) resources.MemorySwappiness = null;
  settleMemory(resources, host.supports, options.update ?? false, warnings);
  settleCpu(resources, host, warnings);
  settleCpuset(resources, host);
  settleBlockIo(resources, host.supports, warnings);
  return { resources, warnings };
}

function refuse(message: string): never {
  throw new GantryError("invalid", message);
}

function settleMemory(r: Resources, supports: LimitSupport, update: boolean, warnings: string[]): void {
  if (r.Memory !== 0 && r.Memory < MIN_MEMORY) refuse("Minimum memory limit allowed is 6MB");
  if (r.Memory > 0 && !supports.memory) {
    warnings.push(`Your kernel does not support memory limit ${NO_CGROUP} Limitation discarded.`);
    r.Memory = 0;
    r.MemorySwap = -1;
  }
  if (r.Memory > 0 && r.MemorySwap !== -1 && !supports.swap) {
    warnings.push(`Your kernel does not support swap limit ${NO_CGROUP} Memory limited without swap.`);
    r.MemorySwap = -1;
  }
  if (r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory) {
    refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
  }
  if (r.Memory === 0 && r.MemorySwap > 0 && !update) {
    refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
  }
  if (r.MemorySwap < -1) refuse(`invalid memory swap limit: ${r.MemorySwap}`);
  if (r.MemorySwappiness !== null && !supports.swappiness) {
    warnings.push(`Your kernel does not support memory swappiness ${NO_CGROUP} Memory swappiness discarded.`);
    r.MemorySwappiness = null;
  }
  if (r.MemorySwappiness !== null && (r.MemorySwappiness < 0 || r.MemorySwappiness > 100)) {
    refuse(`Invalid value: ${r.MemorySwappiness}, valid memory swappiness range is 0-100`);
  }
  if (r.MemoryReservation > 0 && !supports.reservation) {
    warnings.push(`Your kernel does not support memory soft limit ${NO_CGROUP} Limitation discarded.`);
    r.MemoryReservation = 0;
  }
  if (r.MemoryReservation !== 0 && r.MemoryReservation < MIN_MEMORY) {
    refuse("Minimum memory reservation allowed is 6MB");
  }
  if (r.Memory > 0 && r.MemoryReservation > r.Memory) {
    refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
  }
  if (r.OomKillDisable === true && !supports.oomKillDisable) {
    warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
  }
  if (!supports.oomKillDisable) r.OomKillDisable = null;
  if (r.OomKillDisable === true && r.Memory === 0) {
    warnings.push(
      "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
    );
  }
  if (r.PidsLimit !== null && !supports.pids) {
    if (r.PidsLimit > 0) {
      warnings.push(`Your kernel does not support PIDs limit ${NO_CGROUP} PIDs limit discarded.`);
    }
    r.PidsLimit = null;
  }
}

function settleCpu(r: Resources, host: Pick<HostFacts, "supports" | "cpus">, warnings: string[]): void {
  if (r.NanoCpus > 0 && r.CpuPeriod > 0) {
    refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
  }
  if (r.NanoCpus > 0 && r.CpuQuota > 0) refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
  if (r.NanoCpus > 0 && !host.supports.cpu) {
    refuse("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted");
  }
  if (r.NanoCpus < 0 || r.NanoCpus > host.cpus * 1e9) {
    refuse(`range of CPUs is from 0.01 to ${host.cpus}.00, as there are only ${host.cpus} CPUs available`);
  }
  if (r.CpuShares < 0) refuse(`invalid CPU shares (${r.CpuShares}): value must be a positive integer`);
  if (r.CpuShares > 0 && !host.supports.cpu) {
    warnings.push("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.");
    r.CpuShares = 0;
  }
  if ((r.CpuPeriod !== 0 || r.CpuQuota !== 0) && !host.supports.cpu) {
    warnings.push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.");
    r.CpuPeriod = 0;
    r.CpuQuota = 0;
  }
  if (r.CpuPeriod !== 0 && (r.CpuPeriod < 1000 || r.CpuPeriod > 1_000_000)) {
    refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
  }
  if (r.CpuQuota > 0 && r.CpuQuota < 1000) refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  if ((r.CpuRealtimePeriod !== 0 || r.CpuRealtimeRuntime !== 0) && !host.supports.realtime) {
    refuse("kernel does not support CPU real-time scheduler");
  }
  if (r.CpuRealtimePeriod !== 0 && r.CpuRealtimeRuntime > r.CpuRealtimePeriod) {
    refuse("cpu real-time runtime cannot be higher than cpu real-time period");
  }
  if (r.CpuPercent > 0) {
    warnings.push("linux does not support CPU percent. Percent discarded.");
    r.CpuPercent = 0;
  }
}

function settleCpuset(r: Resources, host: Pick<HostFacts, "supports" | "cpuset">): void {
  for (const [what, wished, available, missing] of [
    ["cpus", r.CpusetCpus, host.cpuset.cpus, "Requested CPUs are not available"],
    ["mems", r.CpusetMems, host.cpuset.mems, "Requested memory nodes are not available"],
  ] as const) {
    let fits: boolean;
    try {
      fits = isAvailable(wished, available);
    } catch (error) {
      throw new GantryError("invalid", `Invalid value ${wished} for cpuset ${what}: ${messageOf(error)}`);
    }
    if (!fits) refuse(`${missing} - requested ${wished}, available: ${available}`);
  }
}

function settleBlockIo(r: Resources, supports: LimitSupport, warnings: string[]): void {
  if (r.BlkioWeight > 0 && !supports.blkioWeight) {
    warnings.push("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.");
    r.BlkioWeight = 0;
  }
  if (r.BlkioWeight !== 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000)) {
    refuse("Range of blkio weight is from 10 to 1000");
  }
  if (r.IOMaximumBandwidth !== 0) {
    refuse("invalid option: QoS maximum bandwidth configuration is not supported on linux");
  }
  if (r.IOMaximumIOps !== 0) refuse("invalid option: QoS maximum IOPs configuration is not supported on linux");
  if ((r.BlkioWeightDevice ?? []).length > 0 && !supports.blkioWeightDevice) {
    warnings.push(
      "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
    );
    r.BlkioWeightDevice = [];
  }
  for (const { Path, Weight } of r.BlkioWeightDevice ?? []) {
    if (Weight < 10 || Weight > 1000) refuse(`invalid weight for device: ${Path}:${Weight}`);
  }
  for (const [field, text] of [
    ["BlkioDeviceReadBps", "BPS Block I/O read"],
    ["BlkioDeviceWriteBps", "BPS Block I/O write"],
    ["BlkioDeviceReadIOps", "IOPS Block read"],
    ["BlkioDeviceWriteIOps", "IOPS Block write"],
  ] as const) {
    if ((r[field] ?? []).length === 0) continue;
    for (const { Path, Rate } of r[field] ?? []) {
      if (Rate < 0) refuse(`invalid rate for device: ${Path}:${Rate}. Rate must be a positive integer`);
    }
    if (supports.blkioThrottle) continue;
    warnings.push(`Your kernel does not support ${text} limit or the cgroup is not mounted. ${text} limit discarded.`);
    r[field] = [];
  }
}
