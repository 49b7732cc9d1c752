import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode } from "../base/errors.ts";
import { detachMount } from "../kernel/mount.ts";
import { listMounts } from "../kernel/mount-table.ts";
import { attachMount, copyMount } from "../kernel/mount-tree.ts";
import { O_PATH, openBeneath } from "../kernel/path.ts";
import { imagePin, sourcesFolder } from "./mounts.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerRecord, ResolvedMount } from "./record.ts";

/** A container's mounts with sources that can be mounted until the end. */
export interface OpenSources extends AsyncDisposable {
  readonly mounts: readonly ResolvedMount[];
}

type Ports = Pick<ContainerPorts, "volumes" | "snapshots" | "settings">;

/**
 * Sees to it that what a container mounts is there: volumes are mounted for `holder`, who releases them in the end;
 * images are mounted; of each the part that the user wants is found by the kernel, below its root and without links.
 * Such a part is one that another process can mount as well if `placed`; else it is a path of this process.
 */
export async function openSources(
  ports: Ports,
  { id, mounts }: Pick<ContainerRecord, "id" | "mounts">,
  holder: string,
  options: { readonly placed: boolean },
): Promise<OpenSources> {
  await using undo = new AsyncDisposableStack();
  const folder = sourcesFolder(ports.settings().execRoot, holder);
  if (mounts.some(isSpecial)) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    undo.defer(() => void rmdirSync(folder));
  }
  const opened: ResolvedMount[] = [];
  for (const mount of mounts) {
    const whole = await sourceOf(ports, id, mount, holder, join(folder, `i${opened.length}`), undo);
    // What a plugin mounts by itself need not be in the mount namespace of the runtime.
    const isElsewhere = options.placed && mount.driver !== undefined;
    if (mount.subpath === undefined && !isElsewhere) {
      opened.push({ ...mount, source: whole });
      continue;
    }
    const fd = mount.subpath === undefined ? openSync(whole, O_PATH) : openPart(whole, mount.subpath);
    undo.defer(() => closeSync(fd));
    const source = options.placed ? place(fd, join(folder, `p${opened.length}`), undo) : `/proc/self/fd/${fd}`;
    opened.push({ ...mount, source });
  }
  const lifetime = undo.move();
  return { mounts: opened, [Symbol.asyncDispose]: () => lifetime.disposeAsync() };
}

function isSpecial({ subpath, image, driver }: ResolvedMount): boolean {
  return subpath !== undefined || image !== undefined || driver !== undefined;
}

async function sourceOf(
  ports: Ports,
  id: string,
  mount: ResolvedMount,
  holder: string,
  target: string,
  undo: AsyncDisposableStack,
): Promise<string> {
  if (mount.type === "volume" && mount.name !== undefined) return ports.volumes.mount(mount.name, holder);
  if (mount.image === undefined) return mount.source;
  mkdirSync(target, { mode: 0o700 });
  undo.defer(() => void rmdirSync(target));
  await ports.snapshots.mount(mount.image.chainId ?? imagePin(id, mount.destination), target, { readonly: true });
  undo.defer(() => ports.snapshots.unmount(target));
  return target;
}

function openPart(whole: string, subpath: string): number {
  try {
    return openBeneath(whole, subpath, O_PATH);
  } catch (error) {
    const path = join(whole, subpath);
    if (hasCode(error, "EXDEV")) {
      throw new GantryError(
        "invalid",
        `path concatenation escapes the base directory, base: ${whole}, subpath: ${subpath}`,
      );
    }
    const why = WHY.find(([code]) => hasCode(error, code))?.[1];
    if (why === undefined) throw error;
    throw new GantryError("invalid", `cannot access path ${path}: ${why}`, { cause: error });
  }
}

const WHY: readonly (readonly [string, string])[] = [
  ["ENOENT", "no such file or directory"],
  ["ELOOP", "too many levels of symbolic links"],
  ["ENOTDIR", "not a directory"],
  ["ENAMETOOLONG", "file name too long"],
];

/** Mounts the very thing that `fd` is open on at a path of its own: whatever the name leads to from now on. */
export function place(fd: number, path: string, undo: AsyncDisposableStack): string {
  const isFolder = fstatSync(fd).isDirectory();
  if (isFolder) mkdirSync(path, { mode: 0o700 });
  else closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_RDONLY, 0o600));
  undo.defer(() => (isFolder ? rmdirSync(path) : unlinkSync(path)));
  const mount = copyMount(fd, { recursive: false });
  try {
    const target = openSync(path, O_PATH | constants.O_NOFOLLOW);
    try {
      attachMount(mount, target);
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(mount);
  }
  undo.defer(() => detachMount(path));
  return path;
}

/** Takes down, at boot, what starts that died left of their sources. What is mounted is never deleted. */
export async function sweepSources({ settings, snapshots }: Ports): Promise<void> {
  const folder = sourcesFolder(settings().execRoot);
  if (!existsSync(folder)) return;
  for (const holder of readdirSync(folder)) {
    const own = join(folder, holder);
    for (const name of readdirSync(own)) {
      const path = join(own, name);
      if (name.startsWith("i")) await snapshots.unmount(path);
      for (const { target } of listMounts(path).toReversed()) await detachMount(target);
      // An empty folder or file of the engine's own, or it stays.
      try {
        rmdirSync(path);
      } catch (error) {
        if (!hasCode(error, "ENOTDIR")) throw error;
        unlinkSync(path);
      }
    }
    rmdirSync(own);
  }
}
