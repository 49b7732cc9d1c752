import { constants } from "node:os";
import koffi from "koffi";
import { SyscallError } from "../base/errors.ts";

const lib = koffi.load("libc.so.6");
koffi.alias("ssize_t", "intptr_t");
koffi.alias("mode_t", "uint32_t");
koffi.alias("pid_t", "int");

// EWOULDBLOCK is EAGAIN, which is the name that Node gives it.
const NAMES = new Map(
  Object.entries(constants.errno)
    .filter(([name]) => name !== "EWOULDBLOCK")
    .map(([name, number]) => [number, name]),
);

/** Declares one function of libc by its C prototype, e.g. `libc("int umount2(const char *target, int flags)")`. */
export function libc(prototype: string): ReturnType<typeof lib.func> {
  return lib.func(prototype);
}

const LATER: ReadonlySet<number> = new Set([constants.errno.EAGAIN, constants.errno.EINTR]);

/**
 * Whether the call that has just failed would have had to wait, or was interrupted. Ask before you make an error, which
 * takes longer than the call: where one looks for more until there is none, each round ends with this.
 */
export function isForLater(): boolean {
  return LATER.has(koffi.errno());
}

/** Whether the call that has just failed found nothing of this name: what is looked for and often not there. */
export function isMissing(): boolean {
  return koffi.errno() === constants.errno.ENOENT;
}

/** The calling thread's errno as an error. Call it right after the failed call, before anything else. */
export function errnoError(syscall: string, detail = ""): SyscallError {
  return syscallError(syscall, koffi.errno(), detail);
}

export function syscallError(syscall: string, errno: number, detail = ""): SyscallError {
  return new SyscallError(syscall, errno, NAMES.get(errno) ?? `errno ${errno}`, detail);
}

/** Passes a result through, or throws when it is -1. */
export function check(syscall: string, result: number, detail = ""): number {
  if (result < 0) throw errnoError(syscall, detail);
  return result;
}

/** The raw system call, for those that glibc 2.36 does not wrap. Arguments are passed as 64-bit words. */
export const SYSCALL = {
  closeRange: 436,
  openat2: 437,
  pidfdOpen: 434,
  pidfdSendSignal: 424,
  moveMount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  openTree: 428,
  mountSetattr: 442,
} as const;
