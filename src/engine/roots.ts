import {
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "../base/atomic-file.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { flock } from "../kernel/descriptor.ts";
import { bindMount, isBoundOnItself, isMountPoint, listMounts, MNT, makeShared, unmount } from "../kernel/mount.ts";

/** The engine's two folders, its alone while this is held. */
export interface Roots {
  readonly dataRoot: string;
  readonly execRoot: string;
  /** Gives the locks and the pidfile back; with `unmount` also the mounts that make the roots shared. */
  release(options: { readonly unmount: boolean }): void;
  /** As `release`, after a start that failed: of the mounts it unmounts those that were not there before. */
  abandon(): void;
}

/** Where containers' root folders are mounted: their programs that run as their owner are for nobody outside. */
const PRIVATE = ["bundles", "views", "netns"];

/**
 * Makes the roots, locks them and makes each a shared mount, so that what the engine mounts beneath them arrives in
 * the supervisor's mount namespace. Throws conflict naming the process that has them.
 */
export function claimRoots(config: { dataRoot: string; execRoot: string; pidfile: string }): Roots {
  makeFolder(config.dataRoot, 0o710);
  // The socket in it is for its group, too.
  makeFolder(config.execRoot, 0o711);
  for (const name of PRIVATE) {
    const folder = join(config.execRoot, name);
    if (existsSync(folder)) chmodSync(folder, 0o700);
  }
  // Mounts are found by the kernel's names of them.
  const dataRoot = realpathSync(config.dataRoot);
  const execRoot = realpathSync(config.execRoot);
  const locks: number[] = [];
  const mounted: string[] = [];
  const give = (unmounted: readonly string[]) => {
    rmSync(config.pidfile, { force: true });
    for (const fd of locks) closeSync(fd);
    for (const root of unmounted) removeBind(root);
  };
  try {
    locks.push(lock(dataRoot, "data root"));
    locks.push(lock(execRoot, "exec root"));
    for (const root of [dataRoot, execRoot]) {
      if (!isMountPoint(root)) {
        bindMount(root, root, { recursive: true });
        mounted.unshift(root);
      }
      makeShared(root);
    }
    mkdirSync(join(config.pidfile, ".."), { recursive: true, mode: 0o755 });
    writeFileAtomic(config.pidfile, String(process.pid), { mode: 0o644, durable: false });
  } catch (error) {
    for (const fd of locks) closeSync(fd);
    throw error;
  }
  return {
    dataRoot,
    execRoot,
    release: (options) => give(options.unmount ? [execRoot, dataRoot] : []),
    abandon: () => give(mounted),
  };
}

function makeFolder(path: string, mode: number): void {
  mkdirSync(path, { recursive: true, mode });
  chmodSync(path, mode);
}

/**
 * Locks `<root>/gantryd.lock`. The file is opened beneath the root's mount and before it, the same file both ways.
 */
function lock(root: string, what: string): number {
  const path = join(root, "gantryd.lock");
  const fd = openSync(path, "a+", 0o600);
  if (!flock(fd, "exclusive")) {
    const holder = readFileSync(path, "utf8").trim();
    closeSync(fd);
    throw new GantryError(
      "conflict",
      `cannot use the ${what} ${root}: another engine${holder === "" ? "" : ` (pid ${holder})`} is using it`,
    );
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`);
  return fd;
}

/** Takes the root's own bind away; what else somebody mounted there, be it a folder from elsewhere, stays. */
function removeBind(root: string): void {
  if (!isBoundOnItself(root)) return;
  if (listMounts(root).some((row) => row.target !== root)) return;
  try {
    unmount(root, MNT.DETACH | MNT.NOFOLLOW);
  } catch (error) {
    if (!hasCode(error, "EINVAL", "ENOENT")) throw error;
  }
}
