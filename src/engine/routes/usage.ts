import { DISK_USAGE_TYPES, type DiskUsageType } from "../../api/disk-usage.ts";
import { checkFilters } from "../../api/filters.ts";
import { compareVersions } from "../../api/version.ts";
import { GantryError } from "../../base/errors.ts";
import type { Metrics } from "../../base/metrics.ts";
import { json } from "../answer.ts";
import type { DiskUsageReader } from "../disk-usage.ts";
import { METRICS_HEADERS } from "../metrics-server.ts";
import type { Handlers } from "../route-request.ts";

const CACHE_FILTERS = "all until id label label! parent type description inuse shared private unused-for".split(" ");

/** What the engine takes up and counts. */
export function usageRoutes(
  diskUsage: DiskUsageReader,
  metrics: Metrics,
): Pick<Handlers, "buildPrune" | "diskUsage" | "metrics"> {
  return {
    // A `system prune` asks every engine; without a builder there is no cache to take from.
    buildPrune: async ({ query }) => {
      checkFilters(query.filters, CACHE_FILTERS);
      return json({ CachesDeleted: null, SpaceReclaimed: 0 });
    },
    diskUsage: async ({ query, version }) => {
      // The parameter came with 1.42, and what the builder takes up went.
      const isOld = compareVersions(version, "1.42") < 0;
      const usage = await diskUsage.read(
        new Set(isOld || query.type.length === 0 ? DISK_USAGE_TYPES : typesOf(query.type)),
      );
      return json(isOld ? { ...usage, BuilderSize: 0 } : usage);
    },
    metrics: async () => ({ kind: "text", body: await metrics.text(), headers: METRICS_HEADERS }),
  };
}

function typesOf(given: readonly string[]): DiskUsageType[] {
  return given.map((type) => {
    const known = DISK_USAGE_TYPES.find((each) => each === type);
    if (known === undefined) throw new GantryError("invalid", `unknown object type: ${type.slice(0, 100)}`);
    return known;
  });
}
