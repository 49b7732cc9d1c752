import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { subfolders } from "../../test/leftovers.ts";

/** What of the machine a test could leave changed, as sets of printable lines. */
export type MachineState = Readonly<Record<string, ReadonlySet<string>>>;

export function observeMachine(): MachineState {
  return {
    mount: new Set(lines(readFileSync("/proc/self/mountinfo", "utf8")).map((line) => line.split(" ")[4] ?? "")),
    interface: new Set([...readdirSync("/sys/class/net"), ...Object.keys(networkInterfaces())]),
    "nft table": new Set(nftTables()),
    cgroup: new Set(cgroups()),
    "namespace file": new Set(
      lines(readFileSync("/proc/self/mountinfo", "utf8")).filter((line) => line.includes(" - nsfs ")),
    ),
    "file in /tmp": new Set(readdirSync("/tmp").filter((name) => name.startsWith("gantry-"))),
  };
}

/** Each difference as a sentence; what went away counts as well. */
export function compareMachine(before: MachineState, after: MachineState): string[] {
  return Object.entries(after).flatMap(([kind, now]) => {
    const then = before[kind] ?? new Set<string>();
    return [
      ...[...now].filter((item) => !then.has(item)).map((item) => `left behind: ${kind} ${item}`),
      ...[...then].filter((item) => !now.has(item)).map((item) => `taken away: ${kind} ${item}`),
    ];
  });
}

/** Processes that inherited this run's mark in their environment, other than this one. */
export function markedProcesses(mark: string): { readonly pid: number; readonly command: string }[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) =>
      read(join("/proc", name, "environ"))
        .split("\0")
        .includes(mark),
    )
    .map((name) => ({
      pid: Number(name),
      command: read(join("/proc", name, "cmdline"))
        .replaceAll("\0", " ")
        .slice(0, 200),
    }))
    .filter(({ command }) => command !== "");
}

function nftTables(): string[] {
  const nft = ["/usr/sbin/nft", "/sbin/nft"].find((path) => existsSync(path));
  if (nft === undefined) return [];
  try {
    return lines(execFileSync(nft, ["list", "tables"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  } catch {
    // Without the right to list them no test could have made one.
    return [];
  }
}

/** The folders of each hierarchy down to two levels: a container's cgroup lies at most that deep under its parent. */
function cgroups(): string[] {
  const found: string[] = [];
  const visit = (path: string, depth: number): void => {
    for (const entry of subfolders(path)) {
      found.push(join(path, entry));
      if (depth > 1) visit(join(path, entry), depth - 1);
    }
  };
  visit("/sys/fs/cgroup", 4);
  return found;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // A process may end while its files are read.
    return "";
  }
}

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}
