import { closeSync, constants, fstatSync, mkdirSync, openSync, rmdirSync, statSync, writeSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join, posix } from "node:path";
import { errnoWords } from "../base/errno-words.ts";
import { GantryError, hasCode } from "../base/errors.ts";
import { detachedMount } from "../kernel/detached-mount.ts";
import { detachMount } from "../kernel/mount.ts";
import { attachMount } from "../kernel/mount-tree.ts";
import { fchmod, fchmodat, fchownat, O_PATH, openat, openInRoot, type Root } from "../kernel/path.ts";
import { listenUnix } from "../kernel/unix-socket.ts";
import type { RuntimeSpec, SpecMount } from "../oci/runtime-spec.ts";
import type { StepMount } from "../runtime/step.ts";
import { place } from "./mount-sources.ts";
import { MountStubs, makeMountPoint, type StubKind } from "./mount-stubs.ts";
import type { InputMount } from "./spec/input.ts";

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** What the files of a step may take together; a page each, and their folder's. */
const MOST_FILE_BYTES = 64 << 20;

/** The mounts of a step with sources that the runtime can mount. */
export interface StepMounts {
  readonly mounts: readonly InputMount[];
  /** What a mount shows, open, by its target: for mount points in it. Undefined of what is made with the jail. */
  readonly sources: ReadonlyMap<string, number>;
}

/**
 * Puts what a step mounts at places of its own below `folder`, which boot sweeps: copies of the very files and folders
 * that descriptors are open on, and a file system in memory for files and sockets. `undo` takes it down.
 */
export function openStepMounts(folder: string, mounts: readonly StepMount[], undo: AsyncDisposableStack): StepMounts {
  const sorted = mounts
    .map((mount) => ({ mount, target: targetOf(mount) }))
    .sort((a, b) => (a.target < b.target ? -1 : a.target > b.target ? 1 : 0));
  if (mounts.some(({ type }) => type !== "tmpfs")) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    undo.defer(() => void rmdirSync(folder));
  }
  const memory = mounts.some(({ type }) => type === "file" || type === "socket")
    ? openMemory(join(folder, "m"), undo)
    : -1;
  const sources = new Map<string, number>();
  const opened = sorted.map(({ mount, target }, index): InputMount => {
    if (mount.type === "tmpfs") return tmpfs(target, mount.size);
    const fd = mount.type === "bind" ? mount.source : openat(memory, inMemory(memory, `${index}`, mount, undo), O_PATH);
    if (mount.type !== "bind") undo.defer(() => closeSync(fd));
    sources.set(target, fd);
    const source = place(fd, join(folder, `p${index}`), undo);
    const isFile = mount.type === "file";
    return {
      type: "bind",
      source,
      destination: target,
      readonly: mount.type === "bind" ? mount.readonly : isFile,
      propagation: "rprivate",
      recursive: false,
      options: mount.type === "bind" ? [] : ["nosuid", "nodev", "noexec"],
    };
  });
  return { mounts: opened, sources };
}

function targetOf({ target }: StepMount): string {
  const path = posix.resolve("/", target);
  if (path === "/") throw new GantryError("invalid", `invalid mount target "${target}"`);
  return path;
}

function tmpfs(destination: string, size: number): InputMount {
  const limits = size > 0 ? [`size=${size}`] : [];
  const common = { source: "", readonly: false, propagation: "", recursive: false };
  return { type: "tmpfs", destination, ...common, options: ["exec", ...limits] };
}

/** A file system in memory that is never swapped out where the kernel knows how to (Linux 6.4). */
function openMemory(path: string, undo: AsyncDisposableStack): number {
  mkdirSync(path, { mode: 0o700 });
  undo.defer(() => void rmdirSync(path));
  const options = { mode: "0700", size: `${MOST_FILE_BYTES}` };
  let mount: number;
  try {
    mount = detachedMount("tmpfs", { ...options, noswap: true });
  } catch (error) {
    if (!hasCode(error, "EINVAL")) throw error;
    mount = detachedMount("tmpfs", options);
  }
  try {
    const target = openSync(path, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      attachMount(mount, target);
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(mount);
  }
  undo.defer(() => detachMount(path));
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  undo.defer(() => closeSync(fd));
  return fd;
}

function inMemory(
  memory: number,
  name: string,
  mount: Extract<StepMount, { type: "file" | "socket" }>,
  undo: AsyncDisposableStack,
): string {
  if (mount.type === "file") {
    const fd = openat(memory, name, NEW_FILE, 0o600);
    try {
      writeAll(fd, mount.bytes);
      fchownat(fd, "", mount.uid, mount.gid);
      fchmod(fd, mount.mode & 0o7777);
    } finally {
      closeSync(fd);
    }
    return name;
  }
  // Through the descriptor: a socket's path has little room.
  const listening = listenUnix(`/proc/self/fd/${memory}/${name}`);
  fchownat(memory, name, mount.uid, mount.gid);
  fchmodat(memory, name, mount.mode & 0o7777);
  const server = createServer({ allowHalfOpen: true }, (socket) => mount.connected(socket)).listen({ fd: listening });
  undo.defer(() => closed(server));
  return name;
}

/** Takes no more connections; those that there are end with the step's processes. */
function closed(server: Server): void {
  server.on("error", () => {});
  server.close();
}

/**
 * Makes the mount points that a root filesystem lacks, so that the runtime makes none. Those in the root go with the
 * result; those in a mount stay in it.
 */
export function makeMountPoints(spec: RuntimeSpec, rootfs: string, sources: ReadonlyMap<string, number>): Disposable {
  const stubs = new MountStubs();
  try {
    const above: SpecMount[] = [];
    for (const mount of spec.mounts ?? []) {
      const parent = above.findLast(({ destination }) => mount.destination.startsWith(`${destination}/`));
      above.push(mount);
      const kind = isFile(mount) ? "file" : "folder";
      if (parent === undefined) {
        stubs.add(rootfs, mount.destination, kind);
        checkMountPoint(rootfs, mount.destination, mount.destination, kind);
        continue;
      }
      const source = sources.get(parent.destination);
      if (source === undefined || !fstatSync(source).isDirectory()) continue;
      try {
        const below = mount.destination.slice(parent.destination.length);
        makeMountPoint(source, below, kind);
        checkMountPoint(source, below, mount.destination, kind);
      } catch (error) {
        if (!hasCode(error, "EROFS")) throw error;
        throw new GantryError("invalid", `cannot mount ${mount.destination}: ${parent.destination} is read-only`);
      }
    }
    return stubs;
  } catch (error) {
    stubs[Symbol.dispose]();
    throw error;
  }
}

/** Refuses what the runtime would, with paths of this machine in its words. */
function checkMountPoint(root: Root, path: string, destination: string, kind: StubKind): void {
  let fd: number;
  try {
    fd = openInRoot(root, path, O_PATH);
  } catch (error) {
    if (!hasCode(error, "ENOTDIR", "ELOOP", "ENAMETOOLONG", "ENOENT")) throw error;
    throw new GantryError("invalid", `cannot mount ${destination}: ${errnoWords(error)}`, { cause: error });
  }
  try {
    if (fstatSync(fd).isDirectory() === (kind === "folder")) return;
    const why = kind === "folder" ? "it is no directory, as what is mounted is" : "it is a directory";
    throw new GantryError("invalid", `cannot mount ${destination}: ${why}`);
  } finally {
    closeSync(fd);
  }
}

function isFile({ type, source }: SpecMount): boolean {
  return type === "bind" && source !== undefined && !statSync(source).isDirectory();
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
