import { closeSync, existsSync, lstatSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Readable } from "node:stream";
import type { Volume, VolumeSnapshot, VolumeUsage } from "../api/volume.ts";
import { syncFolder } from "../base/atomic-file.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import { SingleFlight } from "../base/single-flight.ts";
import { bytesSize, ramInBytes } from "../base/units.ts";
import { fstatat } from "../kernel/path.ts";
import { openFolder, withFolder } from "../kernel/with-folder.ts";
import { decompress } from "../oci/compression.ts";
import { type CopiedTree, copyTree } from "../snapshots/copy-tree.ts";
import { packTree } from "../snapshots/pack-tree.ts";
import { extractArchive } from "../snapshots/unpack-tree.ts";
import { contentOf, sizeOf } from "./content.ts";
import { LARGEST_DISK } from "./disk.ts";
import { VolumeDraft } from "./draft.ts";
import type { LocalVolumes } from "./local.ts";
import { checkVolumeName } from "./name.ts";
import { quietly, refuseHeld, refuseUsed, type Writers } from "./quiet.ts";
import { removeIn } from "./removal.ts";
import { READER, type VolumeUsers } from "./users.ts";
import type { VolumeStore } from "./volume.ts";

export interface CarePorts {
  readonly local: LocalVolumes;
  /** The volumes of all drivers. */
  readonly volumes: Pick<VolumeStore, "get" | "list" | "mount" | "release" | "isAnonymous">;
  readonly users: VolumeUsers;
}

export interface CareOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: CopiedTree) => void) | undefined;
}

/**
 * What volumes can be beyond Docker's: renamed, cloned, kept as snapshots, taken out and in as archives, made larger,
 * measured. Whatever dies on the way leaves the volume as it was before, or as it was to be.
 */
export class VolumeCare {
  readonly #ports: CarePorts;
  readonly #usage = new SingleFlight(() => this.#measure());
  #reads = 0;

  constructor(ports: CarePorts) {
    this.#ports = ports;
  }

  /** Containers that don't run have the volume under its new name from then on. */
  async rename(name: string, to: string): Promise<Volume> {
    const { local, users } = this.#ports;
    this.#ownVolume(name, "rename");
    this.#refuseTaken(to);
    checkVolumeName(to);
    await refuseUsed(this.#ports, name, "rename");
    return local.exclusively(name, "it is being renamed", { mounted: false }, async (volume) => {
      refuseHeld(this.#ports, name, "rename");
      using _ = local.reserve(to);
      return local.rename(volume, to, (from, place) => users.renamed(from, place));
    });
  }

  /** Makes a volume with the content of another. */
  async clone(
    name: string,
    to: string,
    how: { readonly writers: Writers; readonly labels?: Readonly<Record<string, string>> },
    options: CareOptions = {},
  ): Promise<{ readonly volume: Volume; readonly copied: CopiedTree }> {
    const { local } = this.#ports;
    const source = this.#volume(name);
    this.#refuseTaken(to);
    using _ = local.reserve(to);
    const size = sizeOf(source.Options);
    await using draft = await VolumeDraft.begin(local.draftFolder(), size);
    const copied = await this.#reading(name, how.writers, "clone", (fd) => copyTree(fd, draft.fd, options));
    failpoint("volumes.clone.copied");
    await draft.seal();
    const volume = local.publishDraft(draft.folder, {
      name: to,
      ...(how.labels !== undefined && { labels: how.labels }),
      ...(size !== undefined && { options: { size: source.Options!.size! } }),
    });
    return { volume, copied };
  }

  /** Keeps the volume as it is now, beside it. */
  async snapshot(
    name: string,
    wanted: string | undefined,
    writers: Writers,
    options: CareOptions = {},
  ): Promise<VolumeSnapshot> {
    const { local } = this.#ports;
    this.#ownContent(name, "snapshot");
    const CreatedAt = new Date().toISOString();
    const snap = wanted ?? CreatedAt.replace(/[:.]/g, "-");
    checkVolumeName(snap);
    const refuseTwice = () => {
      if (!local.snapshots.has(name, snap)) return;
      throw new GantryError("conflict", `cannot snapshot volume ${name}: there is a snapshot ${snap} of it already`);
    };
    refuseTwice();
    return quietly(this.#ports, name, writers, "snapshot", async () => {
      refuseTwice();
      const { Mountpoint } = this.#ownContent(name, "snapshot");
      const shelf = this.#shelf(name);
      mkdirSync(shelf, { recursive: true, mode: 0o700 });
      await using draft = await VolumeDraft.begin(join(shelf, basename(local.draftFolder())), undefined);
      const copied = await withFolder(Mountpoint, (fd) => copyTree(fd, draft.fd, options));
      await draft.seal();
      failpoint("volumes.snapshot.copied");
      renameSync(draft.folder, join(shelf, snap));
      syncFolder(shelf);
      syncFolder(dirname(shelf));
      failpoint("volumes.snapshot.moved");
      const snapshot = { Name: snap, Volume: name, CreatedAt, Size: copied.bytes, Shared: copied.shared };
      local.snapshots.add(snapshot);
      local.tell("snapshot", name, { snapshot: snap });
      return snapshot;
    });
  }

  snapshots(name: string): VolumeSnapshot[] {
    this.#ownVolume(name, "list the snapshots of");
    return this.#ports.local.snapshots.of(name);
  }

  async removeSnapshot(name: string, snap: string): Promise<void> {
    const { local } = this.#ports;
    this.#ownVolume(name, "remove a snapshot of");
    const trash = local.draftFolder();
    await local.exclusively(name, "a snapshot of it is being removed", { mounted: false }, async () => {
      local.snapshots.delete(local.snapshots.get(name, snap));
      failpoint("volumes.snapshot.forgotten");
      const kept = join(this.#shelf(name), snap);
      if (existsSync(kept)) renameSync(kept, trash);
      local.tell("snapshot-destroy", name, { snapshot: snap });
    });
    await removeIn(dirname(trash), basename(trash));
  }

  /** Gives a volume that nobody uses the content that it had when the snapshot was made. */
  async restore(name: string, snap: string, options: CareOptions = {}): Promise<CopiedTree> {
    const { local } = this.#ports;
    this.#ownContent(name, "restore");
    local.snapshots.get(name, snap);
    await refuseUsed(this.#ports, name, "restore");
    return local.exclusively(name, "it is being restored", { mounted: false }, async (volume) => {
      refuseHeld(this.#ports, name, "restore");
      local.snapshots.get(name, snap);
      await using draft = await VolumeDraft.begin(local.draftFolder(name), sizeOf(volume.Options));
      const kept = join(this.#shelf(name), snap, "_data");
      const copied = await withFolder(kept, (fd) => copyTree(fd, draft.fd, options));
      await draft.seal();
      draft.replace(dirname(volume.Mountpoint));
      local.tell("restore", name, { snapshot: snap });
      return copied;
    });
  }

  /** The content as an uncompressed archive. What it holds is let go of when the stream ends, however that is. */
  async export(name: string, writers: Writers, options: CareOptions = {}): Promise<AsyncIterableIterator<Uint8Array>> {
    if (writers !== "pause") {
      // Nobody is kept from starting while a client reads, which may take as long as it likes.
      const holder = `${READER}export ${++this.#reads}`;
      if (writers === "refuse") await this.#reading(name, writers, "export", async () => {});
      const folder = await this.#ports.volumes.mount(this.#volume(name).Name, holder);
      return pack(folder, () => this.#ports.volumes.release(holder));
    }
    // They stand still for a copy, not for as long as a client reads.
    const draft = await VolumeDraft.begin(this.#ports.local.draftFolder(), undefined);
    try {
      await this.#reading(name, writers, "export", (fd) => copyTree(fd, draft.fd, options));
      return pack(draft.content, () => draft[Symbol.asyncDispose]());
    } catch (error) {
      await draft[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Fills a volume from an archive, compressed or not: a new one, an empty one, or with `replace` any that nobody uses.
   * All of the archive becomes the content, or nothing changes.
   */
  async import(
    name: string,
    archive: Readable,
    how: { readonly replace: boolean; readonly labels?: Readonly<Record<string, string>> },
    { signal = new AbortController().signal }: CareOptions = {},
  ): Promise<Volume> {
    const { local, volumes } = this.#ports;
    const known = volumes.get(name);
    if (known === undefined) {
      using _ = local.reserve(name);
      await using draft = await VolumeDraft.begin(local.draftFolder(), undefined);
      await unpack(draft.fd, archive, signal);
      await draft.seal();
      return local.publishDraft(draft.folder, { name, ...(how.labels !== undefined && { labels: how.labels }) });
    }
    const volume = this.#ownContent(name, "import into");
    const refuse = async () => {
      await refuseUsed(this.#ports, name, "import into");
      if (how.replace || (await this.#isEmpty(name))) return;
      throw new GantryError(
        "conflict",
        `cannot import into volume ${name}: it is not empty: say --replace to have its content replaced`,
      );
    };
    await refuse();
    // Not in the volume's own folder: it may be renamed or removed while the archive comes.
    await using draft = await VolumeDraft.begin(local.draftFolder(), sizeOf(volume.Options));
    await unpack(draft.fd, archive, signal);
    await draft.seal();
    await refuse();
    // Awaited: else the draft would be disposed of while it is put into place.
    return await local.exclusively(name, "it is being imported into", { mounted: false }, async (now) => {
      refuseHeld(this.#ports, name, "import into");
      if (now !== volume) {
        throw new GantryError("conflict", `cannot import into volume ${name}: it was changed meanwhile: try again`);
      }
      draft.replace(dirname(now.Mountpoint));
      local.tell("import", name);
      return now;
    });
  }

  /**
   * Makes a volume of limited size larger, also while containers run with it. Where the kernel doesn't allow that, the
   * content moves to a larger disk, which needs it unused.
   */
  async resize(name: string, text: string): Promise<Volume> {
    const { local, users } = this.#ports;
    const refuse = (why: string) => new GantryError("invalid", `cannot resize volume ${name}: ${why}`);
    const wanted = ramInBytes(text);
    const check = (volume: Volume): void => {
      const size = sizeOf(volume.Options);
      if (size === undefined) throw refuse("it was made without a size: import its export into a volume that has one");
      if (wanted < size) throw refuse(`it has ${bytesSize(size)}, and can only be made larger`);
      if (wanted > LARGEST_DISK) throw refuse(`${bytesSize(LARGEST_DISK)} is the largest size`);
    };
    check(this.#ownVolume(name, "resize"));
    // Those who have ended let go of it soon.
    await local.settled(name, (holder) => !users.of(name).some(({ id, isRunning }) => id === holder && isRunning));
    return local.exclusively(name, "it is being resized", { mounted: true }, async (volume) => {
      check(volume);
      try {
        await local.grow(volume, wanted);
      } catch (error) {
        if (local.holdersOf(name).length > 0) {
          const why = `${messageOf(error)}: stop what runs with it, and try again`;
          throw new GantryError("conflict", `cannot resize volume ${name} while it is in use: ${why}`, {
            cause: error,
          });
        }
        await using draft = await VolumeDraft.begin(local.draftFolder(name), wanted);
        await withFolder(volume.Mountpoint, (fd) => copyTree(fd, draft.fd));
        await draft.seal();
        draft.replace(dirname(volume.Mountpoint));
      }
      return local.resized(volume, text, wanted);
    });
  }

  /** What each volume holds, and who uses it; measured once for all who ask at the same time. */
  usage(): Promise<VolumeUsage[]> {
    return this.#usage.run();
  }

  async #measure(): Promise<VolumeUsage[]> {
    const { local, volumes, users } = this.#ports;
    const rows: VolumeUsage[] = [];
    for (const volume of volumes.list()) {
      const { Name, Driver, CreatedAt, Options } = volume;
      const sizes = local.owns(Name) ? await local.sizes(Name).catch(() => undefined) : undefined;
      rows.push({
        Name,
        Driver,
        CreatedAt,
        Anonymous: volumes.isAnonymous(Name),
        Size: sizes?.bytes ?? -1,
        Taken: sizes?.taken ?? -1,
        Limit: (local.owns(Name) ? sizeOf(Options) : undefined) ?? 0,
        Snapshots: local.snapshots.of(Name),
        Containers: users.of(Name).map(({ id, name, isRunning, isPaused, isWriter }) => ({
          Id: id,
          Name: name,
          State: isPaused ? "paused" : isRunning ? "running" : "stopped",
          ReadOnly: !isWriter,
        })),
      });
    }
    return rows;
  }

  async #isEmpty(name: string): Promise<boolean> {
    const holder = `${READER}look ${++this.#reads}`;
    const folder = await this.#ports.local.mount(name, holder);
    try {
      return readdirSync(folder).length === 0;
    } finally {
      await this.#ports.local.release(holder);
    }
  }

  /** Runs `act` with the content open; of a volume of the `local` driver nobody writes meanwhile. */
  async #reading<T>(name: string, writers: Writers, verb: string, act: (fd: number) => Promise<T>): Promise<T> {
    const { local, volumes } = this.#ports;
    if (local.owns(name)) {
      return quietly(this.#ports, name, writers, verb, () => withFolder(this.#volume(name).Mountpoint, act));
    }
    const holder = `${READER}copy ${++this.#reads}`;
    const folder = await volumes.mount(this.#volume(name).Name, holder);
    try {
      return await withFolder(folder, act);
    } finally {
      await volumes.release(holder);
    }
  }

  #shelf(name: string): string {
    const shelf = join(dirname(this.#volume(name).Mountpoint), "snapshots");
    if (lstatSync(shelf, { throwIfNoEntry: false })?.isDirectory() !== false) return shelf;
    throw new GantryError("internal", `cannot use the snapshots of volume ${name}: ${shelf} is not a folder`);
  }

  #volume(name: string): Volume {
    const volume = this.#ports.volumes.get(name);
    if (volume === undefined) throw new GantryError("not-found", `get ${name}: no such volume`);
    return volume;
  }

  /** A volume of the `local` driver. */
  #ownVolume(name: string, verb: string): Volume {
    const volume = this.#volume(name);
    if (this.#ports.local.owns(name)) return volume;
    throw new GantryError("invalid", `cannot ${verb} volume ${name}: it is kept by the driver ${volume.Driver}`);
  }

  /** One whose content lies here. */
  #ownContent(name: string, verb: string): Volume {
    const volume = this.#ownVolume(name, verb);
    const content = contentOf(volume);
    if (content.kind !== "device") return volume;
    const { device } = content.device;
    throw new GantryError("invalid", `cannot ${verb} volume ${name}: its content is that of ${device}`);
  }

  #refuseTaken(name: string): void {
    if (this.#ports.volumes.get(name) === undefined) return;
    throw new GantryError("conflict", `create ${name}: there is a volume of that name already`);
  }
}

async function pack(folder: string, release: () => Promise<void>): Promise<AsyncIterableIterator<Uint8Array>> {
  let fd: number;
  try {
    fd = openFolder(folder);
  } catch (error) {
    await release();
    throw error;
  }
  return packTree({ dir: fd, base: ".", stat: fstatat(fd, ".") }, { name: "." }, () => {
    closeSync(fd);
    // Nobody waits for it; what stays mounted is let go of at the next boot.
    release().catch(() => {});
  });
}

async function unpack(fd: number, archive: Readable, signal: AbortSignal): Promise<void> {
  const { stream } = await decompress(archive, { keepSource: true });
  try {
    await extractArchive(fd, stream, {
      destination: "/",
      mountPoints: [],
      owner: undefined,
      keepKinds: false,
      dressRoot: true,
      signal,
    });
  } finally {
    if (stream !== archive) stream.destroy();
  }
}
