import { randomBytes } from "node:crypto";
import { closeSync, openSync, renameSync } from "node:fs";
import { join } from "node:path";
import { hasCode } from "../base/errors.ts";
import { listMounts, MNT, unmount } from "../kernel/mount.ts";
import { removeTree, removeTreeSync } from "../snapshots/remove-tree.ts";

/** How the names begin of what is on its way out. */
const TRASH = ".removed-";

/** A name that no volume can have, for what nobody is to find any more. */
export function newTrash(): string {
  return `${TRASH}${randomBytes(8).toString("hex")}`;
}

/** Removes what is in a folder by its name, following nothing; what is mounted within is unmounted, and stays. */
export async function removeIn(folder: string, name: string): Promise<void> {
  const fd = openSync(folder, "r");
  try {
    await removeTree(fd, name);
  } catch (error) {
    if (!hasCode(error, "EXDEV", "EBUSY")) throw error;
    unmountBelow(join(folder, name));
    await removeTree(fd, name);
  } finally {
    closeSync(fd);
  }
}

/** The same at boot, in one go. What can't be removed goes out of the way: the engine is to begin all the same. */
export function sweepOut(folder: string, name: string): void {
  unmountBelow(join(folder, name));
  const fd = openSync(folder, "r");
  try {
    removeTreeSync(fd, name);
  } catch {
    if (!name.startsWith(TRASH)) renameSync(join(folder, name), join(folder, newTrash()));
  } finally {
    closeSync(fd);
  }
}

/** Unmounts all at or below a path; throws if something stays. */
export function unmountBelow(path: string): void {
  for (const { target } of listMounts(path).toReversed()) unmount(target, MNT.DETACH | MNT.NOFOLLOW);
}
