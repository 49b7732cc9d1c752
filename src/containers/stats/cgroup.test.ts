import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { readCgroupV1 } from "./cgroup-v1.ts";
import { readCgroupV2 } from "./cgroup-v2.ts";
import { parseNetDev } from "./interfaces.ts";
import { parseProcStat } from "./machine.ts";

const MACHINE = { cpuNanos: 5_000_000_000, cpus: 2, memoryBytes: 8_000_000_000 };

function folderOf(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), "gantry-cgroup-"));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(root, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
  return root;
}

test("cgroup v1: what Docker shows of each controller, and no more", (t) => {
  const folder = folderOf(t, {
    "cpuacct.usage": "1500\n",
    "cpuacct.usage_percpu": "1000 500 \n",
    "cpuacct.stat": "user 3\nsystem 2\n",
    "cpu.stat": "nr_periods 5\nnr_throttled 1\nthrottled_time 70\nnr_bursts 0\n",
    "memory.usage_in_bytes": "4096\n",
    "memory.max_usage_in_bytes": "8192\n",
    "memory.failcnt": "3\n",
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.stat": "cache 7\nshmem 1\nhierarchical_memory_limit 9223372036854771712\ntotal_inactive_file 5\n",
    "pids.current": "4\n",
    "pids.max": "max\n",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n",
    "blkio.throttle.io_serviced": "8:0 Write 2\n",
  });
  const folders = Object.fromEntries(["cpu", "cpuacct", "memory", "pids", "blkio"].map((name) => [name, folder]));
  const sample = readCgroupV1({ version: 1, folders }, MACHINE);
  // Through JSON, as a client has it: a limit of 64 bits keeps its digits.
  assert.match(JSON.stringify(sample), /"hierarchical_memory_limit":9223372036854771712[,}]/);
  assert.deepEqual(JSON.parse(JSON.stringify(sample)), {
    pids: { current: 4 },
    io: {
      io_service_bytes_recursive: [
        { major: 8, minor: 0, op: "Read", value: 4096 },
        { major: 8, minor: 0, op: "Total", value: 4096 },
      ],
      io_serviced_recursive: [{ major: 8, minor: 0, op: "Write", value: 2 }],
      io_queue_recursive: [],
      io_service_time_recursive: [],
      io_wait_time_recursive: [],
      io_merged_recursive: [],
      io_time_recursive: [],
      sectors_recursive: [],
    },
    cpu: {
      cpu_usage: {
        total_usage: 1500,
        percpu_usage: [1000, 500],
        usage_in_kernelmode: 20_000_000,
        usage_in_usermode: 30_000_000,
      },
      system_cpu_usage: 5_000_000_000,
      online_cpus: 2,
      throttling_data: { periods: 5, throttled_periods: 1, throttled_time: 70 },
    },
    memory: {
      usage: 4096,
      max_usage: 8192,
      stats: { cache: 7, hierarchical_memory_limit: Number("9223372036854771712"), total_inactive_file: 5 },
      failcnt: 3,
      limit: 8_000_000_000,
    },
  });
});

test("cgroup v2: microseconds become nanoseconds, and there is no peak and no CPU by itself", (t) => {
  const folder = folderOf(t, {
    "cpu.stat": "usage_usec 15\nuser_usec 10\nsystem_usec 5\nnr_periods 2\nnr_throttled 1\nthrottled_usec 9\n",
    "memory.current": "4096\n",
    "memory.max": "max\n",
    "memory.stat": "anon 100\nfile 50\ninactive_file 20\nworkingset_refault_anon 1\nworkingset_refault_file 2\n",
    "memory.events": "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\n",
    "pids.current": "1\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n254:16 \n",
  });
  const text = JSON.stringify(readCgroupV2({ version: 2, folders: { cpu: folder } }, MACHINE));
  assert.match(text, /"limit":18446744073709551615[,}]/);
  const sample = JSON.parse(text);
  assert.deepEqual(sample.cpu.cpu_usage, {
    total_usage: 15_000,
    usage_in_kernelmode: 5_000,
    usage_in_usermode: 10_000,
  });
  assert.deepEqual(sample.cpu.throttling_data, { periods: 2, throttled_periods: 1, throttled_time: 9_000 });
  assert.equal(sample.memory.limit, 8_000_000_000);
  assert.equal(sample.memory.failcnt, 2);
  assert.equal(sample.memory.max_usage, undefined);
  assert.equal(sample.memory.stats.workingset_refault, 3);
  assert.equal(sample.memory.stats.inactive_file, 20);
  assert.deepEqual(sample.io.io_service_bytes_recursive.slice(0, 2), [
    { major: 8, minor: 0, op: "read", value: 10 },
    { major: 8, minor: 0, op: "write", value: 20 },
  ]);
  assert.equal(sample.io.io_serviced_recursive, null);
});

test("a cgroup that is gone is no sample", () => {
  assert.equal(readCgroupV1({ version: 1, folders: { cpuacct: "/nowhere" } }, MACHINE), undefined);
  assert.equal(readCgroupV2({ version: 2, folders: { cpu: "/nowhere" } }, MACHINE), undefined);
});

test("interfaces are told without the loopback", () => {
  const row = (name: string, from: number) =>
    `${name}:${Array.from({ length: 16 }, (_, column) => from + column).join(" ")}`;
  const text = ["Inter-| Receive", " face |bytes", row("    lo", 100), row("  eth0", 0)].join("\n");
  assert.deepEqual(parseNetDev(text), {
    eth0: {
      rx_bytes: 0,
      rx_packets: 1,
      rx_errors: 2,
      rx_dropped: 3,
      tx_bytes: 8,
      tx_packets: 9,
      tx_errors: 10,
      tx_dropped: 11,
    },
  });
  assert.equal(parseNetDev(["a", "b", row("lo", 1)].join("\n")), undefined);
});

test("the machine's time is the sum of the seven that Docker adds", () => {
  const text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\n";
  assert.deepEqual(parseProcStat(text), { cpuNanos: 280_000_000, cpus: 2 });
});
