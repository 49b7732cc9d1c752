import type { BlockIoRow, CpuStats, MemoryStats } from "../../api/stats.ts";
import { type ControllerFolders, readControl } from "../../kernel/cgroup-files.ts";
import { type CgroupSample, NO_IO } from "./cgroup-sample.ts";
import type { Machine } from "./machine.ts";
import { namedNumbers, wireNumber } from "./number.ts";

/** What Docker says of a limit that is none. */
const UNLIMITED = "18446744073709551615";

/** Those of `memory.stat` that Docker shows. */
const MEMORY_KEYS =
  "active_anon active_file anon anon_thp file file_dirty file_mapped file_writeback inactive_anon inactive_file kernel_stack pgactivate pgdeactivate pgfault pglazyfree pglazyfreed pgmajfault pgrefill pgscan pgsteal shmem slab slab_reclaimable slab_unreclaimable sock thp_collapse_alloc thp_fault_alloc unevictable workingset_activate workingset_nodereclaim workingset_refault".split(
    " ",
  );

/** Reads a cgroup of the v2 hierarchy; undefined if it is gone. */
export function readCgroupV2({ folders }: ControllerFolders, machine: Machine): CgroupSample | undefined {
  const folder = folders.cpu ?? folders.memory ?? folders.pids;
  const cpu = readCpu(folder, machine);
  if (cpu === undefined) return undefined;
  return { pids: readPids(folder), io: readIo(folder), cpu, memory: readMemory(folder, machine) };
}

function readCpu(folder: string | undefined, machine: Machine): CpuStats | undefined {
  const text = readControl(folder, "cpu.stat");
  if (text === undefined) return undefined;
  const rows = namedNumbers(text);
  const of = (name: string) => Number(rows.get(name) ?? 0);
  return {
    cpu_usage: {
      total_usage: of("usage_usec") * 1000,
      usage_in_kernelmode: of("system_usec") * 1000,
      usage_in_usermode: of("user_usec") * 1000,
    },
    system_cpu_usage: machine.cpuNanos,
    online_cpus: machine.cpus,
    throttling_data: {
      periods: of("nr_periods"),
      throttled_periods: of("nr_throttled"),
      throttled_time: of("throttled_usec") * 1000,
    },
  };
}

function readMemory(folder: string | undefined, machine: Machine): MemoryStats {
  const usage = readControl(folder, "memory.current");
  if (usage === undefined) return {};
  const rows = namedNumbers(readControl(folder, "memory.stat"));
  // Kernels from 5.9 on count pages of files and of none apart.
  if (!rows.has("workingset_refault")) rows.set("workingset_refault", sumOf(rows, "workingset_refault"));
  if (!rows.has("workingset_activate")) rows.set("workingset_activate", sumOf(rows, "workingset_activate"));
  const limit = readControl(folder, "memory.max")?.trim() ?? "max";
  const failures = Number(namedNumbers(readControl(folder, "memory.events")).get("oom") ?? 0);
  return {
    usage: Number(usage),
    stats: Object.fromEntries(MEMORY_KEYS.map((key) => [key, wireNumber(rows.get(key) ?? "0")])),
    ...(failures > 0 && { failcnt: failures }),
    limit: limit === "max" ? machine.memoryBytes : Math.min(Number(limit), machine.memoryBytes),
  };
}

function sumOf(rows: ReadonlyMap<string, string>, name: string): string {
  return String(Number(rows.get(`${name}_anon`) ?? 0) + Number(rows.get(`${name}_file`) ?? 0));
}

function readPids(folder: string | undefined): CgroupSample["pids"] {
  const current = Number(readControl(folder, "pids.current") ?? 0);
  const limit = readControl(folder, "pids.max")?.trim();
  return {
    ...(current > 0 && { current }),
    ...(limit !== undefined && { limit: wireNumber(limit === "max" ? UNLIMITED : limit) }),
  };
}

function readIo(folder: string | undefined): CgroupSample["io"] {
  const rows: BlockIoRow[] = [];
  for (const row of (readControl(folder, "io.stat") ?? "").split("\n")) {
    const device = /^(\d+):(\d+) /.exec(row);
    if (device === null) continue;
    const of = (name: string) => Number(new RegExp(`\\b${name}=(\\d+)`).exec(row)?.[1] ?? 0);
    const [major, minor] = [Number(device[1]), Number(device[2])];
    rows.push({ major, minor, op: "read", value: of("rbytes") }, { major, minor, op: "write", value: of("wbytes") });
  }
  return { ...NO_IO, io_service_bytes_recursive: rows };
}
