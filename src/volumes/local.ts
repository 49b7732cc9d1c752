import { randomBytes } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import type { Filters } from "../api/filters.ts";
import type { Volume } from "../api/volume.ts";
import { syncFolder } from "../base/atomic-file.ts";
import { GantryError, isKind } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { KeyedLock } from "../base/keyed-lock.ts";
import type { EventBus } from "../events/bus.ts";
import { detachMount, isMountPoint } from "../kernel/mount.ts";
import type { Collection, Store } from "../state/store.ts";
import { contentOf } from "./content.ts";
import { checkDeviceOptions, mountDevice } from "./device.ts";
import { diskTakes, growDisk, mountDisk } from "./disk.ts";
import type { VolumeDriver, VolumeListing, VolumeRequest } from "./driver.ts";
import { Holders } from "./holders.ts";
import { ANONYMOUS_LABEL, checkVolumeName, newVolumeName } from "./name.ts";
import { pruneChoice } from "./prune.ts";
import { newTrash, removeIn, sweepOut, unmountBelow } from "./removal.ts";
import { SnapshotTable } from "./snapshot-table.ts";
import { type FolderSizes, folderSizes } from "./usage.ts";
import { type Place, READER } from "./users.ts";

/** What belongs into a volume's folder. */
const PARTS: ReadonlySet<string> = new Set(["_data", "volume.img", "snapshots"]);

export interface VolumePorts {
  /** Folder of the volumes, `<data root>/volumes`. */
  readonly root: string;
  readonly store: Store;
  readonly events: EventBus;
  /** Ids of the containers that use a volume, running or not. */
  readonly usersOf: (name: string) => readonly string[];
  /** What a container is called, for messages. */
  readonly nameOf?: (id: string) => string | undefined;
}

/** The `local` driver: a folder `<root>/<name>/_data` a volume, with what its options name mounted there in use. */
export class LocalVolumes implements VolumeDriver {
  /** Copies of volumes as they once were. */
  readonly snapshots: SnapshotTable;
  readonly #ports: VolumePorts;
  readonly #records: Collection<Volume>;
  /** Renamings whose folder may not have its new name yet: the new names by the old. */
  readonly #renames: Collection<{ readonly to: string }>;
  readonly #volumes = new Map<string, Volume>();
  readonly #holders = new Holders();
  readonly #locks = new KeyedLock();
  /** Why a volume can't be removed just now, by its name. */
  readonly #busy = new Map<string, string>();
  /** Names of volumes that are being filled, before they are there. */
  readonly #reserved = new Set<string>();
  #isPruning = false;

  constructor(ports: VolumePorts) {
    this.#ports = ports;
    this.#records = ports.store.collection<Volume>("volumes");
    mkdirSync(ports.root, { recursive: true, mode: 0o701 });
    for (const { key, value } of this.#records.list()) this.#volumes.set(key, value);
    this.#renames = ports.store.collection<{ readonly to: string }>("volume-renames");
    for (const { key, value } of this.#renames.list()) this.#finishRename(key, value.to);
    this.snapshots = new SnapshotTable(ports.store, (name) => this.#volumes.has(name));
    this.#sweep();
  }

  owns(name: string): boolean {
    return this.#volumes.has(name);
  }

  get(name: string): Volume | undefined {
    return this.#volumes.get(name);
  }

  /** With the limit of a volume that has one, and the room that it takes of the machine's disk. */
  async inspect(name: string): Promise<Volume | undefined> {
    const volume = this.get(name);
    const content = volume && contentOf(volume);
    if (volume === undefined || content?.kind !== "disk") return volume;
    return { ...volume, Status: { Limit: content.size, Used: diskTakes(this.#folder(name)) } };
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
    if (this.#reserved.has(name))
      throw new GantryError("conflict", `create ${name}: a volume of that name is being made`);
    const folder = this.#folder(name);
    const labels = anonymous ? { ...request.labels, [ANONYMOUS_LABEL]: "" } : (request.labels ?? null);
    const volume = this.#newVolume(name, labels, request.options ?? null);
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
    this.#refuseRemoval(name, options);
    // Without a wait its record goes in the transaction of whoever calls, as a container's with its volumes must.
    if (contentOf(volume).kind !== "folder" && (this.#holders.has(name) || this.#locks.isHeld(name))) {
      await this.#unheld(name);
      // Somebody else waited for the same.
      if (this.#volumes.get(name) !== volume) return this.remove(name, options);
      this.#refuseRemoval(name, options);
    }
    this.#unmountForRemoval(name, volume);
    // Memory last: what the disk has no room to forget is still there.
    this.#ports.store.transaction(() => {
      this.#records.delete(name);
      this.snapshots.forget(name);
    });
    this.#volumes.delete(name);
    this.snapshots.forgotten(name);
    this.#holders.forget(name);
    await this.#discard(name);
    this.#publish("destroy", name);
  }

  #refuseRemoval(name: string, options: { readonly force: boolean }): void {
    const users = this.#ports.usersOf(name);
    if (users.length > 0) throw this.#inUse(name, users);
    const busy = this.#busy.get(name);
    if (busy !== undefined) throw new GantryError("conflict", `remove ${name}: volume is in use - [] (${busy})`);
    const kept = options.force ? [] : this.snapshots.of(name).map(({ Name }) => Name);
    if (kept.length === 0) return;
    const which = kept.length === 1 ? `the snapshot ${kept[0]}` : `the snapshots ${kept.join(", ")}`;
    throw new GantryError("conflict", `remove ${name}: volume has ${which}: remove what is not needed, or use --force`);
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
    return (await this.sizes(name))?.bytes;
  }

  /** What a volume's files hold, and the room that they take; undefined for one whose content is elsewhere. */
  async sizes(name: string): Promise<FolderSizes | undefined> {
    const volume = this.#volumes.get(name);
    const content = volume && contentOf(volume);
    if (volume === undefined || content?.kind === "device") return undefined;
    if (content?.kind !== "disk") return folderSizes(volume.Mountpoint);
    // One that was never used has no disk yet, and needs none to be counted.
    if (diskTakes(this.#folder(name)) === 0) return { bytes: 0, taken: 0 };
    const holder = `${READER}sizes ${randomBytes(8).toString("hex")}`;
    const folder = await this.mount(name, holder);
    try {
      const { bytes } = await folderSizes(folder);
      return { bytes, taken: diskTakes(this.#folder(name)) };
    } finally {
      await this.release(holder);
    }
  }

  /** True for volumes made for a container without a name, which `rm -v` takes with it. */
  isAnonymous(name: string): boolean {
    return this.#volumes.get(name)?.Labels?.[ANONYMOUS_LABEL] !== undefined;
  }

  async mount(name: string, holder: string): Promise<string> {
    return this.#locks.run(name, async () => {
      const volume = this.#volumes.get(name);
      // Removed or renamed while it was waited for.
      if (volume === undefined) throw new GantryError("not-found", `get ${name}: no such volume`);
      // Somebody may have unmounted a disk that is held, and its content isn't the empty folder below. Of others not
      // even that is asked: their server may hold whoever asks.
      if (!this.#holders.has(name) || contentOf(volume).kind === "disk") await this.#attach(volume);
      this.#holders.add(name, holder);
      return volume.Mountpoint;
    });
  }

  async release(holder: string): Promise<void> {
    for (const name of this.#holders.heldBy(holder)) {
      await this.#locks.run(name, async () => {
        if (!this.#holders.remove(name, holder)) return;
        const volume = this.#volumes.get(name);
        if (volume !== undefined) await this.#detach(volume);
        this.#holders.released();
      });
    }
  }

  async adopt(holders: ReadonlyMap<string, readonly string[]>): Promise<void> {
    for (const [holder, names] of holders) {
      for (const name of names) {
        if (this.#volumes.has(name)) this.#holders.add(name, holder);
      }
    }
    for (const volume of this.list()) {
      if (!this.#holders.has(volume.Name)) await this.#detach(volume);
    }
  }

  /** The folder that all of a volume lies in. */
  #folder(name: string): string {
    return join(this.#ports.root, name);
  }

  #newVolume(name: string, labels: Volume["Labels"], options: Volume["Options"]): Volume {
    return {
      CreatedAt: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      Driver: "local",
      Labels: labels,
      Mountpoint: join(this.#folder(name), "_data"),
      Name: name,
      Options: options,
      Scope: "local",
    };
  }

  async #attach(volume: Volume): Promise<void> {
    const content = contentOf(volume);
    const { Name, Mountpoint } = volume;
    // Containers reach nothing but what is in it; the machine's own programs may have put something in its place.
    if (lstatSync(Mountpoint, { throwIfNoEntry: false })?.isDirectory() !== true) {
      throw new GantryError("internal", `cannot use volume ${Name}: ${Mountpoint} is not a folder`);
    }
    if (content.kind === "folder" || isMountPoint(Mountpoint)) return;
    if (content.kind === "device") await mountDevice(content.device, Mountpoint);
    else await mountDisk(this.#folder(Name), Mountpoint, content.size);
  }

  async #detach(volume: Volume): Promise<void> {
    if (contentOf(volume).kind !== "folder" && isMountPoint(volume.Mountpoint)) await detachMount(volume.Mountpoint);
  }

  /**
   * Runs `act` while nobody can begin to use the volume, nor remove it; `doing` says in messages why. Those who hold it
   * already go on. With `mounted` its content is at its mount point meanwhile.
   */
  async exclusively<T>(
    name: string,
    doing: string,
    options: { readonly mounted: boolean },
    act: (volume: Volume) => Promise<T>,
  ): Promise<T> {
    return this.#locks.run(name, async () => {
      const volume = this.#volumes.get(name);
      if (volume === undefined) throw new GantryError("not-found", `get ${name}: no such volume`);
      this.#busy.set(name, doing);
      const isHeld = this.#holders.has(name);
      try {
        if (options.mounted && !isHeld) await this.#attach(volume);
        return await act(volume);
      } finally {
        this.#busy.delete(name);
        if (options.mounted && !isHeld) await this.#detach(volume);
      }
    });
  }

  holdersOf(name: string): readonly string[] {
    return this.#holders.of(name);
  }

  /** Waits a while until those hold the volume no more who `isGoing` says will soon not. */
  async settled(name: string, isGoing: (holder: string) => boolean): Promise<void> {
    await this.#holders.until(() => !this.#holders.of(name).some(isGoing));
  }

  /** Keeps a name for a volume that is being filled, until it is disposed of. `conflict` if there is one. */
  reserve(name: string): Disposable {
    checkVolumeName(name);
    if (this.#volumes.has(name) || this.#reserved.has(name)) {
      throw new GantryError("conflict", `create ${name}: there is a volume of that name already`);
    }
    this.#reserved.add(name);
    return { [Symbol.dispose]: () => void this.#reserved.delete(name) };
  }

  /** Where a volume that is being filled lies; removed at boot. */
  draftFolder(name?: string): string {
    return join(name === undefined ? this.#ports.root : this.#folder(name), `.new-${randomBytes(8).toString("hex")}`);
  }

  /** Makes a filled folder, which is on the disk, a volume. Its name was reserved. */
  publishDraft(draft: string, request: VolumeRequest & { readonly name: string }): Volume {
    const { name } = request;
    const volume = this.#newVolume(name, request.labels ?? null, request.options ?? null);
    renameSync(draft, this.#folder(name));
    syncFolder(this.#ports.root);
    failpoint("volumes.draft.moved");
    this.#records.put(name, volume);
    this.#volumes.set(name, volume);
    this.#publish("create", name);
    return volume;
  }

  /**
   * Gives a volume another name. `inTransaction` has others take the new one, in the same change of the records; what
   * it throws leaves all as it was. To be called within `exclusively`, unmounted.
   */
  rename(volume: Volume, to: string, inTransaction: (from: Place, to: Place) => () => void): Volume {
    const from = volume.Name;
    const { [ANONYMOUS_LABEL]: _, ...labels } = volume.Labels ?? {};
    // Who gives it a name wants to keep it.
    const Labels =
      volume.Labels === null || (this.isAnonymous(from) && Object.keys(labels).length === 0) ? null : labels;
    const renamed = { ...volume, Name: to, Mountpoint: join(this.#folder(to), "_data"), Labels };
    const places = [volume, renamed].map(({ Name, Mountpoint }) => ({ name: Name, mountpoint: Mountpoint }));
    let undo = () => {};
    try {
      this.#ports.store.transaction(() => {
        this.#records.delete(from);
        this.#records.put(to, renamed);
        this.snapshots.rename(from, to);
        this.#renames.put(from, { to });
        undo = inTransaction(places[0]!, places[1]!);
      });
    } catch (error) {
      undo();
      throw error;
    }
    failpoint("volumes.rename.recorded");
    this.#volumes.delete(from);
    this.#volumes.set(to, renamed);
    this.snapshots.renamed(from, to);
    this.#finishRename(from, to);
    this.#publish("rename", to, { oldName: from });
    return renamed;
  }

  /** Makes a mounted disk larger. To be called within `exclusively`. */
  async grow(volume: Volume, size: number): Promise<void> {
    await growDisk(this.#folder(volume.Name), volume.Mountpoint, size);
  }

  /** Notes another limit, which the disk has already. */
  resized(volume: Volume, text: string, size: number): Volume {
    failpoint("volumes.resize.grown");
    const resized = { ...volume, Options: { ...volume.Options, size: text } };
    this.#records.put(volume.Name, resized);
    this.#volumes.set(volume.Name, resized);
    this.#publish("resize", volume.Name, { size: String(size) });
    return resized;
  }

  /** Tells of something that was done to a volume. */
  tell(action: string, name: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.#publish(action, name, attributes);
  }

  #finishRename(from: string, to: string): void {
    const isPending = this.#volumes.has(to) && !this.#volumes.has(from);
    if (isPending && existsSync(this.#folder(from)) && !existsSync(this.#folder(to))) {
      renameSync(this.#folder(from), this.#folder(to));
      syncFolder(this.#ports.root);
    }
    failpoint("volumes.rename.moved");
    try {
      this.#renames.delete(from);
    } catch {
      // It is done all the same, and noted at the next boot if the disk has room for that then.
    }
  }

  /** What belongs to nobody any more goes out of its place at once, then bit by bit: it may be large and deep. */
  async #discard(name: string): Promise<void> {
    const folder = this.#folder(name);
    if (!existsSync(folder)) return;
    const trash = newTrash();
    renameSync(folder, join(this.#ports.root, trash));
    await removeIn(this.#ports.root, trash);
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
    await this.#holders.until(
      () => {
        const users = this.#ports.usersOf(name);
        if (users.length > 0) throw this.#inUse(name, users);
        // Who is about to hold it counts, too: something is being mounted there.
        return !this.#holders.has(name) && !this.#locks.isHeld(name);
      },
      () => (this.#locks.isHeld(name) ? this.#locks.run(name, () => {}) : undefined),
    );
  }

  /** What is mounted there is somebody else's data: it must be gone before the folder's files are. */
  #unmountForRemoval(name: string, volume: Volume): void {
    if (contentOf(volume).kind === "folder") return;
    if (this.#holders.has(name) || this.#locks.isHeld(name)) throw this.#inUse(name, []);
    unmountBelow(volume.Mountpoint);
  }

  #publish(action: string, name: string, attributes: Readonly<Record<string, string>> = {}): void {
    this.#ports.events.publish({ type: "volume", action, id: name, attributes: { driver: "local", ...attributes } });
  }

  #inUse(name: string, users: readonly string[]): GantryError {
    const names = users.flatMap((id) => this.#ports.nameOf?.(id) ?? []);
    const called = names.length === 0 ? "" : ` (${names.join(", ")})`;
    return new GantryError("conflict", `remove ${name}: volume is in use - [${users.join(", ")}]${called}`);
  }

  /** What has no record was being made or removed when the engine died: nobody was told of it. */
  #sweep(): void {
    const { root } = this.#ports;
    for (const entry of readdirSync(root)) {
      if (!this.#volumes.has(entry)) sweepOut(root, entry);
    }
    for (const name of this.#volumes.keys()) {
      const folder = this.#folder(name);
      for (const part of existsSync(folder) ? readdirSync(folder) : []) if (!PARTS.has(part)) sweepOut(folder, part);
      this.snapshots.sweep(name, join(folder, "snapshots"), sweepOut);
    }
  }
}

/** What can't be removed goes out of the way, for the next boot to try again. */
