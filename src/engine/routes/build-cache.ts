import type { BuildHistoryRow } from "../../api/build-history.ts";
import { booleanFilter, checkFilters, type Filters, untilFilter } from "../../api/filters.ts";
import { compareVersions } from "../../api/version.ts";
import { GantryError } from "../../base/errors.ts";
import type { Builder, BuildRecord, PruneOptions } from "../../build/builder.ts";
import { eventLine } from "../../build/event-line.ts";
import { empty, json, stream } from "../answer.ts";
import type { Handlers, RouteRequest } from "../route-request.ts";

type CacheRoutes = Pick<
  Handlers,
  | "buildCancel"
  | "buildHistoryEvents"
  | "buildHistoryInspect"
  | "buildHistoryList"
  | "buildHistoryRemove"
  | "buildPrune"
>;

const FLAGS = ["inuse", "shared", "private"];
const TEXTS = ["id", "parent", "type", "description"];
/** Clients send these with every prune of all: what the builder keeps has no labels. */
const IGNORED = ["all", "label", "label!"];

/** What builds leave: their cache and their history. */
export function buildCacheRoutes(builder: Builder): CacheRoutes {
  const found = (id: string): BuildRecord => {
    const record = builder.history.get(id);
    if (record === undefined) throw new GantryError("not-found", `no build ${id.slice(0, 100)} in the history`);
    return record;
  };
  return {
    buildPrune: async (request) => {
      const { deleted, spaceReclaimed } = await builder.prune(pruneOptions(request));
      return json({ CachesDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: spaceReclaimed });
    },
    buildCancel: ({ query }) => {
      if (!query.id) throw new GantryError("invalid", "build ID not provided");
      builder.cancel(query.id);
      return empty(200);
    },
    buildHistoryList: () => json(builder.history.list().map(historyRow)),
    buildHistoryInspect: ({ params }) => json(historyRow(found(params.id!))),
    buildHistoryEvents: ({ params, signal }) => {
      found(params.id!);
      return stream("application/json", eventLines(builder, params.id!, signal));
    },
    buildHistoryRemove: async ({ params }) => {
      await builder.history.remove(params.id!);
      return empty();
    },
  };
}

async function* eventLines(builder: Builder, id: string, signal: AbortSignal): AsyncGenerator<string> {
  for await (const event of builder.history.events(id, signal)) yield eventLine(event);
}

function pruneOptions({ query, version }: RouteRequest<"buildPrune">): PruneOptions {
  const { filters } = query;
  checkFilters(filters, [...FLAGS, ...TEXTS, ...IGNORED, "until", "unused-for"]);
  // A word from before 1.48, which is still understood.
  const kept = bytes("keep-storage", query["keep-storage"]);
  const space = (name: "reserved-space" | "max-used-space" | "min-free-space") =>
    compareVersions(version, "1.48") < 0 ? undefined : bytes(name, query[name]);
  return {
    all: query.all || booleanFilter(filters, "all") === true,
    reservedSpace: space("reserved-space") ?? kept ?? 0,
    maxUsedSpace: space("max-used-space") ?? 0,
    minFreeSpace: space("min-free-space") ?? 0,
    keepForMs: keepFor(filters),
    filters: conditions(filters),
  };
}

/** Milliseconds that what was used lately stays. */
function keepFor(filters: Filters): number {
  const { until = [], "unused-for": unusedFor = [] } = filters;
  if (until.length > 0 && unusedFor.length > 0) {
    throw new GantryError("invalid", "conflicting filters: until and unused-for");
  }
  const now = Date.now();
  const moment = untilFilter({ until: [...until, ...unusedFor] }, now);
  return moment === undefined ? 0 : Math.max(0, now - moment);
}

/** All must hold: one text of conditions. */
function conditions(filters: Filters): readonly string[] {
  const texts: string[] = [];
  for (const field of [...FLAGS, ...TEXTS]) {
    const values = filters[field];
    if (values === undefined) continue;
    if (values.length > 1) throw new GantryError("invalid", "filters expect only one value");
    const [value] = values;
    if (value === undefined) texts.push(field);
    else texts.push(`${field}${field === "id" ? "~=" : "=="}${JSON.stringify(value)}`);
  }
  return texts.length === 0 ? [] : [texts.join(",")];
}

function bytes(name: string, text: string | undefined): number | undefined {
  if (!text) return undefined;
  if (/^\d{1,16}$/.test(text)) return Number(text);
  throw new GantryError("invalid", `${name} is in bytes and expects an integer, got ${text.slice(0, 100)}`);
}

function historyRow(record: BuildRecord): BuildHistoryRow {
  const { completedAt } = record;
  return {
    Id: record.id,
    Name: record.name,
    CreatedAt: new Date(record.createdAt).toISOString(),
    CompletedAt: completedAt === undefined ? null : new Date(completedAt).toISOString(),
    Error: record.error ?? "",
    Target: record.target,
    Platforms: [...record.platforms],
    Steps: record.steps,
    CachedSteps: record.cachedSteps,
    Warnings: record.warnings,
    Attributes: { ...record.attributes },
    Metadata: { ...record.metadata },
  };
}
