import { GantryError } from "../base/errors.ts";
import type { Collection, Store } from "../state/store.ts";
import type { ContainerRecord, Transient } from "./record.ts";

/** A container in memory: its record as stored, and what lives in this process only. */
export interface Entry {
  record: ContainerRecord;
  readonly transient: Transient;
}

/** All containers by id and name; memory and store change together, the store first. */
export class ContainerTable {
  readonly #store: Store;
  readonly #records: Collection<ContainerRecord>;
  readonly #entries = new Map<string, Entry>();
  readonly #names = new Map<string, string>();

  constructor(store: Store) {
    this.#store = store;
    this.#records = store.collection<ContainerRecord>("containers");
    for (const { value } of this.#records.list()) this.#add(value);
  }

  get(id: string): Entry | undefined {
    return this.#entries.get(id);
  }

  /** By full id, name (with or without its slash) or a prefix that only one id has. */
  find(nameOrId: string): Entry {
    const exact = this.#entries.get(nameOrId) ?? this.#entries.get(this.#names.get(nameOrId.replace(/^\//, "")) ?? "");
    if (exact !== undefined) return exact;
    if (nameOrId !== "") {
      let found: Entry | undefined;
      for (const [id, entry] of this.#entries) {
        if (!id.startsWith(nameOrId)) continue;
        if (found !== undefined) {
          throw new GantryError("invalid", `multiple IDs found with provided prefix: ${nameOrId}`);
        }
        found = entry;
      }
      if (found !== undefined) return found;
    }
    throw new GantryError("not-found", `No such container: ${nameOrId}`);
  }

  /** By its name alone. */
  named(name: string): Entry | undefined {
    return this.#entries.get(this.#names.get(name) ?? "");
  }

  all(): readonly Entry[] {
    return [...this.#entries.values()];
  }

  /** Who has the name, be it a container or a create that is under way. */
  ownerOf(name: string): string | undefined {
    return this.#names.get(name);
  }

  /** Takes a name for an id, before its record exists; conflict with Docker's sentence if it is taken. */
  reserve(name: string, id: string): void {
    const owner = this.#names.get(name);
    if (owner !== undefined && owner !== id) {
      throw new GantryError(
        "conflict",
        `Conflict. The container name "/${name}" is already in use by container "${owner}". You have to remove (or rename) that container to be able to reuse that name.`,
      );
    }
    this.#names.set(name, id);
  }

  release(name: string, id: string): void {
    if (this.#names.get(name) === id) this.#names.delete(name);
  }

  insert(record: ContainerRecord): Entry {
    this.#records.put(record.id, record);
    return this.#add(record);
  }

  /** Replaces the record, durably, then in memory. */
  update(entry: Entry, change: Partial<ContainerRecord>): void {
    const record = { ...entry.record, ...change };
    this.#records.put(record.id, record);
    entry.record = record;
  }

  /**
   * As `update`, but on the disk only when the result resolves, which holds up nobody else. What goes with its exit
   * (--rm) need not outlive a power loss at all: boot would only remove it.
   */
  updateSoon(entry: Entry, change: Partial<ContainerRecord>): Promise<void> {
    const record = { ...entry.record, ...change };
    this.#store.relaxed(() => this.#records.put(record.id, record));
    entry.record = record;
    return this.flushed(entry);
  }

  /** As `updateSoon`, for what a power loss may take back: it outlives this process, and nothing is synced for it. */
  updateRelaxed(entry: Entry, change: Partial<ContainerRecord>): void {
    const record = { ...entry.record, ...change };
    this.#store.relaxed(() => this.#records.put(record.id, record));
    entry.record = record;
  }

  /** Resolves when what was written of this container is on the disk. */
  async flushed(entry: Entry): Promise<void> {
    if (!entry.record.hostConfig.AutoRemove) await this.#store.flush();
  }

  delete(entry: Entry): void {
    this.#records.delete(entry.record.id);
    this.#entries.delete(entry.record.id);
    this.release(entry.record.name, entry.record.id);
  }

  #add(record: ContainerRecord): Entry {
    const entry: Entry = {
      record,
      transient: {
        restarting: false,
        comingBack: false,
        removing: false,
        dead: false,
        manuallyStopped: false,
        stopTold: false,
        signalling: undefined,
        backoffMs: 0,
        restartTimer: undefined,
        execIds: new Set(),
      },
    };
    this.#entries.set(record.id, entry);
    this.#names.set(record.name, record.id);
    return entry;
  }
}
