import { decodeJson } from "../../api/decode.ts";
import { booleanFilter, checkFilters, type Filters, matchLabels } from "../../api/filters.ts";
import { volumeCreateRequest } from "../../api/request.ts";
import { compareVersions } from "../../api/version.ts";
import type { Volume } from "../../api/volume.ts";
import { GantryError } from "../../base/errors.ts";
import { linearPattern } from "../../base/linear-pattern.ts";
import type { VolumeStore } from "../../volumes/volume.ts";
import { empty, json } from "../answer.ts";
import type { Handlers } from "../route-request.ts";

type VolumeRoutes = Pick<
  Handlers,
  "volumeCreate" | "volumeInspect" | "volumeList" | "volumePrune" | "volumeRemove" | "volumeUpdate"
>;

/** `isUsed` says whether a container refers to a volume of that name. */
export function volumeRoutes(volumes: VolumeStore, isUsed: (name: string) => Promise<boolean>): VolumeRoutes {
  return {
    volumeList: async ({ query }) => {
      checkFilters(query.filters, ["dangling", "driver", "label", "name"]);
      const { volumes: all, warnings } = await volumes.listAll();
      const found = all.filter((volume) => matches(volume, query.filters));
      const Warnings = warnings.length === 0 ? null : warnings;
      return json({ Volumes: await byUse(found, booleanFilter(query.filters, "dangling"), isUsed), Warnings });
    },
    volumeInspect: async ({ params }) => {
      const volume = await volumes.inspect(params.name!);
      if (volume === undefined) throw new GantryError("not-found", `get ${params.name}: no such volume`);
      return json(volume);
    },
    volumeCreate: async (request) => {
      const document = await request.document();
      const body = document === "" ? volumeCreateRequest.zero() : decodeJson(volumeCreateRequest, document);
      if (body.ClusterVolumeSpec !== undefined) {
        throw new GantryError(
          "unavailable",
          'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
        );
      }
      const volume = await volumes.make({
        name: body.Name === "" ? undefined : body.Name,
        driver: body.Driver === "" ? undefined : body.Driver,
        labels: body.Labels ?? undefined,
        options: body.DriverOpts ?? undefined,
      });
      return json(volume, 201);
    },
    volumePrune: async ({ query, version }) => {
      const isOld = compareVersions(version, "1.42") < 0;
      if (isOld && query.filters.all !== undefined) throw new GantryError("invalid", "invalid filter 'all'");
      // Before API 1.42 a prune took volumes with a name too.
      const filters: Filters = isOld ? { ...query.filters, all: ["true"] } : query.filters;
      const { deleted, spaceReclaimed } = await volumes.prune(filters);
      return json({ VolumesDeleted: deleted, SpaceReclaimed: spaceReclaimed });
    },
    volumeUpdate: () => {
      throw new GantryError("unavailable", "volume update only valid for cluster volumes, but swarm is unavailable");
    },
    volumeRemove: async ({ params, query }) => {
      await volumes.remove(params.name!, { force: query.force });
      return empty();
    },
  };
}

function matches(volume: Volume, filters: Filters): boolean {
  const any = (values: readonly string[] | undefined, test: (value: string) => boolean) =>
    values === undefined || values.length === 0 || values.some(test);
  const named = (value: string) => value === volume.Name || isPatternOf(value, volume.Name);
  return (
    matchLabels(volume.Labels, filters.label ?? []) &&
    any(filters.name, named) &&
    any(filters.driver, (value) => volume.Driver === value)
  );
}

/** What is no expression is compared as it is written. */
function isPatternOf(value: string, name: string): boolean {
  try {
    return linearPattern(value)(name);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return name.includes(value);
  }
}

async function byUse(
  volumes: readonly Volume[],
  dangling: boolean | undefined,
  isUsed: (name: string) => Promise<boolean>,
): Promise<readonly Volume[]> {
  if (dangling === undefined) return volumes;
  const kept: Volume[] = [];
  for (const volume of volumes) if ((await isUsed(volume.Name)) !== dangling) kept.push(volume);
  return kept;
}
