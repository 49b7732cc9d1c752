import type { ImageDeleteRow } from "../../api/image.ts";
import { humanSize } from "../../base/units.ts";
import { isOlder } from "../../client/client.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { boolFlag, bytesFlag, checkFilter, textFlag } from "../flags/spec.ts";
import { confirmed } from "../output/confirm.ts";
import { print } from "../output/print.ts";
import { pruneFilters, pruneQuery } from "../output/prune-filters.ts";

type Filters = ReadonlyMap<string, readonly string[]>;

/** What pruning one kind of thing did: the bytes it freed and the lines about it, "" for none. */
export interface Pruned {
  readonly bytes: number;
  readonly text: string;
}

const PRUNE_FLAGS = [
  textFlag("filter", 'Remove only what matches (e.g. "until=<timestamp>")', { type: "filter", check: checkFilter }),
  boolFlag("f,force", "Do not ask for confirmation"),
];

function listed(heading: string, lines: readonly string[]): string {
  return lines.length === 0 ? "" : `${heading}:\n${lines.map((line) => `${line}\n`).join("")}`;
}

export async function pruneStoppedContainers(call: Call, filters: Filters): Promise<Pruned> {
  const report = await call.client.json<{ ContainersDeleted: string[] | null; SpaceReclaimed: number }>(
    "POST",
    "/containers/prune",
    { query: { filters: pruneQuery(filters) } },
  );
  return { bytes: report.SpaceReclaimed, text: listed("Deleted Containers", report.ContainersDeleted ?? []) };
}

export async function pruneUnusedNetworks(call: Call, filters: Filters): Promise<Pruned> {
  const report = await call.client.json<{ NetworksDeleted: string[] | null }>("POST", "/networks/prune", {
    query: { filters: pruneQuery(filters) },
  });
  return { bytes: 0, text: listed("Deleted Networks", report.NetworksDeleted ?? []) };
}

/** Volumes without a name that nobody uses; with `all` those with a name too. */
export async function pruneUnusedVolumes(call: Call, filters: Filters, all: boolean): Promise<Pruned> {
  // Engines before 1.42 know no anonymous volumes: all are pruned, and the filter that says so is refused.
  const says = all && !isOlder(await call.client.negotiated(), "1.42");
  const report = await call.client.json<{ VolumesDeleted: string[] | null; SpaceReclaimed: number }>(
    "POST",
    "/volumes/prune",
    { query: { filters: pruneQuery(filters, says ? { all: "true" } : {}) } },
  );
  return { bytes: report.SpaceReclaimed, text: listed("Deleted Volumes", report.VolumesDeleted ?? []) };
}

export async function pruneUnusedImages(call: Call, filters: Filters, all: boolean): Promise<Pruned> {
  const report = await call.client.json<{ ImagesDeleted: ImageDeleteRow[] | null; SpaceReclaimed: number }>(
    "POST",
    "/images/prune",
    { query: { filters: pruneQuery(filters, { dangling: String(!all) }) } },
  );
  const lines = (report.ImagesDeleted ?? []).map((row) =>
    "Untagged" in row && row.Untagged
      ? `untagged: ${row.Untagged}`
      : `deleted: ${(row as { readonly Deleted: string }).Deleted}`,
  );
  return { bytes: report.SpaceReclaimed, text: listed("Deleted Images", lines) };
}

/** How much of the cache stays; 0 says nothing. */
export interface KeptSpace {
  readonly reserved: number;
  readonly mostUsed?: number;
  readonly leastFree?: number;
}

export async function pruneBuildCache(call: Call, filters: Filters, all: boolean, space: KeptSpace): Promise<Pruned> {
  const { reserved, mostUsed = 0, leastFree = 0 } = space;
  const report = await call.client.json<{ CachesDeleted: string[] | null; SpaceReclaimed: number }>(
    "POST",
    "/build/prune",
    {
      query: {
        filters: pruneQuery(filters),
        all,
        ...(reserved === 0 ? {} : { "keep-storage": reserved, "reserved-space": reserved }),
        ...(mostUsed === 0 ? {} : { "max-used-space": mostUsed }),
        ...(leastFree === 0 ? {} : { "min-free-space": leastFree }),
      },
    },
  );
  return { bytes: report.SpaceReclaimed, text: listed("Deleted build cache objects", report.CachesDeleted ?? []) };
}

function report(pruned: Pruned): number {
  print(`${pruned.text === "" ? "" : `${pruned.text}\n`}Total reclaimed space: ${humanSize(pruned.bytes)}\n`);
  return 0;
}

async function agreed(call: Call, warning: string, separator?: string): Promise<boolean> {
  return call.flags.bool("force") || (await confirmed(warning, separator));
}

export const pruneContainers: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: PRUNE_FLAGS,
  async run(call) {
    const filters = pruneFilters(call);
    if (!(await agreed(call, "WARNING! This will remove all stopped containers."))) return 0;
    return report(await pruneStoppedContainers(call, filters));
  },
};

export const pruneImages: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [boolFlag("a,all", "Remove all unused images, not just those without a name"), ...PRUNE_FLAGS],
  async run(call) {
    const all = call.flags.bool("all");
    const filters = pruneFilters(call);
    const warning = all
      ? "WARNING! This will remove all images without at least one container associated to them."
      : "WARNING! This will remove all dangling images.";
    if (!(await agreed(call, warning))) return 0;
    return report(await pruneUnusedImages(call, filters, all));
  },
};

export const pruneNetworks: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: PRUNE_FLAGS,
  since: "1.25",
  async run(call) {
    const filters = pruneFilters(call);
    if (!(await agreed(call, "WARNING! This will remove all custom networks not used by at least one container."))) {
      return 0;
    }
    const { text } = await pruneUnusedNetworks(call, filters);
    if (text !== "") print(`${text}\n`);
    return 0;
  },
};

export const pruneVolumes: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    boolFlag("a,all", "Remove all unused volumes, not just those without a name", { since: "1.42" }),
    ...PRUNE_FLAGS,
  ],
  async run(call) {
    const all = call.flags.bool("all");
    const filters = pruneFilters(call);
    if (all && filters.has("all"))
      throw new ExitError(1, "conflicting options: cannot specify both --all and --filter all=1");
    const anonymous = !all && !filters.has("all") && !isOlder(await versionOf(call), "1.42");
    const kind = anonymous ? "anonymous" : "all";
    const warning = `WARNING! This will remove ${kind} local volumes not used by at least one container.`;
    if (!(await agreed(call, warning))) return 0;
    return report(await pruneUnusedVolumes(call, filters, all));
  },
};

async function versionOf(call: Call): Promise<string> {
  // An engine that doesn't answer is complained of when it is asked to prune.
  return await call.client.negotiated().catch(() => call.client.version);
}

export const pruneBuilder: Command = {
  usage: "",
  args: { rule: "none" },
  flags: [
    boolFlag("a,all", "Remove all unused build cache, not just what nothing refers to"),
    ...PRUNE_FLAGS,
    bytesFlag("keep-storage", "Disk space to keep for the cache", { hidden: true }),
    bytesFlag("max-used-space", "Maximum amount of disk space allowed to keep for cache"),
    bytesFlag("min-free-space", "Target amount of free disk space after pruning"),
    bytesFlag("reserved-space", "Amount of disk space always allowed to keep for cache"),
  ],
  async run(call) {
    const all = call.flags.bool("all");
    const filters = pruneFilters(call);
    const warning = `WARNING! This will remove all ${all ? "" : "dangling "}build cache.`;
    if (!(await agreed(call, warning, " "))) return 0;
    return report(
      await pruneBuildCache(call, filters, all, {
        reserved: call.flags.int("reserved-space") || call.flags.int("keep-storage"),
        mostUsed: call.flags.int("max-used-space"),
        leastFree: call.flags.int("min-free-space"),
      }),
    );
  },
};
