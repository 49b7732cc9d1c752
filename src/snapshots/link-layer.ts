import { closeSync, constants, openSync } from "node:fs";
import { throwIfAborted } from "../base/abort.ts";
import { Breath } from "../base/breath.ts";
import { hasCode } from "../base/errors.ts";
import { type FileStat, fchmod, fchownat, fstatat, linkat, mkdirat, openat, utimensat } from "../kernel/path.ts";
import { getXattr, listXattrs, setXattr } from "../kernel/xattr.ts";
import { isFolderStat, isWhiteout } from "./below.ts";
import { OPAQUE_XATTR } from "./layer-name.ts";
import { namesIn } from "./remove-tree.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

export interface LinkLayerOptions {
  /** Its marks count; without, they are left out. */
  readonly hides: boolean;
  readonly signal?: AbortSignal | undefined;
}

interface Level {
  readonly from: number;
  readonly to: number;
  readonly stat: FileStat;
  readonly names: string[];
}

/**
 * Fills an empty folder with what is in the folder of an overlay's layer: folders are made anew, all else are further
 * names of the same files. Neither is written to any more. False if a file can't have another name; then what was made
 * so far is the caller's to remove.
 */
export async function linkLayer(from: string, to: string, options: LinkLayerOptions): Promise<boolean> {
  const breath = new Breath();
  const levels: Level[] = [];
  const open = (source: number, target: number, stat: FileStat): void => {
    levels.push({ from: source, to: target, stat, names: [] });
    levels.at(-1)!.names.push(...namesIn(source));
  };
  try {
    const top = openSync(from, FOLDER);
    open(top, openSync(to, FOLDER), fstatat(top, ""));
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      throwIfAborted(options.signal);
      if (breath.isDue) await breath.take();
      const name = level.names.pop();
      if (name === undefined) {
        // The top folder looks as that of the new parent does.
        if (levels.length > 1) dress(level, options.hides);
        leave(levels);
        continue;
      }
      const stat = fstatat(level.from, name);
      if (!options.hides && isWhiteout(stat)) continue;
      if (isFolderStat(stat)) {
        mkdirat(level.to, name, 0o700);
        open(openat(level.from, name, FOLDER), openat(level.to, name, FOLDER), stat);
      } else linkat(level.from, name, level.to, name);
    }
  } catch (error) {
    if (hasCode(error, "EMLINK", "EPERM", "EXDEV")) return false;
    throw error;
  } finally {
    while (levels.length > 0) leave(levels);
  }
  return true;
}

function leave(levels: Level[]): void {
  const level = levels.pop();
  if (level === undefined) return;
  closeSync(level.from);
  closeSync(level.to);
}

/** Its times last, since filling it changed them. */
function dress({ from, to, stat }: Level, hides: boolean): void {
  fchownat(to, "", stat.uid, stat.gid);
  for (const name of listXattrs(from)) {
    if (name === "security.selinux" || (!hides && name === OPAQUE_XATTR)) continue;
    const value = getXattr(from, name);
    if (value !== undefined) setXattr(to, name, value);
  }
  fchmod(to, stat.mode & 0o7777);
  utimensat(to, "", stat.atime, stat.mtime);
}
