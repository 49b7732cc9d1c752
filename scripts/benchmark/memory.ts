import { readdirSync, readFileSync } from "node:fs";
import type { Peer } from "./peer.ts";

/**
 * Proportional set size, in KiB, of everything that runs for a peer but the containers' own processes: those have
 * nothing of its roots in their command line, while daemons, supervisors, shims and proxies all do.
 */
export function pssOf(peer: Peer): number {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => read(`/proc/${name}/cmdline`).includes(peer.root))
    .map((name) => Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${name}/smaps_rollup`))?.[1] ?? 0))
    .reduce((total, kib) => total + kib, 0);
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // It ended meanwhile.
    return "";
  }
}
