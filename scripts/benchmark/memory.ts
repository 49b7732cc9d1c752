import { readdirSync, readFileSync } from "node:fs";
import type { Peer } from "./peer.ts";

/**
 * Everything that runs for a peer but the containers' own processes: those have nothing of its roots in their command
 * line, while daemons, supervisors, shims and proxies all do.
 */
function enginePids(peer: Peer): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => read(`/proc/${name}/cmdline`).includes(peer.root))
    .map(Number);
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
    .map((pid) => {
      const stat = read(`/proc/${pid}/stat`);
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * MS_PER_TICK;
    })
    .reduce((total, ms) => total + ms, 0);
}

const MS_PER_TICK = 10;

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // It ended meanwhile.
    return "";
  }
}
