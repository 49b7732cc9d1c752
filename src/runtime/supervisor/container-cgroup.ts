import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { GantryError, hasCode } from "../../base/errors.ts";
import { listMounts } from "../../kernel/mount.ts";

const FREEZE_TIMEOUT_MS = 10_000;
const REMOVE_TIMEOUT_MS = 3000;

/** The folders of one container in the cgroup hierarchies that matter; each may be missing. */
export interface ContainerCgroup {
  /** All of them. */
  readonly folders: readonly string[];
  readonly unified: string | undefined;
  readonly freezer: string | undefined;
  readonly memory: string | undefined;
}

interface Hierarchy {
  readonly controllers: readonly string[];
  readonly target: string;
  readonly root: string;
}

let known: readonly Hierarchy[] | undefined;

function hierarchies(): readonly Hierarchy[] {
  known ??= listMounts("/sys/fs/cgroup")
    .filter((row) => row.fstype === "cgroup" || row.fstype === "cgroup2")
    .map((row) => ({
      controllers: row.fstype === "cgroup2" ? [""] : row.superOptions,
      target: row.target,
      root: row.root === "/" ? "" : row.root,
    }));
  return known;
}

function pathsOf(pid: number | "self"): Map<string, string> {
  const rows = readFileSync(`/proc/${pid}/cgroup`, "utf8").trimEnd().split("\n");
  return new Map(
    rows.map((row) => {
      const [, controllers = "", ...path] = row.split(":");
      return [controllers, path.join(":")];
    }),
  );
}

/** Where a process is; hierarchies in which it is where the supervisor is are left out. */
export function cgroupOf(pid: number): ContainerCgroup {
  const own = pathsOf("self");
  const found = new Map<string, string>();
  for (const [controllers, path] of pathsOf(pid)) {
    if (path === "/" || path.startsWith("/..") || own.get(controllers) === path) continue;
    const names = controllers.split(",");
    const place = hierarchies().find((row) => names.every((name) => row.controllers.includes(name)));
    if (place === undefined || !`${path}/`.startsWith(`${place.root}/`)) continue;
    for (const name of names) found.set(name, place.target + path.slice(place.root.length));
  }
  const unified = found.get("");
  return {
    folders: [...new Set(found.values())],
    unified,
    freezer: found.get("freezer") ?? unified,
    memory: found.get("memory") ?? unified,
  };
}

/** The cgroup `path` in every hierarchy that has it: for what a runtime that failed may have left. */
export function cgroupAt(path: string): ContainerCgroup {
  const none = { folders: [], unified: undefined, freezer: undefined, memory: undefined };
  if (!/^\/[^/]/.test(path) || path.split("/").includes("..")) return none;
  return {
    ...none,
    folders: hierarchies()
      .map((row) => row.target + path)
      .filter((folder) => existsSync(folder)),
  };
}

/** Stops or lets go all processes; resolves once the kernel says that it is so. */
export async function setFrozen(cgroup: ContainerCgroup, frozen: boolean): Promise<void> {
  const folder = cgroup.freezer;
  if (folder === undefined) throw new GantryError("unsupported", "cannot pause: the container has no freezer cgroup");
  const deadline = Date.now() + FREEZE_TIMEOUT_MS;
  if (folder === cgroup.unified) writeFileSync(`${folder}/cgroup.freeze`, frozen ? "1" : "0");
  for (;;) {
    // A v1 freezer may stop half way when processes fork meanwhile: writing again pushes it on.
    if (folder !== cgroup.unified) writeFileSync(`${folder}/freezer.state`, frozen ? "FROZEN" : "THAWED");
    if (isFrozen(cgroup) === frozen) return;
    if (Date.now() > deadline) {
      if (frozen) void setFrozen(cgroup, false).catch(() => undefined);
      throw new GantryError("internal", `cannot ${frozen ? "pause" : "resume"}: the kernel's freezer does not finish`);
    }
    await delay(1);
  }
}

export function isFrozen(cgroup: ContainerCgroup): boolean {
  if (cgroup.freezer === undefined) return false;
  if (cgroup.freezer === cgroup.unified) return /^frozen 1$/m.test(read(`${cgroup.freezer}/cgroup.events`));
  return read(`${cgroup.freezer}/freezer.state`).trim() === "FROZEN";
}

/** How many processes the kernel killed for want of memory. */
export function oomKills(cgroup: ContainerCgroup): number {
  if (cgroup.memory === undefined) return 0;
  const file = cgroup.memory === cgroup.unified ? "memory.events" : "memory.oom_control";
  return Number(/^oom_kill (\d+)$/m.exec(read(`${cgroup.memory}/${file}`))?.[1] ?? 0);
}

/** Sends a signal to each process inside, nested cgroups included. */
export function signalAll(cgroup: ContainerCgroup, signal: number): void {
  const folder = cgroup.freezer ?? cgroup.folders[0];
  if (folder === undefined) return;
  // A process that forks while it is killed leaves a child behind: look again until all have got it.
  const signalled = new Set<number>();
  for (let round = 0; round < 32; round++) {
    const fresh = processes(folder).filter((pid) => !signalled.has(pid));
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

function processes(folder: string): number[] {
  const own = read(`${folder}/cgroup.procs`).split("\n").filter(Boolean).map(Number);
  return [...own.filter((pid) => pid > 0), ...nested(folder).flatMap(processes)];
}

/** Kills what is left inside and removes the folders. */
export async function removeCgroup(cgroup: ContainerCgroup): Promise<void> {
  const deadline = Date.now() + REMOVE_TIMEOUT_MS;
  let left = [...cgroup.folders];
  for (let wait = 1; ; wait = Math.min(20, wait * 2)) {
    left = left.filter((folder) => !removeTree(folder));
    if (left.length === 0) return;
    if (Date.now() > deadline) throw new GantryError("internal", `cannot remove the cgroup ${left[0]}: it is in use`);
    if (isFrozen(cgroup)) await setFrozen(cgroup, false);
    signalAll(cgroup, 9);
    await delay(wait);
  }
}

function removeTree(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return true;
  }
  for (const child of nested(folder)) removeTree(child);
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    return hasCode(error, "ENOENT");
  }
}

function nested(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${folder}/${entry.name}`);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
