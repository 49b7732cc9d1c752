import { closeSync, constants } from "node:fs";
import { hasCode } from "../base/errors.ts";
import { fstatat, mknodat, openat } from "../kernel/path.ts";
import { getXattr, setXattr } from "../kernel/xattr.ts";
import { isWhiteout } from "./below.ts";
import { isFolder, pathOf, type Whiteouts } from "./extractor.ts";
import { OPAQUE_XATTR } from "./layer-name.ts";
import { namesIn, removeTreeSync } from "./remove-tree.ts";
import type { WhiteoutKind } from "./snapshotter.ts";

const YES = Buffer.from("y");

/** overlayfs's marks: a character device 0/0 hides a name, an attribute hides all that is below a folder. */
export const overlayWhiteouts: Whiteouts = {
  asksWritten: false,
  hide(dir, { base }) {
    // Where nothing shines through the kernel would list the mark as a file that can't be found.
    if (isOpaque(dir)) return;
    try {
      mknodat(dir, base, constants.S_IFCHR, 0, 0);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      // This layer has it too, and only a folder would let what is below shine through.
      if (isFolder(dir, base)) markOpaque(`/proc/self/fd/${dir}/${base}`);
    }
  },
  hideAll(dir) {
    if (isOpaque(dir)) return;
    markOpaque(`/proc/self/fd/${dir}/.`);
    inFolder(dir, ".", (fd) => {
      for (const base of namesIn(fd)) if (isWhiteout(fstatat(fd, base))) removeTreeSync(fd, base);
    });
  },
  replaced(dir, base) {
    markOpaque(`/proc/self/fd/${dir}/${base}`);
  },
};

/** Of a folder that is open as a path only. */
function isOpaque(dir: number): boolean {
  return getXattr(`/proc/self/fd/${dir}/.`, OPAQUE_XATTR)?.toString() === "y";
}

function markOpaque(path: string): void {
  setXattr(path, OPAQUE_XATTR, YES);
}

/** For a folder that is a copy of its parent: what is hidden is deleted, unless this layer itself has brought it. */
export const deletingWhiteouts: Whiteouts = {
  asksWritten: true,
  hide(dir, name, written) {
    const path = pathOf(name);
    if (!written(path)) removeTreeSync(dir, name.base);
    else if (isFolder(dir, name.base)) inFolder(dir, name.base, (fd) => deleteUnwritten(fd, path, written));
  },
  hideAll(dir, folder, written) {
    inFolder(dir, ".", (fd) => deleteUnwritten(fd, folder, written));
  },
  replaced() {
    // What was there is gone already.
  },
};

/** By their kind, for who gets it in a message. */
export const WHITEOUTS: Readonly<Record<WhiteoutKind, Whiteouts>> = {
  marks: overlayWhiteouts,
  deletions: deletingWhiteouts,
};

function deleteUnwritten(fd: number, folder: string, written: (path: string) => boolean): void {
  for (const base of namesIn(fd)) {
    const path = pathOf({ folder, base });
    if (!written(path)) removeTreeSync(fd, base);
    else if ((fstatat(fd, base).mode & constants.S_IFMT) === constants.S_IFDIR)
      inFolder(fd, base, (child) => deleteUnwritten(child, path, written));
  }
}

function inFolder(dir: number, name: string, act: (fd: number) => void): void {
  const fd = openat(dir, name, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    act(fd);
  } finally {
    closeSync(fd);
  }
}
