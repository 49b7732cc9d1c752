import { hasCode } from "../base/errors.ts";
import { errnoError, libc } from "./libc.ts";

/** What a kernel or a file system says that can't copy between these two files by itself. */
const CANNOT = ["EXDEV", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM", "EIO", "ETXTBSY"];

const copyFileRange = libc(
  "ssize_t copy_file_range(int from, _Inout_ int64_t *fromAt, int to, _Inout_ int64_t *toAt, size_t length, unsigned int flags)",
);

/**
 * Has the kernel copy bytes from one file to the same place in another (copy_file_range(2)); blocks are shared where the
 * file system can do that. Returns how many were, 0 at the end of the file; undefined if it can't between these two.
 */
export function copyRange(from: number, to: number, offset: number, length: number): number | undefined {
  const count = Number(copyFileRange(from, [offset], to, [offset], length, 0));
  if (count >= 0) return count;
  const error = errnoError("copy_file_range");
  if (hasCode(error, ...CANNOT)) return undefined;
  throw error;
}
