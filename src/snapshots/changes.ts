import { closeSync, constants } from "node:fs";
import { hasCode } from "../base/errors.ts";
import { type FileStat, fstatat, openat, readlinkat } from "../kernel/path.ts";
import { getXattr, listXattrs } from "../kernel/xattr.ts";
import { type Below, type Found, isFolderStat, isOpaque, isWhiteout } from "./below.ts";
import { OPAQUE_NAME, whiteoutName } from "./layer-name.ts";
import { namesIn } from "./remove-tree.ts";

/** One thing that a snapshot changes. `dir` is open on its folder, until the next change is asked for. */
export interface Change {
  readonly path: string;
  readonly dir: number;
  /** The name in `dir`; "" for a mark, which has only its path. */
  readonly base: string;
  /** undefined for a mark: a whiteout or an opaque folder. */
  readonly stat: FileStat | undefined;
}

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

export function typeOf(stat: FileStat): number {
  return stat.mode & constants.S_IFMT;
}

/** What an overlay's upper folder holds, its marks told in the words of layers. Folders come before what is in them. */
export function* upperChanges(dir: number, folder = ""): Generator<Change> {
  for (const base of namesIn(dir).sort()) {
    const path = folder === "" ? base : `${folder}/${base}`;
    const stat = fstatat(dir, base);
    if (isWhiteout(stat))
      yield { path: `${folder === "" ? "" : `${folder}/`}${whiteoutName(base)}`, dir, base: "", stat: undefined };
    else yield { path, dir, base, stat };
    if (typeOf(stat) !== constants.S_IFDIR) continue;
    const child = openat(dir, base, FOLDER);
    try {
      if (isOpaque(child)) yield { path: `${path}/${OPAQUE_NAME}`, dir: child, base: "", stat: undefined };
      yield* upperChanges(child, path);
    } finally {
      closeSync(child);
    }
  }
}

/** What differs between two whole trees. A folder also comes when only something in it differs. */
export function* treeChanges(before: Below, after: number, folder = ""): Generator<Change> {
  const old = before.names();
  for (const base of namesIn(after).sort()) {
    const path = folder === "" ? base : `${folder}/${base}`;
    const stat = fstatat(after, base);
    const was = old.delete(base) ? before.find(base) : undefined;
    const self: Change = { path, dir: after, base, stat };
    let told = was === undefined || differs(was, { dir: after, stat }, base);
    if (told) yield self;
    if (typeOf(stat) !== constants.S_IFDIR) continue;
    using below = before.open(base);
    const child = openat(after, base, FOLDER);
    try {
      for (const change of treeChanges(below, child, path)) {
        if (!told) yield self;
        told = true;
        yield change;
      }
    } finally {
      closeSync(child);
    }
  }
  for (const base of [...old].sort())
    yield { path: `${folder === "" ? "" : `${folder}/`}${whiteoutName(base)}`, dir: after, base: "", stat: undefined };
}

/** What became of a path. */
export interface PathChange {
  /** Relative to the root. */
  readonly path: string;
  readonly kind: "added" | "modified" | "deleted";
}

/**
 * What a root filesystem's own folder makes of what is below it, a line for each path as people are told: of what was
 * deleted only the top, of folders also those in which something changed. With `marks` the folder is an overlay's
 * upper one, else the whole tree.
 */
export function* pathChanges(dir: number, below: Below, marks: boolean, folder = ""): Generator<PathChange> {
  const present = new Set(namesIn(dir));
  const all = !marks || isOpaque(dir) ? new Set([...present, ...below.names()]) : present;
  for (const base of [...all].sort()) {
    const path = folder === "" ? base : `${folder}/${base}`;
    const was = below.find(base);
    const stat = present.has(base) ? fstatat(dir, base) : undefined;
    if (stat === undefined || (marks && isWhiteout(stat))) {
      if (was !== undefined) yield { path, kind: "deleted" };
      continue;
    }
    let told = was === undefined || differs(was, { dir, stat }, base);
    if (told) yield { path, kind: was === undefined ? "added" : "modified" };
    if (!isFolderStat(stat)) continue;
    using within = below.open(base);
    const child = openat(dir, base, FOLDER);
    try {
      for (const change of pathChanges(child, within, marks, path)) {
        if (!told) yield { path, kind: "modified" };
        told = true;
        yield change;
      }
    } finally {
      closeSync(child);
    }
  }
}

function differs({ dir: before, stat: was }: Found, { dir: after, stat: is }: Found, base: string): boolean {
  if (was.mode !== is.mode || was.uid !== is.uid || was.gid !== is.gid) return true;
  const type = typeOf(is);
  if (type === constants.S_IFLNK && !readlinkat(before, base).equals(readlinkat(after, base))) return true;
  if (was.rdev.major !== is.rdev.major || was.rdev.minor !== is.rdev.minor) return true;
  // A folder's time changes with what is in it, which is told by itself.
  if (type !== constants.S_IFDIR) {
    if (was.size !== is.size || was.mtime.seconds !== is.mtime.seconds) return true;
    if (was.mtime.nanoseconds !== is.mtime.nanoseconds) return true;
  }
  return attributesOf(before, base) !== attributesOf(after, base);
}

function attributesOf(dir: number, base: string): string {
  return [...readAttributes(dir, base)].map(([name, value]) => `${name}=${value.toString("hex")}`).join("\n");
}

/** The extended attributes that belong into a layer, by name: not overlayfs's own, nor the host's labels. */
export function readAttributes(dir: number, base: string): Map<string, Buffer> {
  const path = `/proc/self/fd/${dir}/${base}`;
  const found = new Map<string, Buffer>();
  for (const name of listXattrs(path).sort()) {
    if (name === "security.selinux" || /^(trusted|user)\.overlay\./.test(name)) continue;
    const value = getXattr(path, name);
    if (value !== undefined) found.set(name, value);
  }
  return found;
}

/** Bytes of the regular files among the changes, hard links counted once. */
export async function sizeOf(changes: Iterable<Change>, breath: { take(): Promise<unknown> }): Promise<number> {
  const seen = new Set<string>();
  let size = 0;
  for (const { stat } of changes) {
    await breath.take();
    if (stat === undefined || typeOf(stat) !== constants.S_IFREG) continue;
    if (stat.nlink > 1) {
      const inode = `${stat.dev}/${stat.ino}`;
      if (seen.has(inode)) continue;
      seen.add(inode);
    }
    size += stat.size;
  }
  return size;
}

/** Runs over changes that may be pulled from under the walk by a running container: what is gone is passed over. */
export function openIfThere(dir: number, base: string, flags: number): number | undefined {
  try {
    return openat(dir, base, flags);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}
