import { DISK_USAGE_TYPES, type DiskUsageType } from "../../api/disk-usage.ts";
import { compareVersions } from "../../api/version.ts";
import { GantryError } from "../../base/errors.ts";
import type { Metrics } from "../../base/metrics.ts";
import { json } from "../answer.ts";
import type { DiskUsageReader } from "../disk-usage.ts";
import { METRICS_HEADERS } from "../metrics-server.ts";
import type { Handlers } from "../route-request.ts";

/** What the engine takes up and counts. */
export function usageRoutes(diskUsage: DiskUsageReader, metrics: Metrics): Pick<Handlers, "diskUsage" | "metrics"> {
  return {
    diskUsage: async ({ query, version }) => {
      // The parameter came with 1.42, and what the builder takes up went.
      const isOld = compareVersions(version, "1.42") < 0;
      const usage = await diskUsage.read(
        new Set(isOld || query.type.length === 0 ? DISK_USAGE_TYPES : typesOf(query.type)),
      );
      const size = usage.BuildCache?.reduce((sum, { Shared, Size }) => sum + (Shared ? 0 : Size), 0);
      return json(isOld ? { ...usage, BuilderSize: size ?? 0 } : usage);
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
