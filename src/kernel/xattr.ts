import { hasCode } from "../base/errors.ts";
import { cName } from "./at.ts";
import { check, errnoError, libc } from "./libc.ts";

const c = {
  llistxattr: libc("ssize_t llistxattr(const char *path, void *list, size_t size)"),
  flistxattr: libc("ssize_t flistxattr(int fd, void *list, size_t size)"),
  lgetxattr: libc("ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size)"),
  fgetxattr: libc("ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)"),
  lsetxattr: libc("int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)"),
  fsetxattr: libc("int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)"),
};

// XATTR_LIST_MAX and XATTR_SIZE_MAX of <linux/limits.h>: the kernel never has more, so no second try is needed.
const buffer = Buffer.allocUnsafe(65_536);

/**
 * A path, whose last part is not followed when it is a symbolic link, or a descriptor that isn't O_PATH. A name in an
 * open folder is `/proc/self/fd/<fd>/<name>`.
 */
export type XattrTarget = string | number;

/** Names of the extended attributes; empty where the file system has none. */
export function listXattrs(target: XattrTarget): string[] {
  const length = (
    typeof target === "number"
      ? c.flistxattr(target, buffer, buffer.length)
      : c.llistxattr(cName("llistxattr", target), buffer, buffer.length)
  ) as number;
  if (length < 0) {
    const error = errnoError("listxattr", String(target));
    if (hasCode(error, "EOPNOTSUPP")) return [];
    throw error;
  }
  return length === 0 ? [] : buffer.toString("utf8", 0, length - 1).split("\0");
}

/** Whether an open file has any. */
export function hasXattrs(fd: number): boolean {
  const length = c.flistxattr(fd, null, 0) as number;
  if (length >= 0) return length > 0;
  const error = errnoError("listxattr", String(fd));
  if (hasCode(error, "EOPNOTSUPP")) return false;
  throw error;
}

/** The value, undefined if there is no such attribute. */
export function getXattr(target: XattrTarget, name: string): Buffer | undefined {
  const key = cName("getxattr", name);
  const length = (
    typeof target === "number"
      ? c.fgetxattr(target, key, buffer, buffer.length)
      : c.lgetxattr(cName("lgetxattr", target), key, buffer, buffer.length)
  ) as number;
  if (length < 0) {
    const error = errnoError("getxattr", `${name} of ${target}`);
    if (hasCode(error, "ENODATA", "EOPNOTSUPP")) return undefined;
    throw error;
  }
  return Buffer.from(buffer.subarray(0, length));
}

/** Throws SyscallError; of a path its last name is not followed. */
export function setXattr(target: XattrTarget, name: string, value: Uint8Array): void {
  const key = cName("setxattr", name);
  const result =
    typeof target === "number"
      ? c.fsetxattr(target, key, value, value.length, 0)
      : c.lsetxattr(cName("lsetxattr", target), key, value, value.length, 0);
  check("setxattr", result, `${name} of ${target}`);
}
