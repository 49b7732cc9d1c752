import { closeSync, constants, openSync, readdirSync } from "node:fs";
import { Breath } from "../base/breath.ts";
import { hasCode } from "../base/errors.ts";
import { type FileStat, fstatat, O_CLOEXEC, openat } from "../kernel/at.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | O_CLOEXEC;

/**
 * Bytes of the files in a folder, each counted once however many names it has; other file systems that are mounted
 * within are left out. Links that a container puts in the way are never followed.
 */
export async function folderUsage(path: string): Promise<number> {
  const breath = new Breath();
  const seen = new Set<number>();
  const root = openSync(path, FOLDER);
  try {
    let total = 0;
    for (const stat of filesIn(root)) {
      if (stat !== undefined && (stat.nlink < 2 || !seen.has(stat.ino))) {
        if (stat.nlink > 1) seen.add(stat.ino);
        total += stat.size;
      }
      await breath.take();
    }
    return total;
  } finally {
    closeSync(root);
  }
}

/** Undefined for what is no file: whoever counts gets his turn there too. */
function* filesIn(dir: number): Generator<FileStat | undefined> {
  for (const name of readdirSync(`/proc/self/fd/${dir}`)) {
    const stat = gone(() => fstatat(dir, name));
    if (stat === undefined || stat.isMountRoot) continue;
    const type = stat.mode & constants.S_IFMT;
    yield type === constants.S_IFREG ? stat : undefined;
    if (type !== constants.S_IFDIR) continue;
    const child = gone(() => openat(dir, name, FOLDER));
    if (child === undefined) continue;
    try {
      yield* filesIn(child);
    } finally {
      closeSync(child);
    }
  }
}

/** A container may remove or replace anything while it is counted. */
function gone<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
    throw error;
  }
}
