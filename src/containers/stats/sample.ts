import type { ContainerStats, CpuStats } from "../../api/stats.ts";
import type { ControllerFolders } from "../../kernel/cgroup-files.ts";
import { NEVER, timestamp } from "../record.ts";
import { NO_IO } from "./cgroup-sample.ts";
import { readCgroupV1 } from "./cgroup-v1.ts";
import { readCgroupV2 } from "./cgroup-v2.ts";
import { readInterfaces } from "./interfaces.ts";
import type { Machine } from "./machine.ts";

/** One look at a container: what a client is told when it is joined with the look before. */
export type Sample = Omit<ContainerStats, "preread" | "precpu_stats" | "name">;

/** Where to look. A process of the host's network namespace has no interfaces of its own. */
export interface Place {
  readonly id: string;
  readonly folders: ControllerFolders;
  readonly pid: number;
  readonly ownNetwork: boolean;
}

/** Some 0.2 ms of system calls. A cgroup that has gone reads as a container that does not run. */
export function takeSample({ id, folders, pid, ownNetwork }: Place, machine: Machine): Sample {
  const read = folders.version === 1 ? readCgroupV1(folders, machine) : readCgroupV2(folders, machine);
  if (read === undefined) return emptySample(id);
  const networks = ownNetwork ? readInterfaces(pid) : undefined;
  return {
    read: timestamp(),
    pids_stats: read.pids,
    blkio_stats: read.io,
    num_procs: 0,
    storage_stats: {},
    cpu_stats: read.cpu,
    memory_stats: read.memory,
    id,
    ...(networks !== undefined && { networks }),
  };
}

const NO_CPU: CpuStats = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
};

/** Of a container that does not run: Docker's zeros. */
export function emptySample(id: string): Sample {
  return {
    read: NEVER,
    pids_stats: {},
    blkio_stats: NO_IO,
    num_procs: 0,
    storage_stats: {},
    cpu_stats: NO_CPU,
    memory_stats: {},
    id,
  };
}

/** The answer: a sample with the one before it, if there was one. */
export function statsOf(sample: Sample, before: Sample | undefined, name: string): ContainerStats {
  const { id, networks, read, ...rest } = sample;
  return {
    read,
    preread: before?.read ?? NEVER,
    ...rest,
    precpu_stats: before?.cpu_stats ?? NO_CPU,
    name: `/${name}`,
    id,
    ...(networks !== undefined && { networks }),
  };
}
