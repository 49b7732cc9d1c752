import { randomBytes } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Filters } from "../api/filters.ts";
import type { Volume } from "../api/volume.ts";
import { syncFolder } from "../base/atomic-file.ts";
import { GantryError, isKind } from "../base/errors.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import type { EventBus } from "../events/bus.ts";
import { detachMount, isMountPoint, listMounts, MNT, unmount } from "../kernel/mount.ts";
import type { Collection, Store } from "../state/store.ts";
import { checkDeviceOptions, deviceOf, mountDevice } from "./device.ts";
import type { VolumeDriver, VolumeListing } from "./driver.ts";
import { checkVolumeName, newVolumeName } from "./name.ts";
import { pruneChoice } from "./prune.ts";
import { folderUsage } from "./usage.ts";
import type { VolumeRequest } from "./volume.ts";

/** How long a removal waits for a volume's last holder to be cleaned up. */
const RELEASE_MS = 5_000;
const ANONYMOUS_LABEL = "com.docker.volume.anonymous";

export interface VolumePorts {
  /** Folder of the volumes, `<data root>/volumes`. */
  readonly root: string;
  readonly store: Store;
  readonly events: EventBus;
  /** Ids of the containers that use a volume, running or not. */
  readonly usersOf: (name: string) => readonly string[];
}

/** The `local` driver: a folder `<root>/<name>/_data` a volume, with what its options name mounted there in use. */
export class LocalVolumes implements VolumeDriver {
  readonly #ports: VolumePorts;
  readonly #records: Collection<Volume>;
  readonly #volumes = new Map<string, Volume>();
  /** Who holds a volume of a device mounted, by its name. */
  readonly #holders = new Map<string, Set<string>>();
  readonly #locks = new KeyedLock();
  /** Told when nobody holds a volume any more. */
  readonly #released = new EventEmitter();
  #isPruning = false;

  constructor(ports: VolumePorts) {
    this.#ports = ports;
    this.#released.setMaxListeners(0);
    this.#records = ports.store.collection<Volume>("volumes");
    mkdirSync(ports.root, { recursive: true, mode: 0o701 });
    for (const { key, value } of this.#records.list()) this.#volumes.set(key, value);
    this.#sweep();
  }

  owns(name: string): boolean {
    return this.#volumes.has(name);
  }

  get(name: string): Volume | undefined {
    return this.#volumes.get(name);
  }

  async inspect(name: string): Promise<Volume | undefined> {
    return this.get(name);
  }

  async all(): Promise<VolumeListing> {
    return { volumes: this.list(), warnings: [] };
  }

  async make(request: VolumeRequest): Promise<Volume> {
    return this.create(request);
  }

  list(): Volume[] {
    return [...this.#volumes.values()].sort((a, b) => (a.Name < b.Name ? -1 : 1));
  }

  /** A volume of that name that is there already is the answer, whatever else is asked for. */
  create(request: VolumeRequest): Volume {
    const anonymous = request.name === undefined || request.name === "";
    const name = anonymous ? newVolumeName() : (request.name as string);
    const driver = request.driver === undefined || request.driver === "" ? "local" : request.driver;
    if (driver !== "local") {
      throw new GantryError(
        "not-found",
        `create ${name}: error looking up volume plugin ${driver}: plugin "${driver}" not found`,
      );
    }
    const existing = this.#volumes.get(name);
    if (existing !== undefined) return existing;
    checkVolumeName(name);
    if (request.options !== undefined) checkDeviceOptions(name, request.options);
    const folder = join(this.#ports.root, name);
    const volume: Volume = {
      CreatedAt: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      Driver: "local",
      Labels: anonymous ? { ...request.labels, [ANONYMOUS_LABEL]: "" } : (request.labels ?? null),
      Mountpoint: join(folder, "_data"),
      Name: name,
      Options: request.options ?? null,
      Scope: "local",
    };
    mkdirSync(folder, { mode: 0o701, recursive: true });
    mkdirSync(volume.Mountpoint, { mode: 0o755, recursive: true });
    syncFolder(folder);
    syncFolder(this.#ports.root);
    this.#records.put(name, volume);
    this.#volumes.set(name, volume);
    this.#publish("create", name);
    return volume;
  }

  async remove(name: string, options: { force: boolean }): Promise<void> {
    const volume = this.#volumes.get(name);
    if (volume === undefined) {
      if (options.force) return;
      throw new GantryError("not-found", `get ${name}: no such volume`);
    }
    const users = this.#ports.usersOf(name);
    if (users.length > 0) {
      throw inUse(name, users);
    }
    // Without a wait its record goes in the transaction of whoever calls, as a container's with its volumes must.
    if (this.#holders.has(name)) {
      await this.#unheld(name);
      // Somebody else waited for the same.
      if (this.#volumes.get(name) !== volume) return this.remove(name, options);
    }
    this.#unmountForRemoval(name, volume);
    this.#volumes.delete(name);
    this.#records.delete(name);
    const folder = join(this.#ports.root, name);
    const trash = join(this.#ports.root, `.removed-${randomBytes(8).toString("hex")}`);
    if (existsSync(folder)) renameSync(folder, trash);
    await rm(trash, { recursive: true, force: true });
    this.#publish("destroy", name);
  }

  /** Removes volumes that no container refers to: those without a name, or with the filter `all` any. */
  async prune(filters: Filters): Promise<{ readonly deleted: string[]; readonly spaceReclaimed: number }> {
    const isChosen = pruneChoice(filters, (name) => this.isAnonymous(name));
    if (this.#isPruning) throw new GantryError("conflict", "a prune operation is already running");
    this.#isPruning = true;
    const deleted: string[] = [];
    let spaceReclaimed = 0;
    try {
      for (const volume of this.list().filter(isChosen)) {
        if (this.#ports.usersOf(volume.Name).length > 0) continue;
        const size = (await this.usage(volume.Name)) ?? 0;
        if (!(await this.#removeUnlessUsed(volume.Name))) continue;
        deleted.push(volume.Name);
        spaceReclaimed += size;
      }
    } finally {
      this.#isPruning = false;
    }
    const attributes = { reclaimed: String(spaceReclaimed) };
    this.#ports.events.publish({ type: "volume", action: "prune", id: "", attributes });
    return { deleted, spaceReclaimed };
  }

  async usage(name: string): Promise<number | undefined> {
    const volume = this.#volumes.get(name);
    if (volume === undefined || deviceOf(volume.Options) !== undefined) return undefined;
    return folderUsage(volume.Mountpoint);
  }

  /** True for volumes made for a container without a name, which `rm -v` takes with it. */
  isAnonymous(name: string): boolean {
    return this.#volumes.get(name)?.Labels?.[ANONYMOUS_LABEL] !== undefined;
  }

  async mount(name: string, holder: string): Promise<string> {
    const volume = this.#volumes.get(name);
    if (volume === undefined) throw new GantryError("not-found", `get ${name}: no such volume`);
    const device = deviceOf(volume.Options);
    if (device === undefined) return volume.Mountpoint;
    await this.#locks.run(name, async () => {
      const holders = this.#holders.get(name) ?? new Set();
      if (holders.size === 0 && !isMountPoint(volume.Mountpoint)) await mountDevice(device, volume.Mountpoint);
      this.#holders.set(name, holders.add(holder));
    });
    return volume.Mountpoint;
  }

  async release(holder: string): Promise<void> {
    const held = [...this.#holders].filter(([, holders]) => holders.has(holder)).map(([name]) => name);
    for (const name of held) {
      await this.#locks.run(name, async () => {
        const holders = this.#holders.get(name);
        if (holders?.delete(holder) !== true || holders.size > 0) return;
        this.#holders.delete(name);
        const volume = this.#volumes.get(name);
        if (volume !== undefined) await detachMount(volume.Mountpoint);
        this.#released.emit("released", name);
      });
    }
  }

  async adopt(holders: ReadonlyMap<string, readonly string[]>): Promise<void> {
    const devices = this.list().filter(({ Options }) => deviceOf(Options) !== undefined);
    for (const { Name, Mountpoint } of devices) {
      const live = [...holders].filter(([, names]) => names.includes(Name)).map(([holder]) => holder);
      if (live.length > 0) this.#holders.set(Name, new Set(live));
      else if (isMountPoint(Mountpoint)) await detachMount(Mountpoint);
    }
  }

  async #removeUnlessUsed(name: string): Promise<boolean> {
    try {
      await this.remove(name, { force: false });
      return true;
    } catch (error) {
      // Taken into use, or removed by another, a moment ago.
      if (isKind(error, "conflict") || isKind(error, "not-found")) return false;
      throw error;
    }
  }

  /**
   * A container's removal is answered before it is cleaned up: whoever removes its volume next need not know. Throws
   * `conflict` if the volume stays held, or is used by a container meanwhile.
   */
  async #unheld(name: string): Promise<void> {
    const signal = AbortSignal.timeout(RELEASE_MS);
    while (this.#holders.has(name) && !signal.aborted) {
      await once(this.#released, "released", { signal }).catch(() => {});
      const users = this.#ports.usersOf(name);
      if (users.length > 0) {
        throw inUse(name, users);
      }
    }
  }

  /** What is mounted there is somebody else's data: it must be gone before the folder's files are. */
  #unmountForRemoval(name: string, { Mountpoint, Options }: Volume): void {
    if (deviceOf(Options) === undefined) return;
    if ((this.#holders.get(name)?.size ?? 0) > 0) {
      throw inUse(name, []);
    }
    unmountBelow(Mountpoint);
  }

  #publish(action: string, name: string): void {
    this.#ports.events.publish({ type: "volume", action, id: name, attributes: { driver: "local" } });
  }

  /** Folders without a record were being made or removed when the engine died: nobody was told of them. */
  #sweep(): void {
    for (const entry of readdirSync(this.#ports.root)) {
      if (this.#volumes.has(entry)) continue;
      unmountBelow(join(this.#ports.root, entry));
      rmSync(join(this.#ports.root, entry), { recursive: true, force: true });
    }
  }
}

/** Unmounts all at or below a path; throws if something stays. */
function unmountBelow(path: string): void {
  for (const { target } of listMounts(path).toReversed()) unmount(target, MNT.DETACH | MNT.NOFOLLOW);
}

function inUse(name: string, users: readonly string[]): GantryError {
  return new GantryError("conflict", `remove ${name}: volume is in use - [${users.join(", ")}]`);
}
