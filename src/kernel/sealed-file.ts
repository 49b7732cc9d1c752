import { closeSync, readFileSync, writeSync } from "node:fs";
import { check, libc } from "./libc.ts";

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL, SHRINK, GROW, WRITE: nobody can change it any more, not even its maker. */
const SEALS = 0xf;

const cMemfdCreate = libc("int memfd_create(const char *name, unsigned int flags)");
const cFcntl = libc("int fcntl(int fd, int command, int argument)");

/** A copy of a file in memory that nobody can write to (memfd_create(2)). The descriptor is the caller's to close. */
export function sealedCopy(path: string, name: string): number {
  return sealedBytes(readFileSync(path), name);
}

/** As `sealedCopy`, of bytes. */
export function sealedBytes(bytes: Uint8Array, name: string): number {
  const fd = check("memfd_create", cMemfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), name);
  try {
    let done = 0;
    while (done < bytes.length) done += writeSync(fd, bytes, done);
    check("fcntl", cFcntl(fd, F_ADD_SEALS, SEALS), "F_ADD_SEALS");
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
