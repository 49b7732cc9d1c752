import { readFileSync } from "node:fs";
import { Breath } from "../../base/breath.ts";
import { messageOf } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import { FreshFlight } from "../../base/fresh-flight.ts";
import type { Logger } from "../../base/log.ts";
import { SingleFlight } from "../../base/single-flight.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import type { Collection, Store } from "../../state/store.ts";
import type { Root } from "../root.ts";
import type { Roots } from "../roots.ts";
import type { Ingredients, StepRecord } from "./record.ts";

export interface StepCachePorts {
  readonly store: Store;
  readonly snapshots: Snapshotter;
  readonly roots: Roots;
  readonly log: Logger;
}

/** A result that is about to be kept. */
export interface NewStep {
  readonly snapshot: string;
  readonly inputs: readonly string[];
  readonly definition: string | undefined;
  readonly site: string;
  readonly description: string;
  readonly ingredients: Ingredients | undefined;
}

/** How many keys of how it was made are remembered for one result. */
const MOST_DEFINITIONS = 8;
/** So long after a step its snapshot is synced and measured: one sync for those that come close together. */
const SETTLE_AFTER_MS = 500;
/** Records that one transaction writes, in some milliseconds. */
const WRITTEN_AT_ONCE = 500;
/** So many keys are remembered of results that were removed, for the explanation of what misses them. */
const MOST_REMOVED = 2000;

/**
 * Which key has which snapshot. All of it is in memory, this process is the only writer; what a key was made of is read
 * when somebody asks why another one missed. What is lost or damaged is not there.
 */
export class StepCache {
  readonly #ports: StepCachePorts;
  readonly #records: Collection<StepRecord>;
  readonly #ingredients: Collection<Ingredients>;
  readonly #removed: Collection<number>;
  readonly #byKey = new Map<string, StepRecord>();
  readonly #byDefinition = new Map<string, string>();
  readonly #bySite = new Map<string, Set<string>>();
  /** Where a result was found: at the site of its record, and at others. */
  readonly #sitesOf = new Map<string, Set<string>>();
  /** When what was removed, the latest last. */
  readonly #removedAt: Map<string, number>;
  readonly #used = new Map<string, { at: number; count: number }>();
  readonly #boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  readonly #settling: FreshFlight;
  readonly #measuring: SingleFlight<void>;
  #settleLater: NodeJS.Timeout | undefined;

  constructor(ports: StepCachePorts) {
    this.#ports = ports;
    this.#records = ports.store.collection("build-steps");
    this.#ingredients = ports.store.collection("build-ingredients");
    this.#removed = ports.store.collection("build-removed");
    const removed = this.#removed.list().sort((a, b) => a.value - b.value);
    this.#removedAt = new Map(removed.map(({ key, value }) => [key, value]));
    this.#settling = new FreshFlight(() => this.#settle());
    this.#measuring = new SingleFlight(() => this.#measure());
    this.#load();
  }

  /** Reads the records; those of which the snapshot has gone, or may be damaged by a power loss, are dropped. */
  #load(): void {
    const { snapshots } = this.#ports;
    const lost: string[] = [];
    for (const { key, value } of this.#records.list()) {
      const record = namedNow(value, snapshots);
      const isCut = record.unsynced !== undefined && record.unsynced !== this.#boot;
      if (isCut || snapshots.info(record.snapshot)?.kind !== "committed") lost.push(key);
      else this.#add(key, record);
    }
    if (lost.length > 0) this.#erase(lost);
  }

  /** The key of which a definition's key is another one. */
  keyOf(definition: string): string | undefined {
    return this.#byDefinition.get(definition);
  }

  get(key: string): StepRecord | undefined {
    return this.#byKey.get(key);
  }

  all(): IterableIterator<[string, StepRecord]> {
    return this.#byKey.entries();
  }

  get count(): number {
    return this.#byKey.size;
  }

  /** A holder of what has this key, for a step at this site; the caller disposes of it. */
  take(key: string, site: string): Root | undefined {
    const record = this.#byKey.get(key);
    if (record === undefined) return undefined;
    if (!this.#ports.snapshots.isIntact(record.snapshot)) {
      this.remove([key]);
      return undefined;
    }
    this.use(key);
    if (record.site !== site) {
      this.#byKey.set(key, { ...record, site });
      this.#addSite(site, key);
    }
    return this.#ports.roots.snapshot(record.snapshot);
  }

  /** Counts that a result was used; written with the next change. */
  use(key: string): void {
    const { count } = this.#used.get(key) ?? { count: 0 };
    this.#used.set(key, { at: Date.now(), count: count + 1 });
    this.#settleSoon();
  }

  /** Keeps a result, in place of one that has the same key. The snapshot is committed, and held by somebody. */
  add(key: string, step: NewStep): void {
    const { store } = this.#ports;
    const former = this.#byKey.get(key);
    const now = Date.now();
    const { definition, ingredients, ...rest } = step;
    const record: StepRecord = {
      ...rest,
      definitions: withDefinition(former?.definitions ?? [], definition),
      createdAt: now,
      lastUsedAt: now,
      usageCount: 1,
      unsynced: this.#boot,
    };
    failpoint("build.cache.add");
    if (former !== undefined) this.#forget(key, former);
    this.#add(key, record);
    this.#write("keep a step of a build", () =>
      store.relaxed(() => {
        this.#records.put(key, record);
        if (this.#removedAt.delete(key)) this.#removed.delete(key);
        if (ingredients === undefined) this.#ingredients.delete(key);
        else this.#ingredients.put(key, ingredients);
      }),
    );
    failpoint("build.cache.added");
    this.#settleSoon();
  }

  /** Remembers another key of a result. */
  define(key: string, definition: string): void {
    const record = this.#byKey.get(key);
    if (record === undefined || this.#byDefinition.get(definition) === key) return;
    const changed = { ...record, definitions: withDefinition(record.definitions, definition) };
    this.#forget(key, record);
    this.#add(key, changed);
    this.#used.set(key, this.#used.get(key) ?? { at: record.lastUsedAt, count: 0 });
    this.#settleSoon();
  }

  /** Forgets results; their snapshots go with the next collection, unless somebody else has them. */
  remove(keys: readonly string[]): void {
    for (const key of keys) {
      const record = this.#byKey.get(key);
      if (record !== undefined) this.#forget(key, record);
      this.#used.delete(key);
    }
    this.#erase(keys);
  }

  /** Whether it was here once. */
  wasRemoved(key: string): boolean {
    return this.#removedAt.has(key);
  }

  ingredients(key: string): Ingredients | undefined {
    return this.#ingredients.get(key);
  }

  /** Keys of results of the same step of some Dockerfile, the latest last. */
  atSite(site: string): readonly string[] {
    return [...(this.#bySite.get(site) ?? [])];
  }

  /** What images must leave here. */
  *snapshots(): Iterable<string> {
    for (const { becomes, snapshot } of this.#byKey.values()) {
      yield snapshot;
      if (becomes !== undefined) yield becomes;
    }
  }

  /**
   * Gives a snapshot another name, for all who hold it; it is on the disk, whole, before. A crash leaves the former
   * name or the new one, and the records know it by both.
   */
  async rename(from: string, to: string): Promise<void> {
    const { roots, snapshots } = this.#ports;
    await this.settle();
    this.#change(from, (record) => ({ ...record, becomes: to }));
    failpoint("build.cache.renaming");
    try {
      await snapshots.rename(from, to);
    } catch (error) {
      this.#change(from, ({ becomes: _, ...record }) => record);
      throw error;
    }
    failpoint("build.cache.renamed");
    roots.renamed(from, to);
    this.#change(from, ({ becomes: _, ...record }) => ({ ...record, snapshot: to }));
  }

  /** Everything that was added before the call is on the disk when this resolves. */
  settle(): Promise<void> {
    clearTimeout(this.#settleLater);
    this.#settleLater = undefined;
    return this.#settling.run();
  }

  async #settle(): Promise<void> {
    const { snapshots } = this.#ports;
    const unsynced = [...this.#byKey].filter(([, { unsynced }]) => unsynced !== undefined);
    if (unsynced.length > 0) {
      await snapshots.sync();
      failpoint("build.cache.synced");
    }
    const made = new Map(unsynced);
    const used = new Map(this.#used);
    this.#used.clear();
    const breath = new Breath();
    let written: [string, StepRecord][] = [];
    for (const key of new Set([...made.keys(), ...used.keys()])) {
      const record = this.#byKey.get(key);
      if (record === undefined) continue;
      const settled = this.#settledOf(record, made.get(key), used.get(key));
      this.#byKey.set(key, settled);
      written.push([key, settled]);
      if (written.length < WRITTEN_AT_ONCE) continue;
      this.#writeAll("keep what a build used", written);
      written = [];
      await breath.take();
    }
    this.#writeAll("keep what a build used", written);
    failpoint("build.cache.settled");
  }

  /** Looks how much each result adds that nobody has looked at yet. */
  async #measure(): Promise<void> {
    const sizes = new Map<string, { readonly snapshot: string; readonly size: number }>();
    for (const [key, { size, snapshot }] of [...this.#byKey]) {
      if (size !== undefined) continue;
      // One that was removed meanwhile has no record any more.
      const measured = await this.#ports.snapshots.usage(snapshot).catch(() => undefined);
      if (measured !== undefined) sizes.set(key, { snapshot, size: measured });
    }
    const written: [string, StepRecord][] = [];
    for (const [key, { size, snapshot }] of sizes) {
      const record = this.#byKey.get(key);
      if (record?.snapshot !== snapshot) continue;
      const measured = { ...record, size };
      this.#byKey.set(key, measured);
      written.push([key, measured]);
    }
    this.#writeAll("keep the size of a step", written);
  }

  #writeAll(what: string, rows: readonly [string, StepRecord][]): void {
    if (rows.length === 0) return;
    this.#write(what, () =>
      this.#ports.store.relaxed(() => {
        for (const [key, record] of rows) this.#records.put(key, record);
      }),
    );
  }

  #settledOf(
    record: StepRecord,
    synced: StepRecord | undefined,
    used: { readonly at: number; readonly count: number } | undefined,
  ): StepRecord {
    // Made anew meanwhile: that one waits for the next sync.
    const isSynced =
      synced !== undefined && synced.createdAt === record.createdAt && synced.snapshot === record.snapshot;
    const { unsynced: _, ...rest } = record;
    return {
      ...(isSynced ? rest : record),
      ...(used !== undefined && { lastUsedAt: used.at, usageCount: record.usageCount + used.count }),
    };
  }

  #settleSoon(): void {
    this.#settleLater ??= setTimeout(() => {
      this.#settleLater = undefined;
      this.#settling
        .run()
        .then(() => this.#measuring.run())
        .then(() => this.#ports.store.flush())
        .catch((error: unknown) => {
          this.#ports.log.error(`cannot put what builds made on the disk: ${messageOf(error)}`);
        });
    }, SETTLE_AFTER_MS).unref();
  }

  #change(snapshot: string, change: (record: StepRecord) => StepRecord): void {
    const changed: [string, StepRecord][] = [];
    for (const [key, record] of this.#byKey) if (record.snapshot === snapshot) changed.push([key, change(record)]);
    for (const [key, record] of changed) this.#byKey.set(key, record);
    this.#writeAll("keep a step's new name", changed);
  }

  #add(key: string, record: StepRecord): void {
    this.#byKey.set(key, record);
    for (const definition of record.definitions) {
      const other = this.#byKey.get(this.#byDefinition.get(definition) ?? key);
      // What is made in this way now is another one.
      if (other !== undefined && other !== record)
        this.#undefine(this.#byDefinition.get(definition)!, other, definition);
      this.#byDefinition.set(definition, key);
    }
    this.#addSite(record.site, key);
  }

  #addSite(site: string, key: string): void {
    const keys = this.#bySite.get(site) ?? new Set();
    keys.delete(key);
    this.#bySite.set(site, keys.add(key));
    this.#sitesOf.set(key, (this.#sitesOf.get(key) ?? new Set()).add(site));
  }

  #undefine(key: string, record: StepRecord, definition: string): void {
    this.#byKey.set(key, { ...record, definitions: record.definitions.filter((each) => each !== definition) });
    const { at, count } = this.#used.get(key) ?? { at: record.lastUsedAt, count: 0 };
    this.#used.set(key, { at, count });
  }

  #forget(key: string, record: StepRecord): void {
    this.#byKey.delete(key);
    for (const definition of record.definitions) {
      if (this.#byDefinition.get(definition) === key) this.#byDefinition.delete(definition);
    }
    for (const site of this.#sitesOf.get(key) ?? []) {
      const keys = this.#bySite.get(site);
      keys?.delete(key);
      if (keys?.size === 0) this.#bySite.delete(site);
    }
    this.#sitesOf.delete(key);
  }

  #erase(keys: readonly string[]): void {
    const now = Date.now();
    this.#write("forget steps of builds", () =>
      this.#ports.store.relaxed(() => {
        for (const key of keys) {
          this.#records.delete(key);
          this.#ingredients.delete(key);
          this.#removedAt.delete(key);
          this.#removedAt.set(key, now);
          this.#removed.put(key, now);
        }
        for (const key of this.#removedAt.keys()) {
          if (this.#removedAt.size <= MOST_REMOVED) break;
          this.#removedAt.delete(key);
          this.#removed.delete(key);
        }
      }),
    );
  }

  /** A cache that can't be written, as on a full disk, is no reason for a build to fail. */
  #write(what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#ports.log.warn(`cannot ${what}: ${messageOf(error)}`);
    }
  }
}

/** The record of a snapshot that a crash caught between two names. */
function namedNow(record: StepRecord, snapshots: Pick<Snapshotter, "has">): StepRecord {
  const { becomes, ...rest } = record;
  if (becomes === undefined) return record;
  return snapshots.has(rest.snapshot) || !snapshots.has(becomes) ? rest : { ...rest, snapshot: becomes };
}

function withDefinition(known: readonly string[], definition: string | undefined): readonly string[] {
  if (definition === undefined) return known;
  return [...known.filter((each) => each !== definition), definition].slice(-MOST_DEFINITIONS);
}
