import { closeSync, openSync, rmSync } from "node:fs";
import { hasCode } from "../base/errors.ts";
import { check, errnoError, libc } from "./libc.ts";
import { bindMount, MNT, makePrivate, makeSlave, unmount } from "./mount.ts";

const CLONE_FS = 0x200;
const CLONE_NEWNS = 0x20000;
const CLONE_NEWNET = 0x40000000;
const OWN_NETNS = "/proc/thread-self/ns/net";

const cUnshare = libc("int unshare(int flags)");
const cSetns = libc("int setns(int fd, int type)");

/**
 * Makes a network namespace that lives as long as the file `path`, which must not exist. Synchronous from end to end,
 * so that nothing else of this process ever runs inside.
 */
export function createNetns(path: string): void {
  closeSync(openSync(path, "wx", 0o444));
  try {
    inOwnNetns(() => {
      check("unshare", cUnshare(CLONE_NEWNET), "network namespace");
      bindMount(OWN_NETNS, path);
    });
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** Ends what `createNetns` made; no error if it is gone already. The namespace dies with its last process. */
export function removeNetns(path: string): void {
  try {
    unmount(path, MNT.DETACH | MNT.NOFOLLOW);
  } catch (error) {
    // EINVAL: the file is there, but nothing is mounted on it.
    if (!hasCode(error, "ENOENT", "EINVAL")) throw error;
  }
  rmSync(path, { force: true });
}

/**
 * Runs `act` inside the network namespace at `path` (a bound file or /proc/PID/ns/net) and comes back, also when it
 * throws. `act` must be synchronous. Sockets opened in it stay in that namespace; mind that Node opens the socket of
 * `listen(port, host)` only a tick later, and that of `listen(port)` or `listen({ fd })` at once.
 */
export function inNetns<T>(path: string, act: () => T extends Promise<unknown> ? never : T): T {
  const target = openSync(path, "r");
  try {
    return inOwnNetns(() => {
      check("setns", cSetns(target, CLONE_NEWNET), path);
      return act();
    });
  } finally {
    closeSync(target);
  }
}

function inOwnNetns<T>(act: () => T): T {
  const own = openSync(OWN_NETNS, "r");
  try {
    return act();
  } finally {
    if (cSetns(own, CLONE_NEWNET) !== 0) {
      // Going on would do the host's work inside a container's network: nothing is worse.
      process.stderr.write(`${errnoError("setns", "back to the own network namespace").message}\n`);
      process.abort();
    }
    closeSync(own);
  }
}

/**
 * Gives the main thread, and what it starts from now on, a mount namespace of its own. `slave` still sees what is
 * mounted outside beneath shared mounts; `unchanged` leaves each mount's propagation as it is. Node's pool threads (all
 * asynchronous fs calls) stay in the old namespace.
 */
export function unshareMounts(propagation: "private" | "slave" | "unchanged" = "private"): void {
  check("unshare", cUnshare(CLONE_FS | CLONE_NEWNS), "mount namespace");
  if (propagation === "private") makePrivate("/");
  else if (propagation === "slave") makeSlave("/");
}
