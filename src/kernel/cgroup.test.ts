import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import {
  type Cgroup,
  cgroupAt,
  cgroupOf,
  cgroupProcesses,
  isCgroupFrozen,
  oomKills,
  removeCgroup,
  setCgroupFrozen,
  signalCgroup,
} from "./cgroup.ts";
import { cgroupControllers, cgroupHierarchies, cgroupLayout } from "./cgroup-hierarchy.ts";

let cgroup: Cgroup;
let name = "";
let children: ChildProcess[] = [];

beforeEach(() => {
  name = `gantry-test-${randomBytes(6).toString("hex")}`;
  cgroup = cgroupAt(name);
});
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  children = [];
  await removeCgroup(cgroup);
});

function make(...below: string[]): void {
  for (const folder of cgroup.folders) {
    for (const path of [folder, ...below.map((_, depth) => join(folder, ...below.slice(0, depth + 1)))]) {
      mkdirSync(path);
      // A v1 cpuset takes no process before it has cpus and memory nodes.
      if (!existsSync(join(path, "cpuset.sched_load_balance"))) continue;
      for (const file of ["cpuset.cpus", "cpuset.mems"]) {
        writeFileSync(join(path, file), readFileSync(join(path, "..", file), "utf8"));
      }
    }
  }
}

/** A process in the cgroup that prints one line when it runs. */
async function run(script: string, below = ""): Promise<ChildProcess> {
  const child = spawn("/bin/sh", ["-c", `read go; echo ready; ${script}`], { stdio: ["pipe", "pipe", "inherit"] });
  children.push(child);
  for (const folder of cgroup.folders) writeFileSync(join(folder, below, "cgroup.procs"), `${child.pid}`);
  child.stdin?.write("go\n");
  assert.ok(child.stdout);
  await once(child.stdout, "data");
  return child;
}

test("the layout agrees with the hierarchies that are mounted", () => {
  const versions = cgroupHierarchies().map((each) => each.version);
  assert.equal(cgroupLayout() === "v2", !versions.includes(1));
  assert.equal(cgroupLayout() === "hybrid", versions.includes(1) && versions.includes(2));
  for (const controller of ["memory", "pids", "cpu"]) assert.ok(cgroupControllers().includes(controller));
});

test("a path with and without a leading slash is the same, dots do not lead out, and the root is refused", () => {
  assert.deepEqual(cgroupAt("/docker/x").folders, cgroupAt("docker/x").folders);
  const mountPoints = cgroupHierarchies().map((each) => each.mountPoint);
  assert.deepEqual(
    cgroupAt("../../../x").folders,
    mountPoints.map((path) => join(path, "x")),
  );
  for (const path of ["", "/", "..", "a/.."]) assert.throws(() => cgroupAt(path), /invalid cgroup path/);
});

test("processes of child cgroups are listed and all are signalled", async () => {
  make("child");
  const one = await run("read x");
  const two = await run("read x", "child");
  assert.deepEqual(new Set(cgroupProcesses(cgroup)), new Set([one.pid, two.pid]));
  const ended = Promise.all([once(one, "exit"), once(two, "exit")]);
  signalCgroup(cgroup, 15);
  assert.deepEqual(
    (await ended).map(([, signal]) => signal),
    ["SIGTERM", "SIGTERM"],
  );
});

test("removing kills what is left and takes the folders of all hierarchies along, children first", async () => {
  make("a", "b");
  await run("read x", "a/b");
  await removeCgroup(cgroup);
  for (const folder of cgroup.folders) assert.equal(existsSync(folder), false);
  await removeCgroup(cgroup);
});

test("a frozen process stands still, goes on when thawed, and is removed while frozen", async () => {
  make();
  const child = await run("while read x; do echo $x; done");
  await setCgroupFrozen(cgroup, true);
  child.stdin?.write("hello\n");
  assert.equal(isCgroupFrozen(cgroup), true);
  assert.deepEqual(cgroupProcesses(cgroup), [child.pid]);
  assert.ok(child.stdout);
  const said = once(child.stdout, "data");
  await setCgroupFrozen(cgroup, false);
  assert.equal(String((await said)[0]), "hello\n");
  await setCgroupFrozen(cgroup, true);
  await removeCgroup(cgroup);
});

test("a frozen process dies of SIGKILL", async () => {
  make();
  const child = await run("read x");
  await setCgroupFrozen(cgroup, true);
  const ended = once(child, "exit");
  signalCgroup(cgroup, 9);
  assert.deepEqual(await ended, [null, "SIGKILL"]);
});

test("a process is found where it is, and never where the asker is", async () => {
  make();
  const child = await run("read x");
  const found = cgroupOf(child.pid as number);
  assert.deepEqual(new Set(found.folders), new Set(cgroup.folders));
  assert.deepEqual([found.unified, found.freezer, found.memory], [cgroup.unified, cgroup.freezer, cgroup.memory]);
  assert.deepEqual(cgroupOf(process.pid).folders, []);
});

test("a process killed for want of memory is counted", async () => {
  make();
  const folder = cgroup.memory;
  assert.ok(folder);
  assert.equal(oomKills(cgroup), 0);
  const limit = existsSync(join(folder, "memory.max")) ? "memory.max" : "memory.limit_in_bytes";
  writeFileSync(join(folder, limit), `${8 << 20}`);
  const child = await run("exec tail /dev/zero");
  const [, signal] = await once(child, "exit");
  assert.equal(signal, "SIGKILL");
  assert.equal(oomKills(cgroup), 1);
});

test("what is not there is empty", async () => {
  assert.deepEqual(cgroupProcesses(cgroup), []);
  assert.equal(oomKills(cgroup), 0);
  signalCgroup(cgroup, 9);
  await removeCgroup(cgroup);
});
