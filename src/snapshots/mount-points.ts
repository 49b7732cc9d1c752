import { closeSync, constants, mkdirSync, openSync } from "node:fs";
import { hasCode } from "../base/errors.ts";
import { mkdirat, openat, symlinkat, utimensat } from "../kernel/path.ts";

/**
 * What a container's root filesystem has even where its image lacks it: the places that the kernel's file systems and
 * the engine's files are mounted on, and the mark by which programs know that they run in a container. They are no
 * change of the container's.
 */
const FOLDERS = ["dev/pts", "dev/shm", "etc", "proc", "sys"];
const FILES = [".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"];
const LINKS: readonly (readonly [name: string, target: string])[] = [["etc/mtab", "/proc/mounts"]];

const EPOCH = { seconds: 0, nanoseconds: 0 };
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Makes a folder that holds nothing else, for the bottom of a stack of layers. Returns its path. */
export function mountPointsFolder(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o755 });
  addMountPoints(path);
  return path;
}

/**
 * Adds what is missing of them to a root filesystem. Whatever else has one of the names stays as it is, and nothing is
 * made through a link.
 */
export function addMountPoints(root: string): void {
  const fd = openSync(root, FOLDER);
  try {
    for (const path of FOLDERS) unlessInTheWay(() => closeSync(openFolder(fd, path)));
    for (const path of FILES) inFolder(fd, path, (dir, base) => closeSync(openat(dir, base, NEW, 0o755)));
    for (const [path, target] of LINKS) inFolder(fd, path, (dir, base) => symlinkat(target, dir, base));
  } finally {
    closeSync(fd);
  }
}

function inFolder(root: number, path: string, make: (dir: number, base: string) => void): void {
  const slash = path.lastIndexOf("/");
  unlessInTheWay(() => {
    const dir = openFolder(root, path.slice(0, Math.max(slash, 0)));
    try {
      const base = path.slice(slash + 1);
      make(dir, base);
      // Always the same, so that where they are copied they compare as unchanged.
      utimensat(dir, base, EPOCH, EPOCH);
    } finally {
      closeSync(dir);
    }
  });
}

function openFolder(root: number, path: string): number {
  let dir = openat(root, ".", FOLDER);
  for (const name of path.split("/").filter((part) => part !== "")) {
    try {
      const next = makeFolder(dir, name);
      closeSync(dir);
      dir = next;
    } catch (error) {
      closeSync(dir);
      throw error;
    }
  }
  return dir;
}

function makeFolder(dir: number, name: string): number {
  try {
    mkdirat(dir, name, 0o755);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  }
  return openat(dir, name, FOLDER);
}

/** An image may have anything at these places. */
function unlessInTheWay(make: () => void): void {
  try {
    make();
  } catch (error) {
    if (!hasCode(error, "EEXIST", "ENOTDIR", "ELOOP")) throw error;
  }
}
