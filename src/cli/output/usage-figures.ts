import type { ContainerStats } from "../../api/stats.ts";

/** What a container uses, worked out of a sample as docker's client does. */
export interface UsageFigures {
  readonly cpuPercent: number;
  /** Bytes, without the file cache that the kernel would give back first. */
  readonly memory: number;
  readonly memoryLimit: number;
  readonly memoryPercent: number;
  readonly received: number;
  readonly sent: number;
  readonly read: number;
  readonly written: number;
  readonly pids: number;
}

export function figuresOf(stats: ContainerStats): UsageFigures {
  const memory = memoryOf(stats.memory_stats);
  const memoryLimit = stats.memory_stats.limit ?? 0;
  const interfaces = Object.values(stats.networks ?? {});
  const moved = (initial: string) =>
    (stats.blkio_stats.io_service_bytes_recursive ?? [])
      .filter(({ op }) => op[0]?.toLowerCase() === initial)
      .reduce((total, { value }) => total + value, 0);
  return {
    cpuPercent: cpuPercentOf(stats),
    memory,
    memoryLimit,
    memoryPercent: memoryLimit === 0 ? 0 : (memory / memoryLimit) * 100,
    received: interfaces.reduce((total, { rx_bytes }) => total + rx_bytes, 0),
    sent: interfaces.reduce((total, { tx_bytes }) => total + tx_bytes, 0),
    read: moved("r"),
    written: moved("w"),
    pids: stats.pids_stats.current ?? 0,
  };
}

/** 100 is one CPU: the container's part of the machine's time between the two samples. */
function cpuPercentOf({ cpu_stats: now, precpu_stats: before }: ContainerStats): number {
  const used = now.cpu_usage.total_usage - before.cpu_usage.total_usage;
  const passed = (now.system_cpu_usage ?? 0) - (before.system_cpu_usage ?? 0);
  const cpus = now.online_cpus || (now.cpu_usage.percpu_usage?.length ?? 0);
  return used > 0 && passed > 0 ? (used / passed) * cpus * 100 : 0;
}

/** The inactive file cache is called otherwise on cgroup v1 than on v2. */
function memoryOf({ usage = 0, stats = {} }: ContainerStats["memory_stats"]): number {
  const cache = stats.total_inactive_file ?? stats.inactive_file ?? 0;
  return cache < usage ? usage - cache : usage;
}
