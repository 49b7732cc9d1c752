import { existsSync, readdirSync } from "node:fs";
import type { VolumeSnapshot } from "../api/volume.ts";
import { GantryError } from "../base/errors.ts";
import type { Collection, Store } from "../state/store.ts";

/** Which snapshots there are of which volume; memory and store change together, the store first. */
export class SnapshotTable {
  readonly #records: Collection<VolumeSnapshot>;
  readonly #byVolume = new Map<string, Map<string, VolumeSnapshot>>();

  /** What is recorded of volumes that aren't there any more is forgotten. */
  constructor(store: Store, hasVolume: (name: string) => boolean) {
    this.#records = store.collection<VolumeSnapshot>("volume-snapshots");
    for (const { key, value } of this.#records.list()) {
      if (hasVolume(value.Volume)) this.#remember(value);
      else this.#records.delete(key);
    }
  }

  /** The oldest first. */
  of(volume: string): VolumeSnapshot[] {
    const found = [...(this.#byVolume.get(volume)?.values() ?? [])];
    return found.sort((a, b) => (a.CreatedAt < b.CreatedAt ? -1 : 1));
  }

  /** Throws not-found. */
  get(volume: string, name: string): VolumeSnapshot {
    const found = this.#byVolume.get(volume)?.get(name);
    if (found === undefined) throw new GantryError("not-found", `no such snapshot of volume ${volume}: ${name}`);
    return found;
  }

  has(volume: string, name: string): boolean {
    return this.#byVolume.get(volume)?.has(name) === true;
  }

  add(snapshot: VolumeSnapshot): void {
    this.#records.put(keyOf(snapshot), snapshot);
    this.#remember(snapshot);
  }

  delete(snapshot: VolumeSnapshot): void {
    this.#records.delete(keyOf(snapshot));
    this.#byVolume.get(snapshot.Volume)?.delete(snapshot.Name);
  }

  /** Those of a volume that is removed; within a transaction, as `rename`. */
  forget(volume: string): void {
    for (const snapshot of this.of(volume)) this.#records.delete(keyOf(snapshot));
  }

  /** Memory's part of that. */
  forgotten(volume: string): void {
    this.#byVolume.delete(volume);
  }

  /** Within a transaction, whose failure the caller need not undo here: memory follows when it is over. */
  rename(from: string, to: string): void {
    for (const snapshot of this.of(from)) {
      this.#records.delete(keyOf(snapshot));
      this.#records.put(keyOf({ ...snapshot, Volume: to }), { ...snapshot, Volume: to });
    }
  }

  /** Memory's part of a renaming. */
  renamed(from: string, to: string): void {
    for (const snapshot of this.of(from)) this.#remember({ ...snapshot, Volume: to });
    this.#byVolume.delete(from);
  }

  /** Has what lies among the snapshots of a volume, but is none, removed. */
  sweep(volume: string, folder: string, remove: (folder: string, entry: string) => void): void {
    if (!existsSync(folder)) return;
    for (const entry of readdirSync(folder)) if (!this.has(volume, entry)) remove(folder, entry);
  }

  #remember(snapshot: VolumeSnapshot): void {
    const known = this.#byVolume.get(snapshot.Volume) ?? new Map<string, VolumeSnapshot>();
    this.#byVolume.set(snapshot.Volume, known.set(snapshot.Name, snapshot));
  }
}

/** No name has a slash. */
function keyOf({ Volume, Name }: Pick<VolumeSnapshot, "Volume" | "Name">): string {
  return `${Volume}/${Name}`;
}
