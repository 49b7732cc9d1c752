import { closeSync, constants } from "node:fs";
import { posix } from "node:path";
import type { ContainerPathStat } from "../api/archive.ts";
import { errnoWords } from "../base/errno-words.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { goModeOf } from "../base/go-mode.ts";
import { evaluateInRoot, type FileStat, fstatat, O_PATH, openInRoot } from "../kernel/path.ts";
import type { Located } from "../snapshots/pack-tree.ts";

/** A path as a client wrote it, taken apart: the folder is followed through links, the last name is not. */
export interface ArchivePath {
  /** Absolute and clean, but for a "/" or "/." that the client ended it with: those ask for what a link leads to. */
  readonly absolute: string;
  readonly folder: string;
  /** "" or "." for the folder itself. */
  readonly base: string;
  /** What the thing is called in an archive. */
  readonly name: string;
}

export function archivePath(text: string): ArchivePath {
  if (text === "") throw new GantryError("invalid", "bad parameter: path cannot be empty");
  if (text.includes("\0")) throw new GantryError("invalid", "bad parameter: path contains a null byte");
  let absolute = posix.join("/", text).replace(/(.)\/+$/, "$1");
  if (/(^|\/)\.$/.test(text)) absolute = absolute === "/" ? "/." : `${absolute}/.`;
  else if (text.endsWith("/") && absolute !== "/") absolute = `${absolute}/`;
  const slash = absolute.lastIndexOf("/");
  const base = absolute.slice(slash + 1);
  return { absolute, folder: absolute.slice(0, slash + 1), base, name: posix.basename(absolute) || "/" };
}

/** Looks a path up in a view's root. */
export function locate(root: number, path: ArchivePath): Located {
  const dir = openInRoot(root, path.folder, O_PATH | constants.O_DIRECTORY);
  const base = path.base === "" ? "." : path.base;
  try {
    return { dir, base, stat: fstatat(dir, base) };
  } catch (error) {
    closeSync(dir);
    throw error;
  }
}

export function pathStat(root: number, path: ArchivePath, stat: FileStat): ContainerPathStat {
  const isLink = (stat.mode & constants.S_IFMT) === constants.S_IFLNK;
  return {
    name: path.name,
    size: stat.size,
    mode: goModeOf(stat.mode),
    mtime: timeText(stat),
    linkTarget: isLink ? evaluateInRoot(root, path.absolute) : "",
  };
}

/** Says of a lookup's failure what clients wait for: docker cp takes "not found" for a name that is yet to be made. */
export function lookupError(error: unknown, path: string, container: string): unknown {
  if (hasCode(error, "ENOENT")) {
    return new GantryError("not-found", `Could not find the file ${path} in container ${container}`);
  }
  if (!hasCode(error, "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EACCES", "EPERM", "ENXIO")) return error;
  return new GantryError("invalid", `cannot look up ${path}: ${errnoWords(error)}`, { cause: error });
}

function timeText({ mtime }: FileStat): string {
  const fraction = String(mtime.nanoseconds).padStart(9, "0").replace(/0+$/, "");
  // Go's JSON has years of four digits only; what a container sets beyond them must not fail the request.
  const seconds = Math.min(Math.max(mtime.seconds, -62135596800), 253402300799);
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}${fraction === "" ? "" : `.${fraction}`}Z`;
}
