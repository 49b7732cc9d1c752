import { readdirSync, readFileSync } from "node:fs";
import type { Peer } from "./peer.ts";

/**
 * Everything that runs for a peer but the containers' own processes: those have nothing of its roots in their command
 * line, while daemons, supervisors and shims do; and they are no children of the engine's, as proxies are.
 */
function enginePids(peer: Peer): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => read(`/proc/${name}/cmdline`).includes(peer.root) || parentOf(name) === peer.pid)
    .map(Number);
}

export function processesOf(peer: Peer): number {
  return enginePids(peer).length;
}

/** Proportional set size of what runs for a peer, in KiB. */
export function pssOf(peer: Peer): number {
  return enginePids(peer)
    .map((pid) => Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0))
    .reduce((total, kib) => total + kib, 0);
}

/** User and system time of what runs for a peer, in milliseconds: exact to ten of them. */
export function processorTimeMs(peer: Peer): number {
  return enginePids(peer)
    .map(processorTimeOf)
    .reduce((total, ms) => total + ms, 0);
}

/** The same of one process. */
export function processorTimeOf(pid: number): number {
  const fields = statOf(String(pid));
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * MS_PER_TICK;
}

const MS_PER_TICK = 10;

function parentOf(pid: string): number {
  return Number(statOf(pid)[1]);
}

/** From the process's state on. */
function statOf(pid: string): readonly string[] {
  const stat = read(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // It ended meanwhile.
    return "";
  }
}
