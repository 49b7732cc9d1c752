import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { hasCode } from "../base/errors.ts";
import { errnoError, libc } from "./libc.ts";

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_ATTR_MOUNT_ROOT = 0x2000n;

const cStatx = libc("int statx(int dirfd, const char *path, int flags, unsigned int mask, _Out_ uint8_t *buffer)");

/** One row of /proc/self/mountinfo (proc_pid_mountinfo(5)), its escapes undone. */
export interface MountInfo {
  readonly id: number;
  readonly parent: number;
  /** `major:minor`. */
  readonly device: string;
  /** The folder of the file system that is mounted here. */
  readonly root: string;
  readonly target: string;
  /** Per-mount options: `ro`, `nosuid` … */
  readonly options: readonly string[];
  /** `shared:N`, `master:N` … */
  readonly propagation: readonly string[];
  readonly fstype: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

/** The mounts that this process sees, in the order they were made; with `under`, those at that path or beneath it. */
export function listMounts(under?: string): MountInfo[] {
  const rows = readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter(Boolean).map(parseMountInfo);
  if (under === undefined || under === "/") return rows;
  const folder = under.replace(/\/+$/, "");
  return rows.filter((row) => row.target === folder || row.target.startsWith(`${folder}/`));
}

/** True if what is mounted last at this path is the folder that is there without it: a bind of the path on itself. */
export function isBoundOnItself(path: string): boolean {
  const rows = listMounts();
  const top = rows.findLast((row) => row.target === path);
  const below = rows.find((row) => row.id === top?.parent);
  if (top === undefined || below === undefined || top.device !== below.device) return false;
  return top.root === join(below.root, relative(below.target, path));
}

function parseMountInfo(row: string): MountInfo {
  const [id = "", parent = "", device = "", root = "", target = "", options = "", ...rest] = row.split(" ");
  const dash = rest.indexOf("-");
  const [fstype = "", source = "", superOptions = ""] = rest.slice(dash + 1);
  return {
    id: Number(id),
    parent: Number(parent),
    device,
    root: unescapeOctal(root),
    target: unescapeOctal(target),
    options: options.split(","),
    propagation: rest.slice(0, dash),
    fstype,
    source: unescapeOctal(source),
    superOptions: superOptions.split(","),
  };
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** True if something is mounted exactly here. A link at `path` is not followed; a path that is not there is no mount. */
export function isMountPoint(path: string): boolean {
  const buffer = new Uint8Array(256);
  if (cStatx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, 0, buffer) !== 0) {
    const error = errnoError("statx", path);
    if (hasCode(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
  const view = new DataView(buffer.buffer);
  const known = (view.getBigUint64(56, true) & STATX_ATTR_MOUNT_ROOT) !== 0n;
  if (known) return (view.getBigUint64(8, true) & STATX_ATTR_MOUNT_ROOT) !== 0n;
  return listMounts(path).some((row) => row.target === path);
}
