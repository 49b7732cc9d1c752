import { statfsSync } from "node:fs";
import { Breath } from "../../base/breath.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { SingleFlight } from "../../base/single-flight.ts";
import type { EventBus } from "../../events/bus.ts";
import type { ImageStore } from "../../images/image-store.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import type { CacheUsage, PruneOptions } from "../builder.ts";
import type { CacheHolder } from "../parts.ts";
import type { Roots } from "../roots.ts";
import { departures } from "./departures.ts";
import { cacheFilter } from "./filter.ts";
import { bytesToKeep, type GcPolicy, type GcRule, NO_LIMITS, type SpaceLimits, staleness } from "./policy.ts";
import type { StepCache } from "./step-cache.ts";

export interface UpkeepPorts {
  readonly cache: StepCache;
  /** What is kept beside the steps: contexts, cache mounts. */
  readonly holders: readonly CacheHolder[];
  readonly roots: Roots;
  readonly snapshots: Snapshotter;
  readonly images: Pick<ImageStore, "collectSnapshots" | "chains">;
  readonly events: EventBus;
  readonly log: Logger;
  /** Whose disk counts. */
  readonly dataRoot: string;
  readonly policy: () => GcPolicy;
  /** Entries that are kept at most, since all are in memory; 50,000. */
  readonly mostEntries?: number;
}

/** An entry of the cache and how it is removed. */
interface Entry {
  readonly row: CacheUsage;
  /** Undefined for steps: these go together. */
  readonly holder: CacheHolder | undefined;
  readonly key: string;
}

interface Wish {
  readonly filters: readonly string[];
  readonly all: boolean;
  readonly keepForMs: number;
  readonly space: SpaceLimits;
  /** Entries that may stay, whatever their size. */
  readonly most?: number;
}

export interface Pruned {
  readonly deleted: readonly string[];
  readonly spaceReclaimed: number;
}

const MOST_ENTRIES = 50_000;
/** Records that are erased in one transaction, which takes a millisecond or two. */
const REMOVED_AT_ONCE = 20;
/** Collections after builds come no sooner than that after the last one. */
const COLLECT_AFTER_MS = 1000;

/** What the cache takes up, and what goes of it: when somebody asks, and after builds by the engine's rules. */
export class Upkeep {
  readonly #ports: UpkeepPorts;
  readonly #collecting: SingleFlight<void>;
  #timer: NodeJS.Timeout | undefined;

  constructor(ports: UpkeepPorts) {
    this.#ports = ports;
    this.#collecting = new SingleFlight(() => this.#collect());
  }

  async usage(filters: readonly string[]): Promise<readonly CacheUsage[]> {
    const matches = cacheFilter(filters);
    return (await this.#entries()).map(({ row }) => row).filter(matches);
  }

  async prune({ filters, all, keepForMs, ...space }: PruneOptions): Promise<Pruned> {
    const pruned = await this.#prune({ filters, all, keepForMs: keepForMs ?? 0, space });
    const reclaimed = String(pruned.spaceReclaimed);
    this.#ports.events.publish({ type: "builder", action: "prune", id: "", attributes: { reclaimed } });
    return pruned;
  }

  /** The rules that are followed; none where nothing is removed by itself. */
  get rules(): readonly GcRule[] {
    const { enabled, rules } = this.#ports.policy();
    return enabled ? rules : [];
  }

  /** After a build: looks soon whether there is too much, and what of images that were removed meanwhile it stood on. */
  collectSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#collecting
        .run()
        .catch((error: unknown) => this.#ports.log.error(`cannot keep the build cache small: ${messageOf(error)}`));
    }, COLLECT_AFTER_MS).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  async #collect(): Promise<void> {
    await this.#ports.images.collectSnapshots();
    if (this.#ports.policy().enabled) await this.#followRules();
  }

  async #followRules(): Promise<void> {
    const { cache, mostEntries = MOST_ENTRIES, policy } = this.#ports;
    const rules: Wish[] = [...policy().rules];
    // What takes up nothing would never go by its size.
    if (cache.count > mostEntries)
      rules.push({ filters: [], all: true, keepForMs: 0, space: NO_LIMITS, most: mostEntries });
    for (const rule of rules) {
      const { deleted, spaceReclaimed } = await this.#prune(rule);
      if (deleted.length === 0) continue;
      this.#ports.log.info("the build cache was made smaller", { entries: deleted.length, bytes: spaceReclaimed });
    }
  }

  async #prune({ all, filters, keepForMs, most, space }: Wish): Promise<Pruned> {
    const { cache, images } = this.#ports;
    const matches = cacheFilter(filters);
    const now = Date.now();
    const entries = await this.#entries();
    let used = entries.reduce((sum, { row }) => sum + (row.shared ? 0 : row.size), 0);
    const keep = bytesToKeep(space, used, this.#free());
    const isEnough = (): boolean =>
      (keep !== undefined || most !== undefined) && (keep === undefined || used <= keep) && left <= (most ?? left);
    const mayGo = ({ row }: Entry): boolean =>
      matches(row) && !row.inUse && (all || !row.shared) && !(keepForMs > 0 && row.lastUsedAt > now - keepForMs);
    let left = entries.length;
    const chosen: Entry[] = [];
    const breath = new Breath();
    const stale = new Map(entries.filter(mayGo).map((entry) => [entry, staleness(entry.row, now)]));
    await breath.take();
    const candidates = [...stale.keys()].sort((a, b) => stale.get(b)! - stale.get(a)!);
    await breath.take();
    for (const entry of isEnough() ? [] : departures(candidates, childrenOf(entries))) {
      left--;
      chosen.push(entry);
      if (!entry.row.shared) used -= entry.row.size;
      if (isEnough()) break;
      if (breath.isDue) await breath.take();
    }
    if (chosen.length === 0) return { deleted: [], spaceReclaimed: 0 };
    const deleted: string[] = [];
    let spaceReclaimed = 0;
    const steps = chosen.filter(({ holder }) => holder === undefined);
    for (let at = 0; at < steps.length; at += REMOVED_AT_ONCE) {
      // A build may have taken one while the others were looked at.
      const inUse = this.#inUse();
      const isFree = ({ key }: Entry): boolean => !inUse.has(cache.get(key)?.snapshot ?? "");
      const free = steps.slice(at, at + REMOVED_AT_ONCE).filter(isFree);
      cache.remove(free.map(({ key }) => key));
      for (const { row } of free) {
        deleted.push(row.id);
        if (!row.shared) spaceReclaimed += row.size;
      }
      await breath.take();
    }
    for (const { holder, row } of chosen) {
      const freed = await holder?.remove(row.id);
      if (freed === undefined) continue;
      deleted.push(row.id);
      spaceReclaimed += freed;
    }
    if (deleted.length > 0) await images.collectSnapshots();
    return { deleted, spaceReclaimed };
  }

  async #entries(): Promise<Entry[]> {
    const { cache, holders, images, snapshots } = this.#ports;
    const shared = images.chains();
    const inUse = this.#inUse();
    const idBySnapshot = new Map<string, string>();
    const breath = new Breath();
    const records = [...cache.all()];
    for (const [key, { snapshot }] of records) {
      if (!idBySnapshot.has(snapshot)) idBySnapshot.set(snapshot, idOf(key));
      if (breath.isDue) await breath.take();
    }
    const counted = new Set<string>();
    const entries: Entry[] = [];
    for (const [key, record] of records) {
      const { createdAt, description, lastUsedAt, snapshot, usageCount } = record;
      const parent = snapshots.info(snapshot)?.parent;
      const parentId = parent === undefined ? undefined : idBySnapshot.get(parent);
      // Several keys may have one snapshot: it takes up its place once.
      const size = counted.has(snapshot) ? 0 : (record.size ?? (await snapshots.usage(snapshot).catch(() => 0)));
      counted.add(snapshot);
      const row: CacheUsage = {
        id: idOf(key),
        parents: parentId === undefined ? [] : [parentId],
        type: "regular",
        description,
        inUse: inUse.has(snapshot),
        shared: shared.has(snapshot),
        size,
        createdAt,
        lastUsedAt,
        usageCount,
      };
      entries.push({ row, holder: undefined, key });
      if (breath.isDue) await breath.take();
    }
    for (const holder of holders) {
      for (const row of await holder.usage()) entries.push({ row, holder, key: row.id });
    }
    return entries;
  }

  /** Snapshots that builds hold, and those that these stand on. */
  #inUse(): ReadonlySet<string> {
    const { roots, snapshots } = this.#ports;
    const inUse = new Set<string>();
    for (const held of roots.held()) {
      for (let name: string | undefined = held; name !== undefined && !inUse.has(name); ) {
        inUse.add(name);
        name = snapshots.info(name)?.parent;
      }
    }
    return inUse;
  }

  #free(): number {
    const { bavail, bsize } = statfsSync(this.#ports.dataRoot);
    return bavail * bsize;
  }
}

/** How many entries stand on one, by its id. */
function childrenOf(entries: readonly Entry[]): Map<string, number> {
  const children = new Map<string, number>();
  for (const { row } of entries)
    for (const parent of row.parents) children.set(parent, (children.get(parent) ?? 0) + 1);
  return children;
}

/** As the clients show it: letters and digits. */
function idOf(key: string): string {
  return key.replace(/^sha256:/, "").slice(0, 25);
}
