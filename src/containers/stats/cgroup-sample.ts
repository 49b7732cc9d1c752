import type { BlockIoStats, CpuStats, MemoryStats, PidsStats } from "../../api/stats.ts";

/** Of a control group that counts no I/O. */
export const NO_IO: BlockIoStats = {
  io_service_bytes_recursive: null,
  io_serviced_recursive: null,
  io_queue_recursive: null,
  io_service_time_recursive: null,
  io_wait_time_recursive: null,
  io_merged_recursive: null,
  io_time_recursive: null,
  sectors_recursive: null,
};

/** What one reading of a cgroup tells, in the API's words. */
export interface CgroupSample {
  readonly pids: PidsStats;
  readonly io: BlockIoStats;
  readonly cpu: CpuStats;
  readonly memory: MemoryStats;
}
