import { readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join, normalize } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { GantryError, hasCode } from "../base/errors.ts";
import { listMounts } from "./mount.ts";

export type CgroupLayout = "v1" | "hybrid" | "v2";

/** One mounted hierarchy. v1: `controllers` are co-mounted there (`cpu`, `cpuacct`, `name=systemd` …). */
export interface CgroupHierarchy {
  readonly version: 1 | 2;
  readonly mountPoint: string;
  readonly controllers: readonly string[];
}

const ROOT = "/sys/fs/cgroup";
/** A process that was sent SIGKILL leaves its cgroup a little later, and only then can that be removed. */
const EMPTY_WITHIN_MS = 10_000;
const FREEZE_WITHIN_MS = 10_000;

let known: readonly CgroupHierarchy[] | undefined;

/** The hierarchies mounted under /sys/fs/cgroup; read once, since a running host does not change them. */
export function cgroupHierarchies(): readonly CgroupHierarchy[] {
  known ??= listMounts(ROOT)
    .filter((row) => row.fstype === "cgroup" || row.fstype === "cgroup2")
    .map((row) =>
      row.fstype === "cgroup2"
        ? { version: 2, mountPoint: row.target, controllers: words(join(row.target, "cgroup.controllers")) }
        : {
            version: 1,
            mountPoint: row.target,
            controllers: row.superOptions.filter((option) => V1_CONTROLLERS.has(option) || option.startsWith("name=")),
          },
    );
  return known;
}

const V1_CONTROLLERS = new Set(
  "blkio cpu cpuacct cpuset devices freezer hugetlb memory misc net_cls net_prio perf_event pids rdma".split(" "),
);

/** `hybrid`: v1 controllers with a v2 hierarchy beside them. */
export function cgroupLayout(): CgroupLayout {
  const versions = new Set(cgroupHierarchies().map((hierarchy) => hierarchy.version));
  if (!versions.has(1)) return "v2";
  return versions.has(2) ? "hybrid" : "v1";
}

/** The controllers that a container can be limited with. */
export function cgroupControllers(): readonly string[] {
  return cgroupHierarchies()
    .flatMap((hierarchy) => hierarchy.controllers)
    .filter((name) => !name.startsWith("name="));
}

/** The cgroup of one container: one folder in each hierarchy. A folder that is not there counts as empty. */
export interface CgroupPaths {
  /** Absolute folders, one for each hierarchy that is mounted. */
  readonly folders: readonly string[];
  /** The folder in which this controller's files lie, existing or not; undefined where it isn't mounted. */
  folderOf(controller: string): string | undefined;
  /** Pids of all processes, those of child cgroups included. */
  processes(): number[];
  /** Sends a signal to all processes. SIGKILL reaches also what they fork meanwhile, and what is frozen. */
  signalAll(signal: number): void;
  /** Stops all processes and resolves when they stand still. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** How often the kernel killed a process here for want of memory; 0 where that can't be read. */
  oomKills(): number;
  /** v2: memory.events; v1: memory.oom_control. Empty where that can't be read. */
  memoryEvents(): Readonly<Record<string, number>>;
  /** Kills what is left and removes the folders in all hierarchies; no error if they are gone. */
  remove(): Promise<void>;
}

/**
 * Where crun and runc put a container with this `linux.cgroupsPath` under their cgroupfs driver: the same path beneath
 * each hierarchy's mount point, whether it is written with a leading slash or not.
 */
export function cgroupPaths(cgroupsPath: string): CgroupPaths {
  const below = normalize(`/${cgroupsPath}`).replace(/\/+$/, "");
  // Everything on the host lies under the root cgroup: an empty path must never reach `remove`.
  if (below === "" || below.includes("\0")) {
    throw new GantryError("invalid", `invalid cgroup path: ${JSON.stringify(cgroupsPath)}`);
  }
  const hierarchies = cgroupHierarchies().map((each) => ({ ...each, folder: join(each.mountPoint, below) }));
  const v2Only = hierarchies.every((each) => each.version === 2);
  const folders = [...new Set(hierarchies.map((each) => each.folder))];
  const folderOf = (controller: string) =>
    hierarchies.find((each) => each.controllers.includes(controller))?.folder ?? (v2Only ? folders[0] : undefined);
  const freezer = v2Only ? undefined : folderOf("freezer");
  const unified = hierarchies.find((each) => each.version === 2)?.folder;
  const memory = folderOf("memory");

  const processes = () => [...new Set(folders.flatMap(readProcesses))];
  const memoryEvents = () => (memory === undefined ? {} : keyedNumbers(join(memory, memoryFile(memory, unified))));
  const thaw = async () => {
    if (freezer !== undefined) write(join(freezer, "freezer.state"), "THAWED");
    else if (unified !== undefined) await setFrozen(unified, false);
  };
  const signalAll = (signal: number) => {
    if (signal === 9 && v2Only && folders[0] !== undefined && write(join(folders[0], "cgroup.kill"), "1")) return;
    killAll(processes, signal);
    // A frozen process of v1 dies of SIGKILL only when it thaws.
    if (signal === 9 && freezer !== undefined) write(join(freezer, "freezer.state"), "THAWED");
  };

  return {
    folders,
    folderOf,
    processes,
    signalAll,
    memoryEvents,
    thaw,
    oomKills: () => memoryEvents().oom_kill ?? 0,
    async freeze() {
      try {
        if (freezer !== undefined) await freezeV1(freezer);
        else if (unified !== undefined) await setFrozen(unified, true);
      } catch (error) {
        await thaw();
        throw error;
      }
    },
    async remove() {
      const deadline = Date.now() + EMPTY_WITHIN_MS;
      for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 100)) {
        const busy = folders.filter((folder) => !removeTree(folder));
        if (busy.length === 0) return;
        if (Date.now() > deadline) {
          throw new GantryError(
            "internal",
            `cannot remove cgroup ${busy[0]}: processes ${processes().join(", ")} stay`,
          );
        }
        signalAll(9);
        await delay(waitMs);
      }
    },
  };
}

function memoryFile(memory: string, unified: string | undefined): string {
  return memory === unified ? "memory.events" : "memory.oom_control";
}

/** Removes the folders from the leaves up. False when the kernel says that one is still in use. */
function removeTree(folder: string): boolean {
  const pending = [folder];
  const order: string[] = [];
  while (pending.length > 0) {
    const next = pending.pop() as string;
    order.push(next);
    pending.push(...childrenOf(next));
  }
  let removed = true;
  for (const path of order.reverse()) {
    try {
      rmdirSync(path);
    } catch (error) {
      if (hasCode(error, "ENOENT")) continue;
      if (!hasCode(error, "EBUSY", "ENOTEMPTY")) throw error;
      removed = false;
    }
  }
  return removed;
}

function childrenOf(folder: string): string[] {
  try {
    const rows = readdirSync(folder, { withFileTypes: true });
    return rows.filter((row) => row.isDirectory()).map((row) => join(folder, row.name));
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENODEV")) return [];
    throw error;
  }
}

function readProcesses(folder: string): number[] {
  const pids: number[] = [];
  const pending = [folder];
  while (pending.length > 0) {
    const next = pending.pop() as string;
    pids.push(...words(join(next, "cgroup.procs")).map(Number));
    pending.push(...childrenOf(next));
  }
  // 0 stands for a process of a pid namespace that is not ours.
  return pids.filter((pid) => pid > 0);
}

/** Signals until no process turns up that hasn't been: a fork may run ahead of the list. */
function killAll(processes: () => number[], signal: number): void {
  const signalled = new Set<number>();
  for (let round = 0; round < 16; round++) {
    const fresh = processes().filter((pid) => !signalled.has(pid));
    if (fresh.length === 0) return;
    for (const pid of fresh) {
      signalled.add(pid);
      try {
        process.kill(pid, signal);
      } catch (error) {
        if (!hasCode(error, "ESRCH")) throw error;
      }
    }
  }
}

async function freezeV1(folder: string): Promise<void> {
  const file = join(folder, "freezer.state");
  await until(`freeze cgroup ${folder}`, () => {
    // Written anew each time: a task that forks meanwhile leaves the cgroup in FREEZING until it is.
    if (!write(file, "FROZEN")) throw new GantryError("not-found", `cannot freeze cgroup ${folder}: it is gone`);
    return words(file)[0] === "FROZEN";
  });
}

async function setFrozen(folder: string, frozen: boolean): Promise<void> {
  if (!write(join(folder, "cgroup.freeze"), frozen ? "1" : "0")) {
    if (frozen) throw new GantryError("not-found", `cannot freeze cgroup ${folder}: it is gone`);
    return;
  }
  const events = join(folder, "cgroup.events");
  await until(`${frozen ? "freeze" : "thaw"} cgroup ${folder}`, () => keyedNumbers(events).frozen === (frozen ? 1 : 0));
}

async function until(what: string, reached: () => boolean): Promise<void> {
  const deadline = Date.now() + FREEZE_WITHIN_MS;
  for (let waitMs = 1; !reached(); waitMs = Math.min(waitMs * 2, 50)) {
    if (Date.now() > deadline) {
      throw new GantryError("unavailable", `cannot ${what}: not done within ${FREEZE_WITHIN_MS / 1000} seconds`);
    }
    await delay(waitMs);
  }
}

/** False if the file is not there. */
function write(file: string, text: string): boolean {
  try {
    writeFileSync(file, text, { flag: "r+" });
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENODEV")) return false;
    throw error;
  }
}

function words(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split(/\s+/).filter(Boolean);
  } catch (error) {
    // EOPNOTSUPP: cgroup.procs of a threaded v2 cgroup, whose processes its parent lists.
    if (hasCode(error, "ENOENT", "ENODEV", "EOPNOTSUPP", "ENOTSUP")) return [];
    throw error;
  }
}

function keyedNumbers(file: string): Record<string, number> {
  const all = words(file);
  const rows: Record<string, number> = {};
  for (let at = 0; at + 1 < all.length; at += 2) rows[all[at] as string] = Number(all[at + 1]);
  return rows;
}
