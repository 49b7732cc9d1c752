import { libc } from "./libc.ts";

const FS_IOC_GETFLAGS = 0x8008_6601;
const FS_IOC_SETFLAGS = 0x4008_6602;
/** FS_IMMUTABLE_FL and FS_APPEND_FL of ioctl_iflags(2). */
const KEPT = 0x10 | 0x20;

const ioctl = libc("int ioctl(int fd, unsigned long request, void *argument)");

/**
 * Takes the attributes `i` and `a` of chattr(1) from an open file or folder, with which not even root can remove it.
 * False if it has none, or the file system or this process can't.
 */
export function makeRemovable(fd: number): boolean {
  const flags = Buffer.alloc(8);
  if (ioctl(fd, FS_IOC_GETFLAGS, flags) !== 0) return false;
  const now = flags.readUInt32LE(0);
  if ((now & KEPT) === 0) return false;
  flags.writeUInt32LE((now & ~KEPT) >>> 0, 0);
  return ioctl(fd, FS_IOC_SETFLAGS, flags) === 0;
}
