import type { Volume, VolumeUsage } from "../../api/volume.ts";
import { bytesSize } from "../../base/units.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import type { ParsedFlags } from "../flags/parse.ts";
import { boolFlag, bytesFlag, filterFlag, listFlag, mapFlag, textFlag } from "../flags/spec.ts";
import { filtersOf } from "../output/filters.ts";
import { printListing, type Row } from "../output/format.ts";
import { printLine } from "../output/print.ts";
import { FORMAT_USAGE, labelsText, sizeText } from "../output/text.ts";
import { pairs } from "../run/environment.ts";
import { forEachName, segment } from "./lifecycle.ts";

const HEADINGS = {
  Name: "VOLUME NAME",
  Driver: "DRIVER",
  Scope: "SCOPE",
  Mountpoint: "MOUNTPOINT",
  Labels: "LABELS",
  Links: "LINKS",
  Size: "SIZE",
  Limit: "LIMIT",
  Group: "GROUP",
  Availability: "AVAILABILITY",
  Status: "STATUS",
};

export const volumes: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    boolFlag("cluster", "Display only volumes of a cluster", { since: "1.42" }),
    filterFlag('Show only what matches (e.g. "dangling=true")'),
    textFlag("format", FORMAT_USAGE),
    boolFlag("q,quiet", "Only display volume names"),
    boolFlag("s,size", "Display what volumes hold, and their limits"),
  ],
  async run(call) {
    const { flags } = call;
    const sizes = flags.bool("size") ? await usageOf(call) : new Map<string, VolumeUsage>();
    const answer = await call.client.json<{ Volumes: Volume[] | null }>("GET", "/volumes", {
      query: { filters: filtersOf(flags.list("filter")) },
    });
    const all = (answer.Volumes ?? []) as (Volume & { readonly ClusterVolume?: ClusterVolume })[];
    const found = all
      .filter((volume) => !flags.bool("cluster") || volume.ClusterVolume)
      .sort((a, b) => a.Name.localeCompare(b.Name, "en", { numeric: true }));
    const format = flags.text("format") || (flags.bool("quiet") ? "" : (call.settings.config().volumesFormat ?? ""));
    await printListing({
      format,
      quiet: flags.bool("quiet"),
      raw: [
        ["name", "Name"],
        ["driver", "Driver"],
      ],
      columns: flags.bool("cluster")
        ? ["Name", "Group", "Driver", "Availability", "Status"]
        : ["Driver", "Name", ...(flags.bool("size") ? ["Size", "Limit"] : [])],
      headings: HEADINGS,
      type: "*formatter.volumeContext",
      rows: found.map((volume) => ({
        Name: volume.Name,
        Driver: volume.Driver,
        Scope: volume.Scope,
        Mountpoint: volume.Mountpoint,
        Labels: labelsText(volume.Labels),
        Label: (name: unknown) => volume.Labels?.[String(name)] ?? "",
        ...sizeOf(volume, sizes.get(volume.Name)),
        Group: volume.ClusterVolume?.Spec.Group ?? "N/A",
        Availability: volume.ClusterVolume?.Spec.Availability ?? "N/A",
        Status: statusOf(volume.ClusterVolume),
      })),
    });
    return 0;
  },
};

async function usageOf(call: Call): Promise<ReadonlyMap<string, VolumeUsage>> {
  const rows = await call.client.json<VolumeUsage[]>("GET", "/gantry/volumes/usage");
  return new Map(rows.map((row) => [row.Name, row]));
}

/** Nothing but `--size` and `system df` have volumes measured. */
function sizeOf({ UsageData }: Volume, usage: VolumeUsage | undefined): Row {
  if (usage !== undefined) {
    return {
      Links: String(usage.Containers.length),
      Size: usage.Size < 0 ? "N/A" : bytesSize(usage.Size),
      Limit: usage.Limit === 0 ? "-" : bytesSize(usage.Limit),
    };
  }
  return {
    Links: UsageData ? String(UsageData.RefCount) : "N/A",
    Size: UsageData ? sizeText(UsageData.Size) : "N/A",
  };
}

interface ClusterVolume {
  readonly Version: { readonly Index: number };
  readonly Spec: { readonly Group?: string; readonly Availability?: string };
  readonly Info?: { readonly VolumeID?: string };
  readonly PublishStatus?: readonly { readonly State: string }[];
}

function statusOf(cluster: ClusterVolume | undefined): string {
  if (cluster === undefined) return "N/A";
  if (!cluster.Info?.VolumeID) return "pending creation";
  const published = (cluster.PublishStatus ?? []).filter((status) => status.State === "published").length;
  if (published > 0) return `in use (${published} node${published === 1 ? "" : "s"})`;
  return "created";
}

const AVAILABILITY = textFlag("availability", 'Availability of a volume of a cluster ("active", "pause", "drain")', {
  initial: "active",
  since: "1.42",
});

const CLUSTER = { since: "1.42" } as const;

/** The flags of which any makes the volume one of a cluster. */
const CLUSTER_FLAGS = [
  AVAILABILITY,
  textFlag("group", "Group of volumes of a cluster", CLUSTER),
  bytesFlag("limit-bytes", "Largest size of a volume of a cluster", CLUSTER),
  bytesFlag("required-bytes", "Smallest size of a volume of a cluster", CLUSTER),
  textFlag("scope", 'Nodes that may use it at once ("single", "multi")', { ...CLUSTER, initial: "single" }),
  mapFlag("secret", "Secrets of a volume of a cluster", CLUSTER),
  textFlag("sharing", 'Tasks that may use it at once ("none", "readonly", "onewriter", "all")', {
    ...CLUSTER,
    initial: "none",
  }),
  listFlag("topology-preferred", "Topology to put it in if possible", CLUSTER),
  listFlag("topology-required", "Topology that it must be reached from", CLUSTER),
  textFlag("type", 'How it is used ("mount", "block")', { ...CLUSTER, initial: "block" }),
];

function clusterSpec(flags: ParsedFlags): unknown {
  const topology = (name: string): unknown =>
    flags.list(name).map((text) => ({ Segments: pairs(text.split(",").map((segment) => segment.trim())) }));
  const type = flags.text("type");
  const secrets = Object.entries(pairs(flags.list("secret"))).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    Group: flags.text("group"),
    AccessMode: {
      Scope: flags.text("scope"),
      Sharing: flags.text("sharing"),
      ...(type === "mount" ? { MountVolume: {} } : type === "block" ? { BlockVolume: {} } : {}),
    },
    CapacityRange: { RequiredBytes: flags.int("required-bytes"), LimitBytes: flags.int("limit-bytes") },
    ...(secrets.length === 0 ? {} : { Secrets: secrets.map(([Key, Secret]) => ({ Key, Secret })) }),
    AccessibilityRequirements: {
      Requisite: topology("topology-required"),
      Preferred: topology("topology-preferred"),
    },
    Availability: flags.text("availability"),
  };
}

export const updateVolume: Command = {
  usage: "[OPTIONS] VOLUME",
  args: { rule: "exactly", count: 1 },
  // What grows a volume is no part of Docker's API, and in none of its versions.
  since: (flags) => (flags.changed("size") ? undefined : "1.42"),
  flags: [AVAILABILITY, textFlag("size", "Make a volume that was created with a size this large")],
  async run(call) {
    const [name = ""] = call.args;
    const size = call.flags.text("size");
    if (size !== "") {
      await call.client.done("POST", `/gantry/volumes/${segment(name, "volume")}/resize`, { query: { size } });
      return 0;
    }
    const path = `/volumes/${segment(name, "volume")}`;
    const cluster = (await call.client.json<{ readonly ClusterVolume?: ClusterVolume }>("GET", path)).ClusterVolume;
    if (cluster === undefined) {
      throw new ExitError(1, "can only update cluster volumes, and by --size those that were created with a size");
    }
    const spec = call.flags.changed("availability")
      ? { ...cluster.Spec, Availability: call.flags.text("availability") }
      : cluster.Spec;
    await call.client.done("PUT", path, { query: { version: cluster.Version.Index }, json: { Spec: spec } });
    return 0;
  },
};

export const createVolume: Command = {
  usage: "[OPTIONS] [VOLUME]",
  args: { rule: "at-most", count: 1 },
  flags: [
    ...CLUSTER_FLAGS,
    textFlag("d,driver", "Driver of the volume", { initial: "local" }),
    listFlag("label", "Set a label on the volume"),
    textFlag("name", "Name of the volume", { hidden: true }),
    mapFlag("o,opt", "Set options of the driver"),
  ],
  async run(call) {
    const { flags } = call;
    if (flags.changed("name") && call.args.length > 0) {
      throw new ExitError(
        1,
        "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
      );
    }
    const name = call.args[0] ?? flags.text("name");
    const json = {
      Driver: flags.text("driver"),
      ...(flags.changed("opt") ? { DriverOpts: pairs(flags.list("opt")) } : {}),
      ...(flags.changed("label") ? { Labels: pairs(flags.list("label")) } : {}),
      ...(name === "" ? {} : { Name: name }),
      ...(CLUSTER_FLAGS.some((flag) => flags.changed(flag.name)) ? { ClusterVolumeSpec: clusterSpec(flags) } : {}),
    };
    printLine((await call.client.json<Volume>("POST", "/volumes/create", { json })).Name);
    return 0;
  },
};

export const removeVolumes: Command = {
  usage: "[OPTIONS] VOLUME [VOLUME...]",
  args: { rule: "at-least", count: 1 },
  long: "Remove one or more volumes. A volume that a container uses cannot be removed; one with snapshots only by force.",
  flags: [boolFlag("f,force", "Do not complain about a volume that is not there, and remove snapshots with theirs")],
  run: (call) =>
    forEachName(call, async (name) => {
      await call.client.done("DELETE", `/volumes/${segment(name, "volume")}`, {
        query: { force: call.flags.bool("force") },
      });
      return undefined;
    }),
};
