import type { BlockIoRow, CpuStats, MemoryStats } from "../../api/stats.ts";
import { type ControllerFolders, readControl } from "../../kernel/cgroup-files.ts";
import type { CgroupSample } from "./cgroup-sample.ts";
import type { Machine } from "./machine.ts";
import { namedNumbers, wireNumber } from "./number.ts";

const NANOS_PER_TICK = 10_000_000;

/** Those of `memory.stat` that Docker shows, each for the cgroup itself and, by `total_`, with those below it. */
const COUNTED = [
  "active_anon",
  "active_file",
  "cache",
  "dirty",
  "inactive_anon",
  "inactive_file",
  "mapped_file",
  "pgfault",
  "pgmajfault",
  "pgpgin",
  "pgpgout",
  "rss",
  "rss_huge",
  "unevictable",
  "writeback",
];
const MEMORY_KEYS = [
  ...COUNTED,
  "hierarchical_memory_limit",
  "hierarchical_memsw_limit",
  ...COUNTED.map((name) => `total_${name}`),
].sort();

/** Reads a cgroup of the v1 hierarchies; undefined if it is gone. */
export function readCgroupV1({ folders }: ControllerFolders, machine: Machine): CgroupSample | undefined {
  const cpu = readCpu(folders, machine);
  if (cpu === undefined) return undefined;
  return { pids: readPids(folders.pids), io: readIo(folders.blkio), cpu, memory: readMemory(folders.memory, machine) };
}

function readCpu(folders: ControllerFolders["folders"], machine: Machine): CpuStats | undefined {
  const total = readControl(folders.cpuacct, "cpuacct.usage");
  if (total === undefined) return undefined;
  const split = namedNumbers(readControl(folders.cpuacct, "cpuacct.stat"));
  const throttling = namedNumbers(readControl(folders.cpu, "cpu.stat"));
  const perCpu = readControl(folders.cpuacct, "cpuacct.usage_percpu")?.trim().split(" ") ?? [];
  return {
    cpu_usage: {
      total_usage: Number(total),
      ...(perCpu.length > 0 && { percpu_usage: perCpu.map(Number) }),
      usage_in_kernelmode: Number(split.get("system") ?? 0) * NANOS_PER_TICK,
      usage_in_usermode: Number(split.get("user") ?? 0) * NANOS_PER_TICK,
    },
    system_cpu_usage: machine.cpuNanos,
    online_cpus: machine.cpus,
    throttling_data: {
      periods: Number(throttling.get("nr_periods") ?? 0),
      throttled_periods: Number(throttling.get("nr_throttled") ?? 0),
      throttled_time: Number(throttling.get("throttled_time") ?? 0),
    },
  };
}

function readMemory(folder: string | undefined, machine: Machine): MemoryStats {
  const usage = readControl(folder, "memory.usage_in_bytes");
  if (usage === undefined) return {};
  const rows = namedNumbers(readControl(folder, "memory.stat"));
  const failures = Number(readControl(folder, "memory.failcnt") ?? 0);
  return {
    usage: Number(usage),
    max_usage: Number(readControl(folder, "memory.max_usage_in_bytes") ?? 0),
    stats: Object.fromEntries(
      MEMORY_KEYS.filter((key) => rows.has(key)).map((key) => [key, wireNumber(rows.get(key) ?? "0")]),
    ),
    ...(failures > 0 && { failcnt: failures }),
    limit: Math.min(Number(readControl(folder, "memory.limit_in_bytes") ?? machine.memoryBytes), machine.memoryBytes),
  };
}

function readPids(folder: string | undefined): CgroupSample["pids"] {
  const current = Number(readControl(folder, "pids.current") ?? 0);
  const limit = Number(readControl(folder, "pids.max") ?? 0);
  return { ...(current > 0 && { current }), ...(limit > 0 && { limit }) };
}

/** What the throttling layer counts is there under every I/O scheduler; the other counters went with that of CFQ. */
function readIo(folder: string | undefined): CgroupSample["io"] {
  const rowsOf = (name: string) =>
    parseIoRows(readControl(folder, `${name}_recursive`) ?? readControl(folder, name) ?? "");
  return {
    io_service_bytes_recursive: rowsOf("blkio.throttle.io_service_bytes"),
    io_serviced_recursive: rowsOf("blkio.throttle.io_serviced"),
    io_queue_recursive: [],
    io_service_time_recursive: [],
    io_wait_time_recursive: [],
    io_merged_recursive: [],
    io_time_recursive: [],
    sectors_recursive: [],
  };
}

/** Rows `8:0 Read 4096`; the sum of all devices at the end has no device and is left out. */
function parseIoRows(text: string): BlockIoRow[] {
  const rows: BlockIoRow[] = [];
  for (const row of text.split("\n")) {
    const match = /^(\d+):(\d+) (\w+) (\d+)$/.exec(row);
    if (match === null) continue;
    const [, major, minor, op = "", value] = match;
    rows.push({ major: Number(major), minor: Number(minor), op, value: Number(value) });
  }
  return rows;
}
