import { constants, readdirSync } from "node:fs";
import { bytesToName } from "../../base/byte-string.ts";
import type { FileStat } from "../../kernel/path.ts";

/** The names in an open folder by their bytes, as strings that keep them. */
export function namesIn(fd: number): string[] {
  const names = readdirSync(`/proc/self/fd/${fd}`, { encoding: "buffer" });
  return names.sort(Buffer.compare).map((name) => bytesToName(name));
}

export function kindOf(stat: Pick<FileStat, "mode">): number {
  return stat.mode & constants.S_IFMT;
}

export function isFolderStat(stat: Pick<FileStat, "mode">): boolean {
  return kindOf(stat) === constants.S_IFDIR;
}
