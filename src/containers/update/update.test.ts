import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ContainerUpdateRequest, HostConfig } from "../../api/container.ts";
import { decodeCreateRequest, updateBody } from "../../api/create-request.ts";
import { decodeJson } from "../../api/decode.ts";
import { applyWrites } from "./apply.ts";
import { type ControlWrite, limitWrites, type NestedWrites } from "./control-writes.ts";
import { type Changeable, changedLimits, lateWishes, mergeUpdate } from "./merge.ts";

function request(wished: object): ContainerUpdateRequest {
  return decodeJson(updateBody, JSON.stringify(wished));
}

function hostConfig(limits: object): HostConfig {
  return decodeCreateRequest(JSON.stringify({ Image: "x", HostConfig: limits })).HostConfig;
}

function writesOf(version: 1 | 2, present: object, wished: object) {
  const before = hostConfig(present);
  const update = request(wished);
  const changed = Object.keys(changedLimits(update)) as Changeable[];
  return limitWrites(version, before, mergeUpdate(before, update), changed);
}

const shown = (write: ControlWrite | NestedWrites): string =>
  "outer" in write
    ? `${write.inner === undefined ? "" : shown(write.inner)} in ${shown(write.outer)}`
    : `${write.controller}/${write.files[0]}=${write.value}`;

test("cgroup v1: each limit has its file, those that hold each other go together", () => {
  const wished = {
    CpuShares: 512,
    NanoCpus: 1_500_000_000,
    Memory: 64_000_000,
    MemorySwap: 128_000_000,
    MemoryReservation: 32_000_000,
    PidsLimit: 0,
    CpusetCpus: "0",
    BlkioWeight: 300,
  };
  assert.deepEqual(writesOf(1, {}, wished).map(shown), [
    "cpu/cpu.shares=512",
    "cpu/cpu.cfs_period_us=100000",
    "cpu/cpu.cfs_quota_us=150000",
    "memory/memory.limit_in_bytes=64000000 in memory/memory.memsw.limit_in_bytes=128000000",
    "memory/memory.soft_limit_in_bytes=32000000",
    "blkio/blkio.weight=300",
    "pids/pids.max=max",
    "cpuset/cpuset.cpus=0",
  ]);
});

test("cgroup v2: the same limits in its words", () => {
  const wished = { CpuShares: 1024, CpuQuota: -1, Memory: 64_000_000, MemorySwap: 128_000_000, PidsLimit: 9 };
  assert.deepEqual(writesOf(2, { CpuQuota: 50_000, CpuPeriod: 200_000 }, wished).map(shown), [
    "cpu/cpu.weight=39",
    "cpu/cpu.max=max 200000",
    "memory/memory.max=64000000",
    "memory/memory.swap.max=64000000",
    "pids/pids.max=9",
  ]);
  assert.deepEqual(writesOf(2, {}, { Memory: 7_000_000, MemorySwap: -1 }).map(shown), [
    "memory/memory.max=7000000",
    "memory/memory.swap.max=max",
  ]);
});

test("what is not given stays: an empty request writes nothing", () => {
  assert.deepEqual(writesOf(1, { Memory: 64_000_000, MemorySwap: -1, NanoCpus: 1e9 }, {}), []);
});

test("what does not go with what is there is refused in Docker's words", () => {
  for (const [present, wished, text] of [
    [{ NanoCpus: 1e9 }, { CpuPeriod: 100_000 }, /CPU Period cannot be updated as NanoCPUs has already been set/],
    [{ NanoCpus: 1e9 }, { CpuQuota: 50_000 }, /CPU Quota cannot be updated as NanoCPUs has already been set/],
    [{ CpuPeriod: 100_000 }, { NanoCpus: 1e9 }, /Nano CPUs cannot be updated as CPU Period has already been set/],
    [{ CpuQuota: 50_000 }, { NanoCpus: 1e9 }, /Nano CPUs cannot be updated as CPU Quota has already been set/],
    [{ MemorySwap: 10_000_000 }, { Memory: 20_000_000 }, /update the memoryswap at the same time/],
    [{ Memory: 20_000_000, MemorySwap: -1 }, { MemorySwap: 10_000_000 }, /should be larger than memory limit/],
    [{ AutoRemove: true }, { RestartPolicy: { Name: "always" } }, /because AutoRemove is enabled/],
  ] as const) {
    assert.throws(() => mergeUpdate(hostConfig(present), request(wished)), text);
  }
  const kept = mergeUpdate(hostConfig({ AutoRemove: true }), request({ RestartPolicy: { Name: "no" } }));
  assert.equal(kept.RestartPolicy.Name, "no");
});

test("a wish that comes too late is told, one that is fulfilled is not", () => {
  const present = hostConfig({ CgroupParent: "/a", Ulimits: [] });
  assert.deepEqual(lateWishes(request({ CgroupParent: "/a" }), present), []);
  assert.match(lateWishes(request({ CgroupParent: "/b" }), present).join(), /^CgroupParent of a container can't/);
});

function cgroup(t: TestContext, files: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(join(tmpdir(), "gantry-limits-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const folders = Object.fromEntries(["cpu", "memory", "blkio", "io"].map((name) => [name, folder]));
  return { place: { version: 1, folders } as const, read: (name: string) => readFileSync(join(folder, name), "utf8") };
}

const write = (file: string, value: string): ControlWrite => ({ controller: "cpu", files: [file], value });

test("a limit that is refused takes back those before it", (t) => {
  const { place, read } = cgroup(t, { "cpu.shares": "1024\n", "cpu.cfs_quota_us": "-1\n" });
  const writes = [write("cpu.shares", "512!"), write("cpu.cfs_quota_us", "50000"), write("cpu.none", "1")];
  assert.throws(() => applyWrites(place, writes), /failed to write cpu.none: the kernel has no such limit/);
  assert.equal(read("cpu.shares").slice(0, 4), "1024");
  assert.equal(read("cpu.cfs_quota_us").slice(0, 2), "-1");
});

test("of two limits that hold each other the outer goes up first and down last", (t) => {
  const order = (before: string, outer: string): string[] => {
    const { place } = cgroup(t, { inner: "0\n", outer: `${before}\n` });
    const seen: string[] = [];
    const spied = (file: string, value: string): ControlWrite => ({
      controller: "memory",
      get files() {
        seen.push(file);
        return [file];
      },
      value,
    });
    applyWrites(place, [{ inner: spied("inner", "5"), outer: spied("outer", outer) }]);
    return seen.slice(-2);
  };
  assert.deepEqual(order("100", "200"), ["outer", "inner"]);
  assert.deepEqual(order("200", "100"), ["inner", "outer"]);
  assert.deepEqual(order("200", "-1"), ["outer", "inner"]);
});

test("the limit of one device is taken back without touching another's", (t) => {
  const { place, read } = cgroup(t, { "io.max": "8:0 rbps=1000 wbps=max\n8:16 rbps=7 wbps=max\n" });
  const before = hostConfig({});
  const [one] = limitWrites(
    2,
    { ...before, BlkioDeviceReadBps: [{ Path: "/dev/null", Rate: 5 }] },
    { ...before, BlkioDeviceReadBps: [{ Path: "/dev/zero", Rate: 9 }] },
    ["BlkioDeviceReadBps"],
  ) as ControlWrite[];
  assert.deepEqual([one?.controller, one?.files, one?.value], ["io", ["io.max"], "1:5 rbps=9"]);
  assert.equal(one?.undo?.(read("io.max")), "1:5 rbps=max");
  assert.equal(one?.undo?.("1:5 rbps=3 wbps=max\n"), "1:5 rbps=3");
  assert.equal(place.version, 1);
});
