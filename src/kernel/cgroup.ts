import { readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join, normalize } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { GantryError, hasCode } from "../base/errors.ts";
import { type CgroupHierarchy, cgroupHierarchies } from "./cgroup-hierarchy.ts";

/**
 * One cgroup: its folder in each hierarchy it is in. Plain data, so that it can be written down and read back by
 * another process. A folder that is not there counts as an empty one. All calls but the waits are synchronous.
 */
export interface Cgroup {
  readonly folders: readonly string[];
  /** Its folder in the v2 hierarchy. */
  readonly unified?: string | undefined;
  /** The folder whose files stop and list the processes; the same as `unified` on v2. */
  readonly freezer?: string | undefined;
  /** The folder whose files count memory; the same as `unified` on v2. */
  readonly memory?: string | undefined;
}

const FREEZE_WITHIN_MS = 10_000;
/** A process that was sent SIGKILL leaves its cgroup a little later, and only then can that be removed. */
const EMPTY_WITHIN_MS = 3000;
const SIGKILL = 9;

/**
 * The cgroup at this path beneath each hierarchy's mount point, existing or not: where crun and runc put a container
 * with this `linux.cgroupsPath` under their cgroupfs driver, whether it has a leading slash or not.
 */
export function cgroupAt(path: string): Cgroup {
  const below = normalize(`/${path}`).replace(/\/+$/, "");
  // Everything on the host lies under the root cgroup: an empty path must never reach `removeCgroup`.
  if (below === "" || below.includes("\0")) {
    throw new GantryError("invalid", `invalid cgroup path: ${JSON.stringify(path)}`);
  }
  return cgroupOfPlaces(cgroupHierarchies().map((hierarchy) => [hierarchy, hierarchy.mountPoint + below]));
}

/** Where a process is; hierarchies in which it is where the caller is are left out, so that they are never removed. */
export function cgroupOf(pid: number): Cgroup {
  const own = pathsOf("self");
  const places: [CgroupHierarchy, string][] = [];
  for (const [controllers, path] of pathsOf(pid)) {
    if (path === "/" || path.startsWith("/..") || own.get(controllers) === path) continue;
    const names = controllers.split(",");
    const hierarchy = cgroupHierarchies().find((row) =>
      controllers === "" ? row.version === 2 : names.every((name) => row.controllers.includes(name)),
    );
    const root = hierarchy?.root === "/" ? "" : hierarchy?.root;
    if (hierarchy === undefined || !`${path}/`.startsWith(`${root}/`)) continue;
    places.push([hierarchy, hierarchy.mountPoint + path.slice(root?.length)]);
  }
  return cgroupOfPlaces(places);
}

/** Pids of all processes, those of child cgroups included, as this process's pid namespace counts them. */
export function cgroupProcesses(cgroup: Cgroup): number[] {
  // A container's processes are at the same place in all hierarchies: one tells.
  const folder = cgroup.freezer ?? cgroup.folders[0];
  return folder === undefined ? [] : processesBelow(folder);
}

/** Sends a signal to all processes. SIGKILL reaches also what they fork meanwhile, and what is frozen. */
export function signalCgroup(cgroup: Cgroup, signal: number): void {
  signalAll(cgroup, signal, () => cgroupProcesses(cgroup));
}

/** Stops or lets go all processes; resolves once the kernel says that it is so. */
export async function setCgroupFrozen(cgroup: Cgroup, frozen: boolean): Promise<void> {
  if (cgroup.freezer === undefined) {
    throw new GantryError("unsupported", "cannot pause: the container has no freezer cgroup");
  }
  const deadline = Date.now() + FREEZE_WITHIN_MS;
  let written = writeFrozen(cgroup, frozen);
  for (let waitMs = 1; isCgroupFrozen(cgroup) !== frozen; waitMs = Math.min(waitMs * 2, 20)) {
    if (!written) throw new GantryError("not-found", `cannot freeze cgroup ${cgroup.freezer}: it is gone`);
    if (Date.now() > deadline) {
      if (frozen) writeFrozen(cgroup, false);
      throw new GantryError("internal", `cannot ${frozen ? "pause" : "resume"}: the kernel's freezer does not finish`);
    }
    await delay(waitMs);
    // Anew each time: a task that forks meanwhile leaves a v1 cgroup in FREEZING until it is.
    written = writeFrozen(cgroup, frozen);
  }
}

/** True once all its processes stand still. */
export function isCgroupFrozen(cgroup: Cgroup): boolean {
  if (cgroup.freezer === undefined) return false;
  if (cgroup.freezer === cgroup.unified) return numberIn(join(cgroup.freezer, "cgroup.events"), "frozen") === 1;
  return words(join(cgroup.freezer, "freezer.state"))[0] === "FROZEN";
}

/** How often the kernel killed a process here for want of memory; 0 where that can't be read. */
export function oomKills(cgroup: Cgroup): number {
  if (cgroup.memory === undefined) return 0;
  const file = cgroup.memory === cgroup.unified ? "memory.events" : "memory.oom_control";
  return numberIn(join(cgroup.memory, file), "oom_kill");
}

/** Kills what is left inside and removes the folders, children first; no error if they are gone. */
export async function removeCgroup(cgroup: Cgroup): Promise<void> {
  const deadline = Date.now() + EMPTY_WITHIN_MS;
  let left = cgroup.folders;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 20)) {
    left = left.filter((folder) => !removeTree(folder));
    if (left.length === 0) return;
    const processes = () => [...new Set(left.flatMap(processesBelow))];
    if (Date.now() > deadline) {
      throw new GantryError("internal", `cannot remove cgroup ${left[0]}: processes ${processes().join(", ")} stay`);
    }
    signalAll(cgroup, SIGKILL, processes);
    await delay(waitMs);
  }
}

function cgroupOfPlaces(places: readonly (readonly [CgroupHierarchy, string])[]): Cgroup {
  const unified = places.find(([hierarchy]) => hierarchy.version === 2)?.[1];
  const v2Only = cgroupHierarchies().every((hierarchy) => hierarchy.version === 2);
  const folderOf = (controller: string) =>
    v2Only ? unified : places.find(([hierarchy]) => hierarchy.controllers.includes(controller))?.[1];
  return {
    folders: [...new Set(places.map(([, folder]) => folder))],
    unified,
    freezer: folderOf("freezer"),
    memory: folderOf("memory"),
  };
}

/** Of /proc/PID/cgroup: the controllers of a hierarchy ("" is v2) and the cgroup's path in it. */
function pathsOf(pid: number | "self"): Map<string, string> {
  const rows = readFileSync(`/proc/${pid}/cgroup`, "utf8").trimEnd().split("\n");
  return new Map(
    rows.map((row) => {
      const [, controllers = "", ...path] = row.split(":");
      return [controllers, path.join(":")];
    }),
  );
}

function signalAll(cgroup: Cgroup, signal: number, processes: () => number[]): void {
  const { freezer, unified } = cgroup;
  const isUnified = freezer !== undefined && freezer === unified;
  // cgroup.kill is there from kernel 5.14 on.
  if (signal === SIGKILL && isUnified && write(join(unified, "cgroup.kill"), "1")) return;
  // A process that forks while it is killed leaves a child behind: look again until all have got it.
  const signalled = new Set<number>();
  for (let round = 0; round < 32; round++) {
    const fresh = processes().filter((pid) => !signalled.has(pid));
    if (fresh.length === 0) break;
    for (const pid of fresh) {
      signalled.add(pid);
      try {
        process.kill(pid, signal);
      } catch (error) {
        if (!hasCode(error, "ESRCH")) throw error;
      }
    }
  }
  // A frozen process of v1 dies of SIGKILL only when it thaws.
  if (signal === SIGKILL && !isUnified) writeFrozen(cgroup, false);
}

/** False if there is nothing to write to. */
function writeFrozen({ freezer, unified }: Cgroup, frozen: boolean): boolean {
  if (freezer === undefined) return false;
  if (freezer === unified) return write(join(freezer, "cgroup.freeze"), frozen ? "1" : "0");
  return write(join(freezer, "freezer.state"), frozen ? "FROZEN" : "THAWED");
}

/** False when the kernel says that one of the folders is still in use. */
function removeTree(folder: string): boolean {
  if (removeFolder(folder)) return true;
  for (const child of childrenOf(folder)) removeTree(child);
  return removeFolder(folder);
}

function removeFolder(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return true;
    if (hasCode(error, "EBUSY", "ENOTEMPTY")) return false;
    throw error;
  }
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

function processesBelow(folder: string): number[] {
  const own = words(join(folder, "cgroup.procs")).map(Number);
  // 0 stands for a process of a pid namespace that is not ours.
  return [...own.filter((pid) => pid > 0), ...childrenOf(folder).flatMap(processesBelow)];
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

/** From a file of rows `name number`; 0 if it or the row is not there. */
function numberIn(file: string, name: string): number {
  const all = words(file);
  const at = all.indexOf(name);
  return at < 0 ? 0 : Number(all[at + 1]);
}
