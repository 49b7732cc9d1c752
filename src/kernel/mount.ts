import { closeSync, mkdtempSync, openSync, readSync, rmSync, symlinkSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import type { SyscallError } from "../base/errors.ts";
import { check, errnoError, libc, SYSCALL, syscallError } from "./libc.ts";
import { isMountPoint, listMounts } from "./mount-table.ts";

export { isBoundOnItself, isMountPoint, listMounts, type MountInfo } from "./mount-table.ts";

/** Flags of mount(2). */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  SYNCHRONOUS: 16,
  REMOUNT: 32,
  MANDLOCK: 64,
  DIRSYNC: 128,
  NOSYMFOLLOW: 256,
  NOATIME: 1024,
  NODIRATIME: 2048,
  BIND: 4096,
  MOVE: 8192,
  REC: 16384,
  SILENT: 32768,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
  RELATIME: 1 << 21,
  STRICTATIME: 1 << 24,
  LAZYTIME: 1 << 25,
} as const;

/** Flags of umount2(2). */
export const MNT = { FORCE: 1, DETACH: 2, EXPIRE: 4, NOFOLLOW: 8 } as const;

const AT_FDCWD = -100;
const AT_RECURSIVE = 0x8000;
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_RDONLY = 1;
const MOUNT_ATTR_NODEV = 4;
const FSCONFIG = { flag: 0, string: 1, create: 6 } as const;
/** The kernel copies at most 256 bytes of an fsconfig string, its end included. */
const FSCONFIG_STRING_MAX = 255;
/** mount(2) reads one page of options; a page is at least this long. */
const MOUNT_DATA_MAX = 4095;

const cMount = libc(
  "int mount(const char *source, const char *target, const char *fstype, unsigned long flags, const char *data)",
);
const cUmount2 = libc("int umount2(const char *target, int flags)");
const cFsopen = libc("long syscall(long number, const char *fstype, long flags)");
const cFsconfig = libc(
  "long syscall(long number, long fd, long command, const char *key, const char *value, long aux)",
);
const cFsmount = libc("long syscall(long number, long fd, long flags, long attributes)");
const cMoveMount = libc(
  "long syscall(long number, long fromFd, const char *from, long toFd, const char *to, long flags)",
);
const cMountSetattr = libc(
  "long syscall(long number, long dirfd, const char *path, long flags, const uint64_t *attributes, long size)",
);
const cChdir = libc("int chdir(const char *path)");
const cFchdir = libc("int fchdir(int fd)");

export interface OverlayLayers {
  /** Topmost first; at least one. */
  readonly lower: readonly string[];
  /** Without `upper` and `work` the mount is read-only. Both lie on one file system. */
  readonly upper?: string;
  readonly work?: string;
  /** Further options of overlayfs: `volatile`, `metacopy=on`, `userxattr` … */
  readonly options?: readonly string[];
  readonly readonly?: boolean;
}

/** mount(2). `source`, `fstype` and `data` may be empty where the flags leave them unread. */
export function mount(source: string, target: string, fstype: string, flags: number, data = ""): void {
  for (const text of [source, target, fstype, data]) {
    if (text.includes("\0")) throw syscallError("mount", 22, "a NUL byte in an argument");
  }
  check(
    "mount",
    cMount(source || "none", target, fstype || null, flags, data || null),
    `${fstype || source} on ${target}`,
  );
}

/** umount2(2), not following a link at `target` unless the given flags say so. */
export function unmount(target: string, flags: number = MNT.NOFOLLOW): void {
  check("umount2", cUmount2(target, flags), target);
}

/**
 * Detaches what is mounted at `target` on a pool thread: ending an overlay writes its upper file system to the disk,
 * which can take long. No error if nothing is mounted there.
 */
export function detachMount(target: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  cUmount2.async(target, MNT.DETACH | MNT.NOFOLLOW, (error: Error | null) => {
    if (error !== null) reject(error);
    // The errno of a pool thread cannot be asked for: what counts is what is there.
    else if (isMountPoint(target)) reject(syscallError("umount2", constants.errno.EBUSY, target));
    else resolve();
  });
  return promise;
}

/**
 * Shows `source` (a folder, with `recursive` also what is mounted beneath it, or a file) at `target`. `readonly` holds
 * for all mounts that come along, on kernels before 5.12 for the first one only.
 */
export function bindMount(
  source: string,
  target: string,
  options: { readonly recursive?: boolean; readonly readonly?: boolean } = {},
): void {
  const recursive = options.recursive ?? false;
  mount(source, target, "", MS.BIND | (recursive ? MS.REC : 0));
  if (options.readonly !== true) return;
  try {
    setReadonly(target, recursive);
  } catch (error) {
    cUmount2(target, MNT.DETACH | MNT.NOFOLLOW);
    throw error;
  }
}

/** Makes an existing mount read-only, keeping its other flags; with `recursive` also those beneath it. */
export function setReadonly(target: string, recursive = false): void {
  setAttribute(target, MOUNT_ATTR_RDONLY, MS.RDONLY, recursive);
}

/** Makes device nodes on an existing mount names that can't be opened; with `recursive` also those beneath it. */
export function setNoDevices(target: string, recursive = false): void {
  setAttribute(target, MOUNT_ATTR_NODEV, MS.NODEV, recursive);
}

/** Kernels before 5.12 know only how to remount the first one. */
function setAttribute(target: string, attribute: number, flag: number, recursive: boolean): void {
  // struct mount_attr: set, clear, propagation, user namespace.
  const attributes = new BigUint64Array([BigInt(attribute), 0n, 0n, 0n]);
  const result = cMountSetattr(
    SYSCALL.mountSetattr,
    AT_FDCWD,
    target,
    recursive ? AT_RECURSIVE : 0,
    attributes,
    attributes.byteLength,
  );
  if (result === 0) return;
  const error = errnoError("mount_setattr", target);
  if (error.code !== "ENOSYS") throw error;
  const options = listMounts(target).findLast((row) => row.target === target)?.options ?? [];
  mount("", target, "", MS.REMOUNT | MS.BIND | flag | flagsOf(options));
}

/** What is mounted below shows in copies of this mount, and the reverse. */
export function makeShared(target: string): void {
  mount("", target, "", MS.SHARED | MS.REC);
}

/** What is mounted below shows nowhere else. */
export function makePrivate(target: string): void {
  mount("", target, "", MS.PRIVATE | MS.REC);
}

export function makeSlave(target: string): void {
  mount("", target, "", MS.SLAVE | MS.REC);
}

/**
 * Mounts overlayfs at an existing folder. Takes as many layers as the kernel does (500), whatever their paths: through
 * fsconfig's `lowerdir+` from Linux 6.7 on, before it through mount(2) with short names in a temporary folder.
 * One lower layer with no upper is a read-only bind mount, since overlayfs refuses that.
 */
export function mountOverlay(target: string, layers: OverlayLayers): void {
  const [first, ...rest] = layers.lower;
  if (first === undefined) throw syscallError("mount", 22, `overlay on ${target}: no lower layer`);
  if (rest.length === 0 && layers.upper === undefined) {
    bindMount(first, target, { readonly: true });
    return;
  }
  const long = [...layers.lower, layers.upper ?? "", layers.work ?? ""].some(
    (path) => Buffer.byteLength(path) > FSCONFIG_STRING_MAX,
  );
  const mountNew = () =>
    long
      ? withShortNames(layers, (folder, short) =>
          configureOverlay(
            target,
            mapPaths(short, (name) => join(folder, name)),
          ),
        )
      : configureOverlay(target, layers);
  if (!mountNew()) mountOverlayClassic(target, layers);
}

/** The new mount API. False if this kernel lacks it or `lowerdir+`. */
function configureOverlay(target: string, layers: OverlayLayers): boolean {
  const fd: number = cFsopen(SYSCALL.fsopen, "overlay", FSOPEN_CLOEXEC);
  if (fd < 0) {
    const error = errnoError("fsopen", "overlay");
    if (error.code === "ENOSYS") return false;
    throw error;
  }
  try {
    const set = (key: string, value: string | null) =>
      cFsconfig(SYSCALL.fsconfig, fd, value === null ? FSCONFIG.flag : FSCONFIG.string, key, value, 0);
    for (const [index, lower] of layers.lower.entries()) {
      if (set("lowerdir+", lower) === 0) continue;
      const error = contextError("fsconfig", fd, `overlay on ${target}: lowerdir ${lower}`);
      if (index === 0 && error.code === "EINVAL") return false;
      throw error;
    }
    // What the first column of /proc/mounts and of df says, as mount(8) would have it.
    const settings: [string, string | null][] = [["source", "overlay"]];
    if (layers.upper !== undefined) settings.push(["upperdir", layers.upper]);
    if (layers.work !== undefined) settings.push(["workdir", layers.work]);
    for (const option of layers.options ?? []) {
      const at = option.indexOf("=");
      settings.push(at < 0 ? [option, null] : [option.slice(0, at), option.slice(at + 1)]);
    }
    for (const [key, value] of settings) {
      if (set(key, value) !== 0) throw contextError("fsconfig", fd, `overlay on ${target}: ${key}=${value ?? ""}`);
    }
    if (cFsconfig(SYSCALL.fsconfig, fd, FSCONFIG.create, null, null, 0) !== 0) {
      throw contextError("fsconfig", fd, `overlay on ${target}`);
    }
    const readonly = layers.readonly === true || layers.upper === undefined;
    const mounted: number = cFsmount(SYSCALL.fsmount, fd, FSMOUNT_CLOEXEC, readonly ? MOUNT_ATTR_RDONLY : 0);
    if (mounted < 0) throw contextError("fsmount", fd, `overlay on ${target}`);
    try {
      const moved = cMoveMount(SYSCALL.moveMount, mounted, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
      check("move_mount", moved, `overlay on ${target}`);
    } finally {
      closeSync(mounted);
    }
    return true;
  } finally {
    closeSync(fd);
  }
}

/** The errno with what the kernel wrote into the context's log, which says far more. */
function contextError(syscall: string, fd: number, detail: string): SyscallError {
  const error = errnoError(syscall, detail);
  const said: string[] = [];
  const line = Buffer.alloc(1024);
  try {
    for (let rows = 0; rows < 16; rows++) said.push(line.toString("utf8", 0, readSync(fd, line)).trim());
  } catch {
    // ENODATA: the log is at its end.
  }
  if (said.length === 0) return error;
  return syscallError(syscall, error.errno, `${detail}: ${said.map((row) => row.replace(/^[ewi] /, "")).join("; ")}`);
}

/** mount(2). Exported for its test: kernels since 6.7 do not come here. */
export function mountOverlayClassic(target: string, layers: OverlayLayers): void {
  const flags = layers.readonly === true || layers.upper === undefined ? MS.RDONLY : 0;
  const data = overlayData(layers);
  if (Buffer.byteLength(data) <= MOUNT_DATA_MAX) {
    mount("overlay", target, "overlay", flags, data);
    return;
  }
  withShortNames(layers, (folder, short) => {
    const before = openSync(".", "r");
    try {
      check("chdir", cChdir(folder), folder);
      mount("overlay", target, "overlay", flags, overlayData(short));
    } finally {
      check("fchdir", cFchdir(before), "back to the working folder");
      closeSync(before);
    }
  });
}

function overlayData(layers: OverlayLayers): string {
  const quote = (path: string) => path.replace(/[\\,:]/g, "\\$&");
  const rows = [`lowerdir=${layers.lower.map(quote).join(":")}`];
  if (layers.upper !== undefined) rows.push(`upperdir=${quote(layers.upper)}`);
  if (layers.work !== undefined) rows.push(`workdir=${quote(layers.work)}`);
  return [...rows, ...(layers.options ?? [])].join(",");
}

function mapPaths(layers: OverlayLayers, name: (path: string, index: number) => string): OverlayLayers {
  return {
    ...layers,
    lower: layers.lower.map(name),
    ...(layers.upper !== undefined && { upper: name(layers.upper, layers.lower.length) }),
    ...(layers.work !== undefined && { work: name(layers.work, layers.lower.length + 1) }),
  };
}

/** Gives every layer a short name in a temporary folder; the kernel follows the links once, while mounting. */
function withShortNames<T>(layers: OverlayLayers, act: (folder: string, short: OverlayLayers) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "overlay-"));
  try {
    const short = mapPaths(layers, (path, index) => {
      symlinkSync(path, join(folder, `${index}`));
      return `${index}`;
    });
    return act(folder, short);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function flagsOf(options: readonly string[]): number {
  const known: Record<string, number> = {
    nosuid: MS.NOSUID,
    nodev: MS.NODEV,
    noexec: MS.NOEXEC,
    noatime: MS.NOATIME,
    nodiratime: MS.NODIRATIME,
    relatime: MS.RELATIME,
  };
  return options.reduce((flags, option) => flags | (known[option] ?? 0), 0);
}
