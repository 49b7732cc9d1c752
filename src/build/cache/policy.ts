/** What is kept of the cache, as the `gc` of a daemon.json has it. Rules are followed in their order. */
export interface GcPolicy {
  readonly enabled: boolean;
  readonly rules: readonly GcRule[];
}

export interface GcRule {
  /** As `cacheFilter` takes them. */
  readonly filters: readonly string[];
  /** Also what images share: it frees nothing until they go. */
  readonly all: boolean;
  /** What was used within so long is kept; 0 is no reason to keep. */
  readonly keepForMs: number;
  readonly space: SpaceLimits;
}

/** Bytes; 0 is not set. */
export interface SpaceLimits {
  /** So much is never taken from. */
  readonly reservedSpace: number;
  readonly maxUsedSpace: number;
  /** So much of the disk is to be free. */
  readonly minFreeSpace: number;
}

export const NO_LIMITS: SpaceLimits = { reservedSpace: 0, maxUsedSpace: 0, minFreeSpace: 0 };

/** How many bytes of `used` may stay; undefined if there is no limit, and what matches goes whatever its size. */
export function bytesToKeep(limits: SpaceLimits, used: number, free: number): number | undefined {
  const { maxUsedSpace, minFreeSpace, reservedSpace } = limits;
  if (maxUsedSpace === 0 && minFreeSpace === 0 && reservedSpace === 0) return undefined;
  let keep = maxUsedSpace === 0 ? (minFreeSpace === 0 ? reservedSpace : used) : maxUsedSpace;
  const excess = minFreeSpace - free;
  if (minFreeSpace > 0 && excess > 0) keep = Math.min(keep, used - excess);
  return Math.max(keep, reservedSpace);
}

/** In which order entries go: those used long ago first, and of these the seldom used. */
export function staleness(row: { readonly lastUsedAt: number; readonly usageCount: number }, now: number): number {
  const hours = Math.max(0, now - row.lastUsedAt) / 3_600_000;
  return hours / (1 + Math.log2(1 + row.usageCount) / 4);
}

const DAY_MS = 24 * 60 * 60 * 1000;

/** The rules where nobody gives others: what is quickly had again goes first, then what is old, then what is too much. */
export function defaultRules(limits: SpaceLimits): readonly GcRule[] {
  return [
    {
      filters: ["type==source.local", "type==source.git.checkout", "type==exec.cachemount"],
      all: false,
      keepForMs: 2 * DAY_MS,
      space: { ...NO_LIMITS, maxUsedSpace: 512 * 1024 ** 2 },
    },
    { filters: [], all: false, keepForMs: 60 * DAY_MS, space: limits },
    { filters: [], all: false, keepForMs: 0, space: limits },
    { filters: [], all: true, keepForMs: 0, space: limits },
  ];
}
