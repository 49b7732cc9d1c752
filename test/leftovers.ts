import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** Where every test engine's roots lie: the name itself is the record of what tests made. */
export const TEST_ROOT_PREFIX = "/tmp/gantry-test-";

/** What a test engine made outside of its root, written to `made.json` in it as soon as it is known. */
export interface Made {
  /** The process that answers for this root, and when it began (clock ticks since boot: pids are used again). */
  readonly ownerPid: number;
  readonly ownerStart: string;
  /** Interfaces and nft tables (`family name`) of the engine. */
  readonly links: readonly string[];
  readonly tables: readonly string[];
  /** Ids of all containers, for their cgroups. */
  readonly containers: readonly string[];
}

/** Field 22 of /proc/PID/stat; empty if there is no such process. */
export function processStart(pid: number): string {
  const stat = read(`/proc/${pid}/stat`);
  return stat === "" ? "" : (stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "");
}

/** A root of this process, for what is no engine of ours. Whoever makes it removes it by `removeTestRoot`. */
export function makeTestRoot(): string {
  const root = mkdtempSync(TEST_ROOT_PREFIX);
  const made: Made = {
    ownerPid: process.pid,
    ownerStart: processStart(process.pid),
    links: [],
    tables: [],
    containers: [],
  };
  writeFileSync(join(root, "made.json"), `${JSON.stringify(made)}\n`);
  return root;
}

/** Removes the roots whose owner is no more, with all that their engines made. Returns the roots removed. */
export function removeAbandonedRoots(): string[] {
  const removed: string[] = [];
  for (const name of readdirSync("/tmp")) {
    const root = join("/tmp", name);
    if (!root.startsWith(TEST_ROOT_PREFIX)) continue;
    const made = readMade(root);
    if (made !== undefined && processStart(made.ownerPid) === made.ownerStart) continue;
    removeTestRoot(root);
    removed.push(root);
  }
  return removed;
}

/**
 * Takes down a test engine by force: its processes and its containers' (found by this root in their command line or
 * as their root filesystem), mounts below the root, links and tables that `made.json` names, cgroups, files.
 */
export function removeTestRoot(root: string): void {
  if (!/^\/tmp\/gantry-test-[A-Za-z0-9_-]+$/.test(root)) throw new Error(`not the root of a test engine: ${root}`);
  const made = readMade(root);
  // The parent first: a supervisor that still lives would restart or record what is killed below it.
  for (const pid of processesOf(root)) kill(pid);
  for (const id of made?.containers ?? []) removeCgroups(id);
  for (const target of mountsBelow(root)) quietly("umount", ["-l", target]);
  for (const link of made?.links ?? [])
    if (existsSync(`/sys/class/net/${link}`)) quietly("ip", ["link", "delete", link]);
  // Bridges of networks that nobody was told of bear the engine's name, as its table does.
  for (const table of made?.tables ?? []) {
    for (const link of linksOf(table.split(" ").at(-1) ?? "")) quietly("ip", ["link", "delete", link]);
    quietly("nft", ["delete", "table", ...table.split(" ")]);
  }
  rmSync(root, { recursive: true, force: true, maxRetries: 5 });
}

/** Interfaces whose alias begins with an engine's name. */
function linksOf(engine: string): string[] {
  if (!/^gantry-[0-9a-f]{8}$/.test(engine)) return [];
  return readdirSync("/sys/class/net").filter((name) =>
    read(`/sys/class/net/${name}/ifalias`).startsWith(`${engine} `),
  );
}

function readMade(root: string): Made | undefined {
  const text = read(join(root, "made.json"));
  try {
    return JSON.parse(text) as Made;
  } catch {
    return undefined;
  }
}

/** Pids of what runs for this root: engine and supervisor first, then containers' processes. */
export function processesOf(root: string): number[] {
  const pids = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid);
  const own = pids.filter((pid) => {
    const args = read(`/proc/${pid}/cmdline`);
    return args.includes(`${root}/`) && /node|crun|runc|gantry/.test(args);
  });
  const contained = pids.filter((pid) => rootMount(pid).includes(`${root}/`));
  return [...new Set([...own, ...contained])];
}

/** The line of a process's own root mount. Shows an overlay's upper folder; another namespace's root is elsewhere. */
function rootMount(pid: number): string {
  if (mountNamespace(pid) === mountNamespace(process.pid)) return "";
  return (
    read(`/proc/${pid}/mountinfo`)
      .split("\n")
      .find((line) => line.split(" ")[4] === "/") ?? ""
  );
}

function mountNamespace(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    // Ended meanwhile, or a kernel thread.
    return "";
  }
}

/** Mount points below a folder, the last made first. */
export function mountsBelow(folder: string): string[] {
  return read("/proc/self/mountinfo")
    .split("\n")
    .map((line) => (line.split(" ")[4] ?? "").replaceAll("\\040", " "))
    .filter((path) => path === folder || path.startsWith(`${folder}/`))
    .reverse();
}

/** A container's cgroups bear its id in each hierarchy. */
function removeCgroups(id: string): void {
  if (!/^[0-9a-f]{64}$/.test(id)) return;
  const visit = (path: string, depth: number): void => {
    for (const entry of subfolders(path)) {
      const child = join(path, entry);
      if (entry.includes(id)) removeTree(child);
      else if (depth > 0) visit(child, depth - 1);
    }
  };
  visit("/sys/fs/cgroup", 3);
}

function removeTree(path: string): void {
  for (const entry of subfolders(path)) removeTree(join(path, entry));
  for (const pid of read(join(path, "cgroup.procs")).split("\n")) if (pid !== "") kill(Number(pid));
  try {
    rmdirSync(path);
  } catch {
    // EBUSY while a killed process ends; the runner's comparison of the machine names what stays.
  }
}

/** Names of the folders in a folder; none if it is gone. */
export function subfolders(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}

function quietly(program: string, args: readonly string[]): void {
  try {
    execFileSync(program, args, { stdio: "ignore" });
  } catch {
    // Gone already, with its namespace or its mount.
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
