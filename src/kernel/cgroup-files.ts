import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { join, normalize } from "node:path";
import { GantryError, hasCode } from "../base/errors.ts";
import { cgroupHierarchies, cgroupLayout } from "./cgroup-hierarchy.ts";

/** Where each controller has the files of one cgroup. Plain folders, so that tests can give some of their own. */
export interface ControllerFolders {
  /** 1 as soon as any controller is mounted by itself: the v2 hierarchy beside it has none then. */
  readonly version: 1 | 2;
  /** By controller; on v2 they are all the same folder. */
  readonly folders: Readonly<Record<string, string>>;
}

/** The folders of the cgroup at this path beneath each mount point, as `cgroupAt` takes it; existing or not. */
export function controllerFolders(path: string): ControllerFolders {
  const below = normalize(`/${path}`).replace(/\/+$/, "");
  if (below === "" || below.includes("\0")) {
    throw new GantryError("invalid", `invalid cgroup path: ${JSON.stringify(path)}`);
  }
  const version = cgroupLayout() === "v2" ? 2 : 1;
  const folders: Record<string, string> = {};
  for (const hierarchy of cgroupHierarchies()) {
    if (hierarchy.version !== version) continue;
    for (const controller of hierarchy.controllers) folders[controller] = hierarchy.mountPoint + below;
  }
  return { version, folders };
}

/** Larger than any of the files that are read: `memory.stat` has two pages at most. */
const page = Buffer.allocUnsafe(64 * 1024);

/**
 * What a kernel file of numbers says now; undefined if it is not there, or its cgroup has gone. In one read and without
 * a look at its size, which such files don't have: a sample of a container reads a dozen of them.
 */
export function readControl(folder: string | undefined, file: string): string | undefined {
  if (folder === undefined) return undefined;
  let fd: number;
  try {
    fd = openSync(`${folder}/${file}`, "r");
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENODEV", "ENOTDIR", "ESRCH")) return undefined;
    throw error;
  }
  try {
    return page.toString("latin1", 0, readSync(fd, page, 0, page.length, 0));
  } catch (error) {
    if (hasCode(error, "ENODEV", "EOPNOTSUPP", "ENOTSUP", "ESRCH", "EINVAL")) return undefined;
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** Writes one value, in one write as the kernel wants it. Throws what the kernel says of it. */
export function writeControl(folder: string, file: string, value: string): void {
  const fd = openSync(join(folder, file), "r+");
  try {
    writeSync(fd, value);
  } finally {
    closeSync(fd);
  }
}
