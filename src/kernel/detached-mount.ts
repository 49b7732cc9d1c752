import { closeSync } from "node:fs";
import { check, libc, SYSCALL } from "./libc.ts";

const CLOEXEC = 1;
const SET_FLAG = 0;
const SET_STRING = 1;
const CREATE = 6;

const cFsopen = libc("long syscall(long number, const char *fstype, long flags)");
const cFsconfig = libc(
  "long syscall(long number, long fd, long command, const char *key, const char *value, long auxiliary)",
);
const cFsmount = libc("long syscall(long number, long fd, long flags, long attributes)");

/**
 * Mounts a file system without a place in any mount tree; it ends when the returned descriptor (close-on-exec) is
 * closed. `true` sets a flag, a string gives an option its value.
 */
export function detachedMount(fstype: string, options: Readonly<Record<string, string | true>>): number {
  const context = check("fsopen", Number(cFsopen(SYSCALL.fsopen, fstype, CLOEXEC)), fstype);
  try {
    for (const [key, value] of Object.entries(options)) {
      const [command, text] = value === true ? [SET_FLAG, null] : [SET_STRING, value];
      check("fsconfig", Number(cFsconfig(SYSCALL.fsconfig, context, command, key, text, 0)), key);
    }
    check("fsconfig", Number(cFsconfig(SYSCALL.fsconfig, context, CREATE, null, null, 0)), "create");
    return check("fsmount", Number(cFsmount(SYSCALL.fsmount, context, CLOEXEC, 0)), fstype);
  } finally {
    closeSync(context);
  }
}
