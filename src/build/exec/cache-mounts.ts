import { createHash, randomBytes } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { untilAborted } from "../../base/abort.ts";
import { Breath } from "../../base/breath.ts";
import { GantryError, messageOf } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/log.ts";
import { exchangeat } from "../../kernel/path.ts";
import { withFolder } from "../../kernel/with-folder.ts";
import { sizeOf, upperChanges } from "../../snapshots/changes.ts";
import { removeTree } from "../../snapshots/remove-tree.ts";
import type { Collection, Store } from "../../state/store.ts";
import type { CacheUsage } from "../builder.ts";
import type { CacheHolder } from "../parts.ts";

export interface CacheMountsPorts {
  readonly store: Store;
  /** A folder of its own on the data root. */
  readonly folder: string;
  readonly log: Logger;
}

/** What a step wants to mount. Equal wishes mean the same contents. */
export interface CacheWish {
  readonly id: string;
  readonly sharing: "shared" | "private" | "locked";
  /** Of a new one: the vertex of which it begins as a copy; undefined for an empty one. */
  readonly from: { readonly vertex: string; readonly source: string } | undefined;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly description: string;
}

interface CacheMountRecord {
  readonly name: string;
  readonly key: string;
  readonly description: string;
  /** Unix milliseconds. */
  readonly createdAt: number;
  readonly lastUsedAt: number;
  readonly usageCount: number;
}

interface Entry {
  readonly id: string;
  record: CacheMountRecord;
  holders: number;
  /** All who hold it share it. */
  isShared: boolean;
  /** Bytes, once they were counted after its last use. */
  size: number | undefined;
}

export interface HeldCacheMount extends Disposable {
  readonly path: string;
}

/**
 * Folders that steps keep between builds. Steps that say `shared` may have one at the same time, those that say
 * `locked` wait for each other, and `private` ones get another where the first is in use.
 */
export class CacheMounts implements CacheHolder {
  readonly #folder: string;
  readonly #log: Logger;
  readonly #records: Collection<CacheMountRecord>;
  readonly #store: Store;
  readonly #entries = new Map<string, Entry>();
  /** Making one can take long: who wants the same meanwhile waits. */
  readonly #making = new KeyedLock();
  /** Called when any was given back. */
  readonly #waiting = new Set<() => void>();
  /** How often any was given back. */
  #released = 0;

  constructor({ store, folder, log }: CacheMountsPorts) {
    this.#folder = folder;
    this.#log = log;
    this.#store = store;
    this.#records = store.collection("build-cache-mounts");
    for (const { key: id, value: record } of this.#records.list()) this.#entries.set(id, entryOf(id, record));
  }

  /** Removes folders that have no record and records that have no folder. Before any step. */
  async recover(): Promise<void> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const names = new Set(readdirSync(this.#folder));
    for (const id of [...this.#entries.keys()]) {
      if (names.delete(id)) continue;
      this.#entries.delete(id);
      this.#records.delete(id);
    }
    for (const name of names) await this.#removeFolder(name);
  }

  /**
   * Holds one until the result is disposed of. `fill` puts the first contents into the folder of a new one; what fails
   * leaves nothing.
   */
  async acquire(
    wish: CacheWish,
    fill: ((folder: number) => Promise<void>) | undefined,
    signal: AbortSignal,
  ): Promise<HeldCacheMount> {
    const key = keyOf(wish);
    for (;;) {
      const before = this.#released;
      const entry = await this.#making.run(key, () => this.#take(key, wish, fill));
      if (entry !== undefined) return this.#holder(entry);
      if (this.#released === before) await this.#change(signal);
    }
  }

  /** Holds one alone, by its own id or the id that steps know it by (then the one last used). */
  hold(idOrName: string): HeldCacheMount {
    const entry = this.#entries.get(idOrName) ?? this.#lastUsed(idOrName);
    if (entry === undefined) throw new GantryError("not-found", `no such cache mount: ${idOrName}`);
    if (entry.holders > 0) throw new GantryError("conflict", `cache mount ${idOrName} is in use by a build`);
    entry.holders = 1;
    entry.isShared = false;
    return this.#holder(entry);
  }

  has(idOrName: string): boolean {
    return this.#entries.has(idOrName) || this.#lastUsed(idOrName) !== undefined;
  }

  async usage(): Promise<readonly CacheUsage[]> {
    const rows: CacheUsage[] = [];
    for (const entry of [...this.#entries.values()]) {
      const { createdAt, lastUsedAt, usageCount, description } = entry.record;
      const inUse = entry.holders > 0;
      const size = entry.size ?? (await this.#measure(entry));
      if (!this.#entries.has(entry.id)) continue;
      rows.push({
        id: entry.id,
        parents: [],
        type: "exec.cachemount",
        description,
        inUse,
        shared: false,
        size,
        createdAt,
        lastUsedAt,
        usageCount,
      });
    }
    return rows;
  }

  async remove(id: string): Promise<number | undefined> {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.holders > 0) return undefined;
    const size = entry.size ?? (await this.#measure(entry));
    // Somebody may have taken it, or removed it, while it was measured.
    if (entry.holders > 0 || this.#entries.get(id) !== entry) return undefined;
    this.#entries.delete(id);
    this.#records.delete(id);
    await this.#removeFolder(id);
    return size;
  }

  /** Puts what `fill` makes in the place of a cache mount's contents, or makes one that steps know by this id. */
  async replace(idOrName: string, fill: (folder: number) => Promise<void>): Promise<void> {
    if (!this.has(idOrName)) {
      const wish: CacheWish = {
        id: idOrName,
        sharing: "private",
        from: undefined,
        ...DEFAULTS,
        description: "imported",
      };
      using _ = await this.acquire(wish, fill, new AbortController().signal);
      return;
    }
    const next = this.#newFolder(DEFAULTS);
    try {
      await withFolder(next.path, fill);
      using held = this.hold(idOrName);
      const id = basename(held.path);
      failpoint("build.cache-mount.filled");
      await withFolder(this.#folder, async (fd) => exchangeat(fd, next.id, fd, id));
      failpoint("build.cache-mount.exchanged");
    } finally {
      // The old contents by now, or what did not become whole.
      await this.#removeFolder(next.id);
    }
  }

  async #take(
    key: string,
    wish: CacheWish,
    fill: ((folder: number) => Promise<void>) | undefined,
  ): Promise<Entry | undefined> {
    const all = [...this.#entries.values()].filter((entry) => entry.record.key === key);
    const isShared = wish.sharing === "shared";
    const chosen =
      (isShared ? all.find((entry) => entry.holders > 0 && entry.isShared) : undefined) ??
      all.find((entry) => entry.holders === 0);
    if (chosen === undefined && wish.sharing === "locked" && all.length > 0) return undefined;
    const entry = chosen ?? (await this.#make(key, wish, fill));
    const { record } = entry;
    entry.record = { ...record, lastUsedAt: Date.now(), usageCount: record.usageCount + 1 };
    this.#write(entry);
    entry.holders++;
    entry.isShared = isShared;
    entry.size = undefined;
    return entry;
  }

  /** One that can't be written down, as on a full disk, serves until the engine ends. */
  #write({ id, record }: Entry): void {
    try {
      this.#store.relaxed(() => this.#records.put(id, record));
    } catch (error) {
      this.#log.warn(`cannot keep a cache mount: ${messageOf(error)}`, { id });
    }
  }

  /** On the disk before its record is, empty or filled; what a crash leaves without a record is removed at boot. */
  async #make(key: string, wish: CacheWish, fill: ((folder: number) => Promise<void>) | undefined): Promise<Entry> {
    const { id, path } = this.#newFolder(wish);
    try {
      if (fill !== undefined) await withFolder(path, fill);
      failpoint("build.cache-mount.made");
      const { id: name, description } = wish;
      const now = Date.now();
      const entry = entryOf(id, { name, key, description, createdAt: now, lastUsedAt: now, usageCount: 0 });
      this.#entries.set(id, entry);
      return entry;
    } catch (error) {
      await this.#removeFolder(id);
      throw error;
    }
  }

  #newFolder({ mode, uid, gid }: Pick<CacheWish, "mode" | "uid" | "gid">): {
    readonly id: string;
    readonly path: string;
  } {
    const id = newId();
    const path = join(this.#folder, id);
    mkdirSync(path, { mode: 0o700 });
    chownSync(path, uid, gid);
    chmodSync(path, mode & 0o7777);
    return { id, path };
  }

  #holder(entry: Entry): HeldCacheMount {
    let isHeld = true;
    return {
      path: join(this.#folder, entry.id),
      [Symbol.dispose]: () => {
        if (!isHeld) return;
        isHeld = false;
        entry.holders--;
        entry.size = undefined;
        this.#released++;
        for (const wake of [...this.#waiting]) wake();
      },
    };
  }

  async #change(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    try {
      await untilAborted(promise, signal);
    } finally {
      this.#waiting.delete(resolve);
    }
  }

  #lastUsed(name: string): Entry | undefined {
    let last: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.record.name !== name) continue;
      if (last === undefined || entry.record.lastUsedAt > last.record.lastUsedAt) last = entry;
    }
    return last;
  }

  async #measure(entry: Entry): Promise<number> {
    try {
      const size = await withFolder(join(this.#folder, entry.id), (fd) => sizeOf(upperChanges(fd), new Breath()));
      if (entry.holders === 0) entry.size = size;
      return size;
    } catch (error) {
      this.#log.warn(`cannot measure a cache mount: ${messageOf(error)}`, { id: entry.id });
      return 0;
    }
  }

  async #removeFolder(name: string): Promise<void> {
    await withFolder(this.#folder, (fd) => removeTree(fd, name));
  }
}

/** What a folder has that nobody said anything of. */
const DEFAULTS = { mode: 0o755, uid: 0, gid: 0 };

function entryOf(id: string, record: CacheMountRecord): Entry {
  return { id, record, holders: 0, isShared: false, size: undefined };
}

function keyOf({ id, from, mode, uid, gid }: CacheWish): string {
  const what = JSON.stringify([id, from?.vertex ?? "", from?.source ?? "", mode, uid, gid]);
  return createHash("sha256").update(what).digest("hex");
}

/** As BuildKit's ids look: 25 letters and digits. */
function newId(): string {
  return BigInt(`0x${randomBytes(16).toString("hex")}`)
    .toString(36)
    .padStart(25, "0");
}
