import { closeSync, constants, existsSync, mkdirSync, openSync, rmdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { hasCode } from "../base/errors.ts";
import { MNT, MS, makePrivate, mount, setNoDevices, setReadonly, unmount } from "../kernel/mount.ts";
import { attachMount, copyMount } from "../kernel/mount-tree.ts";
import { evaluateInRoot, mkdirInRoot, O_PATH, openat, openInRoot } from "../kernel/path.ts";
import { etcFilesIn } from "./files.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { openSources } from "./mount-sources.ts";
import type { ContainerPorts } from "./ports.ts";
import type { ContainerRecord, ResolvedMount } from "./record.ts";
import type { Entry } from "./table.ts";
import { containerFolder } from "./view.ts";

/** A container's files as its processes see them, but for what only they have mounted. */
export interface RootView extends Disposable {
  /** The root: a descriptor whose mounts are in no mount tree. Look names up with `openInRoot`. */
  readonly fd: number;
  /** Where the mounts of the container are, links followed. */
  readonly mountPoints: readonly string[];
}

interface Place {
  readonly source: string;
  readonly destination: string;
  readonly readonly: boolean;
  readonly recursive: boolean;
  /** Read-only for the first mount alone. */
  readonly shallow: boolean;
}

/**
 * Opens containers' files, whether their processes run or not. Root filesystem, volumes, binds and the engine's own
 * files in /etc are put together as mounts that nobody else can see and that end with their descriptor; a read-only
 * root or mount is read-only here as well. Names are looked up in there by the kernel, whatever a running container
 * does to its links meanwhile.
 */
export class RootViews {
  readonly #ports: ContainerPorts;
  readonly #lifecycle: Lifecycle;
  /** Views that are open, by container: as long as there is one, the root filesystem stays mounted for them. */
  readonly #open = new Map<string, number>();
  #count = 0;

  constructor(ports: ContainerPorts, lifecycle: Lifecycle) {
    this.#ports = ports;
    this.#lifecycle = lifecycle;
  }

  /** With `volumes` false: the root filesystem alone. The caller disposes of it. */
  async open(entry: Entry, options: { readonly volumes: boolean }): Promise<RootView> {
    const { id } = entry.record;
    const holder = options.volumes ? `view ${++this.#count} of ${id}` : undefined;
    await this.#lifecycle.undisturbed(entry, () => this.#hold(id));
    let view: Pick<RootView, "fd" | "mountPoints">;
    try {
      // Only until they are mounted in the view.
      await using sources =
        holder === undefined ? undefined : await openSources(this.#ports, entry.record, holder, { placed: false });
      view = this.#build(entry.record, sources ? this.#placesOf(entry.record, sources.mounts) : []);
    } catch (error) {
      this.#release(id, holder);
      throw error;
    }
    let isOpen = true;
    return {
      ...view,
      [Symbol.dispose]: () => {
        if (!isOpen) return;
        isOpen = false;
        closeSync(view.fd);
        this.#release(id, holder);
      },
    };
  }

  async #hold(id: string): Promise<void> {
    const count = this.#open.get(id) ?? 0;
    if (count === 0) {
      const folder = viewFolder(this.#ports.settings().execRoot, id);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      await this.#ports.snapshots.mount(id, folder);
    }
    this.#open.set(id, count + 1);
  }

  #release(id: string, holder: string | undefined): void {
    const left = (this.#open.get(id) ?? 1) - 1;
    this.#open.set(id, left);
    if (left > 0 && holder === undefined) return;
    this.#lifecycle.sweepLater(id, async () => {
      if (holder !== undefined) await this.#ports.volumes.release(holder);
      // Another may have been opened before its turn came.
      if (this.#open.get(id) !== 0) return;
      this.#open.delete(id);
      await removeView(this.#ports, id);
    });
  }

  #placesOf(record: ContainerRecord, mounts: readonly ResolvedMount[]): Place[] {
    const places: Place[] = [];
    for (const mount of mounts) {
      // Only the processes have a tmpfs; without them there is none.
      if (mount.type === "tmpfs") continue;
      places.push({
        ...mount,
        shallow: mount.shallowReadonly ?? mount.from?.BindOptions?.ReadOnlyNonRecursive === true,
      });
    }
    const files = etcFilesIn(containerFolder(this.#ports.settings().dataRoot, record.id));
    const readonly = record.hostConfig.ReadonlyRootfs;
    for (const [source, destination] of [
      [files.hostname, "/etc/hostname"],
      [files.hosts, "/etc/hosts"],
      [files.resolvConf, "/etc/resolv.conf"],
    ] as const) {
      if (places.some((place) => place.destination === destination) || !existsSync(source)) continue;
      places.push({ source, destination, readonly, recursive: false, shallow: true });
    }
    return places;
  }

  /** Synchronous, so that what is mounted on the way is gone before anything else happens. */
  #build(record: ContainerRecord, places: readonly Place[]): Pick<RootView, "fd" | "mountPoints"> {
    const folder = viewFolder(this.#ports.settings().execRoot, record.id);
    const site = `${folder}.new`;
    mkdirSync(site, { recursive: true, mode: 0o700 });
    const root = copyMount(folder, { recursive: false });
    try {
      const at = openSync(site, O_PATH | constants.O_DIRECTORY);
      try {
        attachMount(root, at);
      } finally {
        closeSync(at);
      }
      try {
        // Before anything is mounted in it: its peers, which a running container's root may be one of, must not get it.
        makePrivate(site);
        const mountPoints = places.map((place) => {
          mountPlace(root, place);
          return evaluateInRoot(root, place.destination);
        });
        if (record.hostConfig.ReadonlyRootfs) setReadonly(site);
        // Opening a device does things by itself, and a container can put one in the place of any file at any time.
        setNoDevices(site, true);
        return { fd: copyMount(root, { recursive: true }), mountPoints };
      } finally {
        unmount(site, MNT.DETACH | MNT.NOFOLLOW);
      }
    } finally {
      closeSync(root);
      rmdirSync(site);
    }
  }
}

function mountPlace(root: number, place: Place): void {
  const source = copyMount(place.source, { recursive: place.recursive });
  try {
    const target = openTarget(root, place);
    try {
      attachMount(source, target);
    } finally {
      closeSync(target);
    }
    const path = `/proc/self/fd/${source}`;
    mount("", path, "", MS.PRIVATE | MS.REC);
    if (place.readonly) setReadonly(path, !place.shallow);
  } finally {
    closeSync(source);
  }
}

/** Where a mount goes: made if it isn't there, as at a start. */
function openTarget(root: number, { source, destination }: Place): number {
  try {
    return openInRoot(root, destination, O_PATH);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
  if (statSync(source).isDirectory()) return mkdirInRoot(root, destination);
  const slash = destination.lastIndexOf("/");
  const folder = mkdirInRoot(root, destination.slice(0, slash));
  try {
    return openat(
      folder,
      destination.slice(slash + 1),
      constants.O_CREAT | constants.O_RDONLY | constants.O_NOFOLLOW,
      0o755,
    );
  } finally {
    closeSync(folder);
  }
}

function viewFolder(execRoot: string, id: string): string {
  return join(viewsFolder(execRoot), id);
}

/** Where root filesystems are mounted for views: a folder each, named by the container. */
export function viewsFolder(execRoot: string): string {
  return join(execRoot, "views");
}

/** Takes down what a view left, after the last one and at boot. */
export async function removeView(ports: Pick<ContainerPorts, "settings" | "snapshots">, name: string): Promise<void> {
  const folder = viewFolder(ports.settings().execRoot, name);
  await ports.snapshots.unmount(folder);
  rmdirSync(folder);
}
