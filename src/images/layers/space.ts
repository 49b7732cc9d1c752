import { type StatsFs, statfsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { GantryError } from "../../base/errors.ts";

const MOST_RESERVED = 256 << 20;
const SHARE = 0.01;

/**
 * Throws when the file system that `path` is on has but its reserve left: what the engine keeps for its own records and
 * for the containers that run, a hundredth of it and at most 256 MiB. `what` names what can't be done.
 */
export function requireSpaceSync(path: string, what: string): void {
  judge(statfsSync(path), what);
}

export async function requireSpace(path: string, what: string): Promise<void> {
  judge(await statfs(path), what);
}

function judge({ bavail, blocks, bsize, files, ffree }: StatsFs, what: string): void {
  const reserve = Math.min(MOST_RESERVED, blocks * bsize * SHARE);
  if (blocks > 0 && bavail * bsize < reserve) {
    const mebibytes = Math.max(1, Math.round(reserve / 2 ** 20));
    throw full(`${what}: no space left on device (the last ${mebibytes} MiB are kept for what runs)`);
  }
  // File systems that make inodes as they are needed count none.
  if (files > 0 && ffree < Math.min(1000, files * SHARE)) {
    throw full(`${what}: no space left on device (it is out of inodes but for the last, which are kept for what runs)`);
  }
}

function full(message: string): GantryError {
  return Object.assign(new GantryError("internal", message), { code: "ENOSPC" });
}
