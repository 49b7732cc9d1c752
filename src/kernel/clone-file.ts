import { hasCode } from "../base/errors.ts";
import { errnoError, libc } from "./libc.ts";

const FICLONE = 0x4004_9409;
/** What a file system says that can't share blocks, or not those of these two files. */
const CANNOT = ["EOPNOTSUPP", "EXDEV", "EINVAL", "ENOTTY", "ENOSYS", "EPERM"];

const ioctl = libc("int ioctl(int fd, unsigned long request, int argument)");

/**
 * Has `to` share the blocks of `from`, holes included, until one of them is written to (ioctl_ficlone(2)): takes no
 * room, and the same short time however long the file is. False where the file system can't.
 */
export function cloneFile(from: number, to: number): boolean {
  if (ioctl(to, FICLONE, from) === 0) return true;
  const error = errnoError("ioctl FICLONE");
  if (hasCode(error, ...CANNOT)) return false;
  throw error;
}

/**
 * The same on a thread of the pool: what of `from` isn't on the disk yet is written there first, which can take long.
 */
export async function cloneFileAside(from: number, to: number): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  ioctl.async(to, FICLONE, from, (error: Error | null, result: number) => {
    if (error === null) resolve(result);
    else reject(error);
  });
  // The errno of another thread can't be asked for: it fails the same way again.
  return (await promise) === 0 || cloneFile(from, to);
}
