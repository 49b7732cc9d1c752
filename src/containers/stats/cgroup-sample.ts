import type { BlockIoStats, CpuStats, MemoryStats, PidsStats } from "../../api/stats.ts";

/** What one reading of a cgroup tells, in the API's words. */
export interface CgroupSample {
  readonly pids: PidsStats;
  readonly io: BlockIoStats;
  readonly cpu: CpuStats;
  readonly memory: MemoryStats;
}
