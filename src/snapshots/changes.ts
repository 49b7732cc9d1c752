import { closeSync, constants } from "node:fs";
import { GantryError, hasCode } from "../base/errors.ts";
import { type FileStat, openat, readlinkat, statIfThere } from "../kernel/path.ts";
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

function typeOf(stat: FileStat): number {
  return stat.mode & constants.S_IFMT;
}

/** No program can name what lies deeper (PATH_MAX), and what a walk holds open is bounded by it. */
export const LONGEST_PATH = 4095;

/** A folder that a walk is in. */
interface Level {
  readonly dir: number;
  readonly path: string;
  names: readonly string[];
  at: number;
}

/** One that is compared with what was there: `untold` is what is told of it once something in it differs. */
interface Compared<T> extends Level {
  readonly old: Set<string>;
  readonly was: Below;
  untold: T | undefined;
}

/** A folder that a walk through marks is in: `was` is what is below it, undefined if nothing is. */
interface Marked extends Level {
  readonly was: (Below & Partial<Disposable>) | undefined;
  untold: Change | undefined;
}

/**
 * What an overlay's upper folder holds, its marks told in the words of layers. Folders come before what is in them;
 * what has too long a path comes without what is in it. A folder that is there only because something in it was
 * changed once, and that is as it was in what lies `below`, is not told by itself.
 */
export function* upperChanges(root: number, below?: Below): Generator<Change> {
  const levels: Marked[] = [{ ...levelOf(root, ""), was: below, untold: undefined }];
  try {
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const base = level.names[level.at++];
      if (base === undefined) {
        leaveMarked(levels);
        continue;
      }
      const { dir, was } = level;
      const path = pathIn(level.path, base);
      const stat = statIfThere(dir, base);
      if (stat === undefined) continue;
      if (isWhiteout(stat)) {
        yield* untold(levels);
        yield { path: pathIn(level.path, whiteoutName(base)), dir, base: "", stat: undefined };
        continue;
      }
      const self: Change = { path, dir, base, stat };
      const child = isWalked(stat, path) ? openIfThere(dir, base, FOLDER) : undefined;
      if (child === undefined) {
        yield* untold(levels);
        yield self;
        continue;
      }
      const hidesAll = isOpaque(child);
      const before = hidesAll ? undefined : was?.find(base);
      levels.push({ dir: child, path, names: [], at: 0, was: belowOf(was, before, base), untold: self });
      if (before === undefined || !isSameFolder(before, { dir, stat }, base)) yield* untold(levels);
      const within = levels.at(-1)!;
      within.names = namesIn(child).sort();
      if (hidesAll) yield { path: pathIn(path, OPAQUE_NAME), dir: child, base: "", stat: undefined };
    }
  } finally {
    while (levels.length > 0) leaveMarked(levels);
  }
}

/** What lies below a folder; nothing where there was none. */
function belowOf(was: Below | undefined, before: Found | undefined, base: string): (Below & Disposable) | undefined {
  return before === undefined || !isFolderStat(before.stat) ? undefined : was?.open(base);
}

function leaveMarked(levels: Marked[]): void {
  leave(levels)?.was?.[Symbol.dispose]?.();
}

function isSameFolder(was: Found, is: Found, base: string): boolean {
  if (!isFolderStat(was.stat) || differs(was, is, base)) return false;
  const [before, after] = [was.stat.mtime, is.stat.mtime];
  return before.seconds === after.seconds && before.nanoseconds === after.nanoseconds;
}

/** What differs between two whole trees. A folder also comes when only something in it differs. */
export function* treeChanges(before: Below, after: number): Generator<Change> {
  const levels: Compared<Change>[] = [{ ...levelOf(after, ""), old: before.names(), was: before, untold: undefined }];
  try {
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const { dir, old, was: beneath } = level;
      const base = level.names[level.at++];
      if (base === undefined) {
        const gone = [...old].sort();
        if (gone.length > 0) yield* untold(levels);
        for (const name of gone) yield { path: pathIn(level.path, whiteoutName(name)), dir, base: "", stat: undefined };
        leaveCompared(levels);
        continue;
      }
      const path = pathIn(level.path, base);
      const stat = statIfThere(dir, base);
      old.delete(base);
      const was = beneath.find(base);
      if (stat === undefined) {
        if (was === undefined) continue;
        yield* untold(levels);
        yield { path: pathIn(level.path, whiteoutName(base)), dir, base: "", stat: undefined };
        continue;
      }
      const self: Change = { path, dir, base, stat };
      const tells = was === undefined || differs(was, { dir, stat }, base);
      if (tells) {
        yield* untold(levels);
        yield self;
      }
      const child = isWalked(stat, path) ? openIfThere(dir, base, FOLDER) : undefined;
      if (child === undefined) continue;
      levels.push(
        entered(child, beneath, base, (within) => ({
          ...levelOf(child, path),
          old: within.names(),
          was: within,
          untold: tells ? undefined : self,
        })),
      );
    }
  } finally {
    while (levels.length > 0) leaveCompared(levels);
  }
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
export function* pathChanges(root: number, before: Below, marks: boolean): Generator<PathChange> {
  const levels: Compared<PathChange>[] = [comparedLevel(root, "", before, marks, undefined)];
  try {
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const base = level.names[level.at++];
      if (base === undefined) {
        leaveCompared(levels);
        continue;
      }
      const { dir, old: present, was: beneath } = level;
      const path = pathIn(level.path, base);
      if (path.length > LONGEST_PATH) throw tooDeep("list the changes", path);
      const was = beneath.find(base);
      const stat = present.has(base) ? statIfThere(dir, base) : undefined;
      if (stat === undefined || (marks && isWhiteout(stat))) {
        if (was === undefined) continue;
        yield* untold(levels);
        yield { path, kind: "deleted" };
        continue;
      }
      const tells = was === undefined || differs(was, { dir, stat }, base);
      if (tells) {
        yield* untold(levels);
        yield { path, kind: was === undefined ? "added" : "modified" };
      }
      const child = isFolderStat(stat) ? openIfThere(dir, base, FOLDER) : undefined;
      if (child === undefined) continue;
      const self: PathChange | undefined = tells ? undefined : { path, kind: "modified" };
      levels.push(entered(child, beneath, base, (within) => comparedLevel(child, path, within, marks, self)));
    }
  } finally {
    while (levels.length > 0) leaveCompared(levels);
  }
}

function levelOf(dir: number, path: string): Level {
  return { dir, path, names: namesIn(dir).sort(), at: 0 };
}

function comparedLevel(
  dir: number,
  path: string,
  was: Below,
  marks: boolean,
  told: PathChange | undefined,
): Compared<PathChange> {
  const level = levelOf(dir, path);
  const all = !marks || isOpaque(dir) ? [...new Set([...level.names, ...was.names()])].sort() : level.names;
  return { ...level, names: all, old: new Set(level.names), was, untold: told };
}

/** Goes into a folder and what it was before; what is open is closed if that fails. */
function entered<T>(child: number, beneath: Below, base: string, enter: (within: Below) => T): T {
  let within: (Below & Disposable) | undefined;
  try {
    within = beneath.open(base);
    return enter(within);
  } catch (error) {
    within?.[Symbol.dispose]();
    closeSync(child);
    throw error;
  }
}

/** The folders that lead to what differs, those that nothing was told of yet. */
function* untold<T>(levels: readonly { untold: T | undefined }[]): Generator<T> {
  let from = levels.length;
  while (from > 0 && levels[from - 1]?.untold !== undefined) from--;
  for (const level of levels.slice(from)) {
    yield level.untold as T;
    level.untold = undefined;
  }
}

/** The root is the caller's to close. */
function leave<L extends Level>(levels: L[]): L | undefined {
  const level = levels.pop();
  if (level === undefined || levels.length === 0) return undefined;
  closeSync(level.dir);
  return level;
}

function leaveCompared<T>(levels: Compared<T>[]): void {
  (leave(levels)?.was as (Below & Disposable) | undefined)?.[Symbol.dispose]();
}

function pathIn(folder: string, base: string): string {
  return folder === "" ? base : `${folder}/${base}`;
}

function isWalked(stat: FileStat, path: string): boolean {
  return isFolderStat(stat) && path.length <= LONGEST_PATH;
}

/** Says of a path that it can't be told of. */
export function tooDeep(verb: string, path: string): GantryError {
  return new GantryError("conflict", `cannot ${verb}: ${path.slice(0, 100)}… is a longer path than any can be`);
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

/**
 * The extended attributes that belong into a layer, by name: not overlayfs's own, nor the host's labels. None of what a
 * running container has taken away.
 */
export function readAttributes(dir: number, base: string): Map<string, Buffer> {
  const path = `/proc/self/fd/${dir}/${base}`;
  const found = new Map<string, Buffer>();
  try {
    for (const name of listXattrs(path).sort()) {
      if (name === "security.selinux" || /^(trusted|user)\.overlay\./.test(name)) continue;
      const value = getXattr(path, name);
      if (value !== undefined) found.set(name, value);
    }
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
  return found;
}

/** Bytes of the regular files among the changes, hard links counted once. */
export async function sizeOf(changes: Iterable<Change>, breath: { take(): Promise<unknown> }): Promise<number> {
  const count = new SizeCount();
  for (const change of changes) {
    await breath.take();
    count.add(change);
  }
  return count.total;
}

/** The same for who sees the changes go by. */
export class SizeCount {
  readonly #seen = new Set<string>();
  total = 0;

  add({ stat }: Change): void {
    if (stat === undefined || typeOf(stat) !== constants.S_IFREG) return;
    if (stat.nlink > 1) {
      const inode = `${stat.dev}/${stat.ino}`;
      if (this.#seen.has(inode)) return;
      this.#seen.add(inode);
    }
    this.total += stat.size;
  }

  /** Passes changes on and counts them. */
  *counted(changes: Iterable<Change>): Generator<Change> {
    for (const change of changes) {
      this.add(change);
      yield change;
    }
  }
}

/** As `openat`; undefined if a running container took it away, or put something else there, while the walk went on. */
function openIfThere(dir: number, base: string, flags: number): number | undefined {
  try {
    return openat(dir, base, flags);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
    throw error;
  }
}
