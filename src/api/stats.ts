/** GET /containers/{id}/stats: one sample. What the kernel doesn't tell is left out or null, as Docker does. */
export interface ContainerStats {
  /** RFC 3339 with nanoseconds; `0001-01-01T00:00:00Z` where there is no sample. */
  read: string;
  /** The time of the sample that `precpu_stats` is of. */
  preread: string;
  pids_stats: PidsStats;
  blkio_stats: BlockIoStats;
  /** Of Windows alone: always 0. */
  num_procs: number;
  /** Of Windows alone: always empty. */
  storage_stats: Record<string, never>;
  cpu_stats: CpuStats;
  precpu_stats: CpuStats;
  memory_stats: MemoryStats;
  /** With a leading slash. */
  name: string;
  id: string;
  /** By the interface's name inside. */
  networks?: Record<string, InterfaceStats>;
}

export interface PidsStats {
  current?: number;
  /** Absent without a limit on cgroup v1, 18446744073709551615 on v2. */
  limit?: number;
}

export interface BlockIoRow {
  major: number;
  minor: number;
  /** `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total` of v1; `read`, `write` of v2. */
  op: string;
  value: number;
}

/** null where nothing was read; on cgroup v2 there is the first alone. */
export interface BlockIoStats {
  io_service_bytes_recursive: BlockIoRow[] | null;
  io_serviced_recursive: BlockIoRow[] | null;
  io_queue_recursive: BlockIoRow[] | null;
  io_service_time_recursive: BlockIoRow[] | null;
  io_wait_time_recursive: BlockIoRow[] | null;
  io_merged_recursive: BlockIoRow[] | null;
  io_time_recursive: BlockIoRow[] | null;
  sectors_recursive: BlockIoRow[] | null;
}

export interface CpuStats {
  cpu_usage: {
    /** Nanoseconds, as all here. */
    total_usage: number;
    /** By CPU; cgroup v1 alone. */
    percpu_usage?: number[];
    usage_in_kernelmode: number;
    usage_in_usermode: number;
  };
  /** Of the whole machine, idle time included: all CPUs' nanoseconds. */
  system_cpu_usage?: number;
  online_cpus?: number;
  throttling_data: { periods: number; throttled_periods: number; throttled_time: number };
}

export interface MemoryStats {
  /** Bytes. */
  usage?: number;
  /** cgroup v1 alone. */
  max_usage?: number;
  /** The kernel's own counters by their names in `memory.stat`. */
  stats?: Record<string, number>;
  /** How often a limit was hit. */
  failcnt?: number;
  /** The container's limit, or the machine's memory where that is less. */
  limit?: number;
}

export interface InterfaceStats {
  rx_bytes: number;
  rx_packets: number;
  rx_errors: number;
  rx_dropped: number;
  tx_bytes: number;
  tx_packets: number;
  tx_errors: number;
  tx_dropped: number;
}
