import { AT, O_CLOEXEC } from "./at.ts";
import { check, libc, SYSCALL } from "./libc.ts";

/** Values of <linux/mount.h>. */
const OPEN_TREE_CLONE = 1;
const AT_RECURSIVE = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH = 0x40;

const cOpenTree = libc("long syscall(long number, long dir, const char *path, long flags)");
const cMoveMount = libc(
  "long syscall(long number, long fromFd, const char *from, long toFd, const char *to, long flags)",
);

/**
 * A copy of the mount at `source` (a path, or a descriptor that is open on it), with `recursive` also of what is
 * mounted beneath. It is in no mount tree and ends when the returned descriptor (close-on-exec) is closed, unless it
 * was attached somewhere meanwhile. open_tree(2).
 */
export function copyMount(source: string | number, options: { readonly recursive: boolean }): number {
  const [dir, path] = typeof source === "number" ? [source, ""] : [AT.fdcwd, source];
  const flags = OPEN_TREE_CLONE | O_CLOEXEC | (options.recursive ? AT_RECURSIVE : 0) | (path === "" ? AT.emptyPath : 0);
  return check("open_tree", Number(cOpenTree(SYSCALL.openTree, dir, path, flags)), String(source));
}

/** Puts what `copyMount` made over the folder or file that `target` is open on. move_mount(2). */
export function attachMount(mount: number, target: number): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  check("move_mount", Number(cMoveMount(SYSCALL.moveMount, mount, "", target, "", flags)));
}
