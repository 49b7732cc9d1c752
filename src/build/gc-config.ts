import { parseDuration } from "../base/duration.ts";
import { ramInBytes } from "../base/units.ts";
import { cacheFilter } from "./cache/filter.ts";
import { defaultRules, type GcPolicy, type GcRule, type SpaceLimits } from "./cache/policy.ts";

/** `builder.gc` of a daemon.json, checked. */
export interface GcConfig {
  readonly enabled: boolean;
  /** Bytes; undefined goes by the size of the disk. */
  readonly reservedSpace: number | undefined;
  readonly maxUsedSpace: number | undefined;
  readonly minFreeSpace: number | undefined;
  /** Empty: the usual ones. */
  readonly rules: readonly GcRule[];
}

export const DEFAULT_GC: GcConfig = {
  enabled: true,
  reservedSpace: undefined,
  maxUsedSpace: undefined,
  minFreeSpace: undefined,
  rules: [],
};

/** What is kept on a disk of this size. */
export function gcPolicy({ enabled, rules, ...given }: GcConfig, diskBytes: number): GcPolicy {
  const limits: SpaceLimits = {
    reservedSpace: given.reservedSpace ?? Math.floor(diskBytes / 10),
    maxUsedSpace: given.maxUsedSpace ?? Math.floor(diskBytes * 0.6),
    minFreeSpace: given.minFreeSpace ?? Math.floor(diskBytes / 5),
  };
  return { enabled, rules: rules.length > 0 ? rules : defaultRules(limits) };
}

/** Reads what a daemon.json has, or a flag: `true`, `false`, or the object as JSON. Throws an Error with the reason alone. */
export function readGcConfig(given: unknown): GcConfig {
  if (typeof given === "boolean") return { ...DEFAULT_GC, enabled: given };
  const fields = objectOf(given, [
    "enabled",
    "defaultKeepStorage",
    "defaultReservedSpace",
    "defaultMaxUsedSpace",
    "defaultMinFreeSpace",
    "policy",
  ]);
  const { policy = [] } = fields;
  if (!Array.isArray(policy)) throw new Error("gc.policy is no list");
  return {
    enabled: fields.enabled === undefined ? true : flagOf("gc.enabled", fields.enabled),
    reservedSpace: bytesOf("gc.defaultReservedSpace", fields.defaultReservedSpace ?? fields.defaultKeepStorage),
    maxUsedSpace: bytesOf("gc.defaultMaxUsedSpace", fields.defaultMaxUsedSpace),
    minFreeSpace: bytesOf("gc.defaultMinFreeSpace", fields.defaultMinFreeSpace),
    rules: policy.map(ruleOf),
  };
}

function ruleOf(given: unknown): GcRule {
  const fields = objectOf(given, [
    "all",
    "filter",
    "keepDuration",
    "keepStorage",
    "reservedSpace",
    "maxUsedSpace",
    "minFreeSpace",
  ]);
  const { filter = [], keepDuration } = fields;
  if (!Array.isArray(filter)) throw new Error("filter of a rule of gc.policy is no list");
  let keepForMs = keepDuration === undefined ? 0 : durationOf(keepDuration);
  const conditions: string[] = [];
  for (const text of filter) {
    if (typeof text !== "string") throw new Error("a filter of gc.policy is no text");
    const age = /^(?:unused-for|until)=(.*)$/.exec(text)?.[1];
    if (age !== undefined) keepForMs = durationOf(age);
    else conditions.push(text);
  }
  // All of a rule's conditions must hold.
  const filters = conditions.length === 0 ? [] : [conditions.join(",")];
  cacheFilter(filters);
  return {
    filters,
    all: fields.all === undefined ? false : flagOf("all", fields.all),
    keepForMs,
    space: {
      reservedSpace: bytesOf("reservedSpace", fields.reservedSpace ?? fields.keepStorage) ?? 0,
      maxUsedSpace: bytesOf("maxUsedSpace", fields.maxUsedSpace) ?? 0,
      minFreeSpace: bytesOf("minFreeSpace", fields.minFreeSpace) ?? 0,
    },
  };
}

function objectOf(given: unknown, known: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof given !== "object" || given === null || Array.isArray(given)) throw new Error("gc is no object");
  const unknown = Object.keys(given).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new Error(`there is no ${unknown} in gc: there are ${known.join(", ")}`);
  return given as Record<string, unknown>;
}

function flagOf(name: string, given: unknown): boolean {
  if (typeof given !== "boolean") throw new Error(`${name} is neither true nor false`);
  return given;
}

function bytesOf(name: string, given: unknown): number | undefined {
  if (given === undefined) return undefined;
  if (typeof given !== "string" && typeof given !== "number") throw new Error(`${name} is no size`);
  const bytes = ramInBytes(String(given));
  if (bytes < 0) throw new Error(`${name} is less than 0`);
  return bytes;
}

function durationOf(given: unknown): number {
  if (typeof given === "number") return given / 1e6;
  if (typeof given !== "string") throw new Error("a duration of gc.policy is no text");
  return parseDuration(given) / 1e6;
}
