import { closeSync, constants } from "node:fs";
import { hasCode } from "../base/errors.ts";
import {
  AT,
  evaluateInRoot,
  type FileTime,
  fchownat,
  fstatat,
  mkdirat,
  O_PATH,
  openat,
  openInRoot,
  type Root,
  statIfThere,
  unlinkat,
  utimensat,
} from "../kernel/path.ts";

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export type StubKind = "folder" | "file";

interface Stub {
  /** Open on the folder that it was made in, wherever that is by now. */
  readonly dir: number;
  readonly name: string;
  readonly kind: StubKind;
  readonly ino: number;
  readonly dev: string;
  /** Times of the folder before and after. */
  readonly before: Times;
  readonly after: Times;
}

interface Times {
  readonly atime: FileTime;
  readonly mtime: FileTime;
}

/**
 * Empty files and folders that are made in a root filesystem to mount something on, and taken away afterwards. What
 * was there stays as it is, and so does what something was put into or in the place of; nothing is looked up again by a
 * path that the root's links could lead elsewhere.
 */
export class MountStubs implements Disposable {
  readonly #made: Stub[] = [];

  /** Makes what is missing of `path` inside `root`, links followed as a process in there would, dangling ones too. */
  add(root: Root, path: string, kind: StubKind): void {
    walk(root, path, kind, (dir, name, made) => this.#made.push(make(dir, name, made)));
  }

  /** Takes away what is still as it was made, and gives the folders back their times if nothing else changed them. */
  [Symbol.dispose](): void {
    for (const stub of this.#made.splice(0).reverse()) {
      try {
        remove(stub);
      } catch (error) {
        if (!hasCode(error, "ENOTEMPTY", "EBUSY", "ENOENT", "ENOTDIR", "EPERM", "EEXIST")) throw error;
      } finally {
        closeSync(stub.dir);
      }
    }
  }
}

/** Makes what is missing of a path inside `root`, to stay there. */
export function makeMountPoint(root: Root, path: string, kind: StubKind): void {
  walk(root, path, kind, (dir, name, missing) => {
    if (missing === "folder") mkdirat(dir, name, 0o755);
    else closeSync(openat(dir, name, NEW_FILE, 0o755));
  });
}

/** Makes what is missing of a folder's path inside `root`; what is made belongs to the given user. */
export function makeFolders(root: Root, path: string, owner: { readonly uid: number; readonly gid: number }): void {
  walk(root, path, "folder", (dir, name) => {
    mkdirat(dir, name, 0o755);
    fchownat(dir, name, owner.uid, owner.gid);
  });
}

/** What has to be made for `path`, from the top down. What is in the way stays there, for who mounts to complain of. */
function walk(
  root: Root,
  path: string,
  kind: StubKind,
  onMissing: (dir: number, name: string, kind: StubKind) => void,
): void {
  if (isThere(root, path)) return;
  const names = evaluateInRoot(root, path)
    .split("/")
    .filter((name) => name !== "");
  let dir = openInRoot(root, ".", FOLDER);
  try {
    for (const [index, name] of names.entries()) {
      const isLast = index === names.length - 1;
      if (statIfThere(dir, name) === undefined) onMissing(dir, name, isLast ? kind : "folder");
      if (isLast) return;
      const next = openat(dir, name, FOLDER);
      closeSync(dir);
      dir = next;
    }
  } catch (error) {
    if (!hasCode(error, "ENOTDIR", "ELOOP", "EEXIST")) throw error;
  } finally {
    closeSync(dir);
  }
}

function isThere(root: Root, path: string): boolean {
  try {
    closeSync(openInRoot(root, path, O_PATH));
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    if (hasCode(error, "ENOTDIR", "ELOOP")) return true;
    throw error;
  }
}

function make(folder: number, name: string, kind: StubKind): Stub {
  const dir = openat(folder, ".", FOLDER);
  try {
    const before = timesOf(dir);
    if (kind === "folder") mkdirat(dir, name, 0o755);
    else closeSync(openat(dir, name, NEW_FILE, 0o755));
    const { ino, dev } = fstatat(dir, name);
    return { dir, name, kind, ino, dev, before, after: timesOf(dir) };
  } catch (error) {
    closeSync(dir);
    throw error;
  }
}

function remove({ dir, name, kind, ino, dev, before, after }: Stub): void {
  const now = statIfThere(dir, name);
  if (now === undefined || now.ino !== ino || now.dev !== dev) return;
  if (kind === "file" && (now.size > 0 || now.nlink > 1)) return;
  const times = timesOf(dir);
  unlinkat(dir, name, kind === "folder" ? AT.removedir : 0);
  const { atime, mtime } = isSame(times.mtime, after.mtime) ? before : times;
  utimensat(dir, "", atime, mtime);
}

function timesOf(dir: number): Times {
  const { atime, mtime } = fstatat(dir, "");
  return { atime, mtime };
}

function isSame(a: FileTime, b: FileTime): boolean {
  return a.seconds === b.seconds && a.nanoseconds === b.nanoseconds;
}
