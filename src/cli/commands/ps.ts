import type { ContainerSummary } from "../../api/container.ts";
import { Shown } from "../../base/template/values.ts";
import type { Command } from "../command.ts";
import { boolFlag, filterFlag, intFlag, textFlag } from "../flags/spec.ts";
import { filtersOf } from "../output/filters.ts";
import { printListing, type Row } from "../output/format.ts";
import { portsText } from "../output/ports.ts";
import { complain } from "../output/print.ts";
import { agoText, ellipsis, FORMAT_USAGE, labelsText, shortId, sizeText, timeText } from "../output/text.ts";

export const HEADINGS = {
  ID: "CONTAINER ID",
  Names: "NAMES",
  Image: "IMAGE",
  Command: "COMMAND",
  CreatedAt: "CREATED AT",
  RunningFor: "CREATED",
  Ports: "PORTS",
  State: "STATE",
  Status: "STATUS",
  Size: "SIZE",
  Labels: "LABELS",
  Mounts: "MOUNTS",
  LocalVolumes: "LOCAL VOLUMES",
  Networks: "NETWORKS",
  Platform: "PLATFORM",
};

const RAW = [
  ["container_id", "ID"],
  ["image", "Image"],
  ["command", "Command"],
  ["created_at", "CreatedAt"],
  ["state", "State"],
  ["status", "Status"],
  ["names", "Names"],
  ["labels", "Labels"],
  ["ports", "Ports"],
] as const;

export const ps: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    boolFlag("a,all", "Show all containers (default shows just running)"),
    filterFlag(),
    textFlag("format", FORMAT_USAGE),
    intFlag("n,last", "Show the n containers created last, in any state", { initial: "-1", shownDefault: "-1" }),
    boolFlag("l,latest", "Show the container created last, in any state"),
    boolFlag("no-trunc", "Don't truncate output"),
    boolFlag("q,quiet", "Only display container IDs"),
    boolFlag("s,size", "Display total file sizes"),
  ],
  async run(call) {
    const { flags } = call;
    const given = flags.text("format") || (flags.bool("quiet") ? "" : (call.settings.config().psFormat ?? ""));
    if (flags.bool("quiet") && flags.text("format") !== "") {
      complain("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    const format = flags.bool("quiet") && given !== "raw" ? "" : given;
    const size = flags.bool("size") || /\.Size\b|\bjson \.[\s})|]/.test(format);
    const last = flags.bool("latest") && flags.int("last") === -1 ? 1 : flags.int("last");
    const containers = await call.client.json<ContainerSummary[]>("GET", "/containers/json", {
      query: {
        all: flags.bool("all"),
        limit: last > 0 ? last : undefined,
        size,
        filters: filtersOf(flags.list("filter")),
      },
    });
    const full = flags.bool("no-trunc");
    await printListing({
      format,
      quiet: flags.bool("quiet"),
      raw: size ? [...RAW, ["size", "Size"]] : RAW,
      columns: ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", ...(size ? ["Size"] : [])],
      headings: HEADINGS,
      type: "*formatter.ContainerContext",
      faults: ["failed to parse template", "failed to execute template"],
      rows: containers.map((container) => rowOf(container, full)),
      ...(containers.length === 0 ? { probe: rowOf(NO_CONTAINER, full) } : {}),
    });
    return 0;
  },
};

const NO_CONTAINER = {
  Id: "",
  Names: [],
  Image: "",
  ImageID: "",
  Command: "",
  Created: 0,
  State: "",
  Status: "",
  Ports: [],
  Labels: {},
  Mounts: [],
} as unknown as ContainerSummary;

export function rowOf(container: ContainerSummary, full: boolean): Row {
  const names = container.Names.map((name) => name.replace(/^\//, ""));
  const mounts = (container.Mounts ?? []).map((mount) => mount.Name || mount.Source);
  const command = full ? container.Command : ellipsis(container.Command, 20);
  const image = container.Image === "" ? "<no image>" : container.Image;
  return {
    ID: full ? container.Id : shortId(container.Id),
    Names: (full ? names : names.filter((name) => !name.includes("/"))).join(","),
    Image:
      !full && container.ImageID.replace(/^sha256:/, "") === image.replace(/^sha256:/, "") ? shortId(image) : image,
    Command: JSON.stringify(command),
    // What the table doesn't show is worked out only if it is asked for: the first local time costs milliseconds.
    get CreatedAt() {
      return timeText(container.Created);
    },
    RunningFor: agoText(container.Created),
    Ports: portsText(container.Ports ?? []),
    State: container.State,
    Status: container.Status,
    get Size() {
      const virtual = (container.SizeRootFs ?? 0) > 0 ? ` (virtual ${sizeText(container.SizeRootFs ?? 0)})` : "";
      return `${sizeText(container.SizeRw ?? 0)}${virtual}`;
    },
    get Labels() {
      return labelsText(container.Labels);
    },
    Label: (name) => container.Labels?.[String(name)] ?? "",
    Mounts: mounts.map((mount) => (full ? mount : ellipsis(mount, 15))).join(","),
    LocalVolumes: String((container.Mounts ?? []).filter((mount) => mount.Driver === "local").length),
    Networks: Object.keys(container.NetworkSettings?.Networks ?? {}).join(","),
    Platform: platformOf(container),
  };
}

/** The platform of the image, where the engine says it. */
function platformOf(container: ContainerSummary): Shown {
  const { platform } = container.ImageManifestDescriptor ?? {};
  if (platform === undefined) return new Shown("<nil>", null);
  const parts = [platform.os, platform.architecture, platform.variant].filter(
    (part) => part !== undefined && part !== "",
  );
  return new Shown(parts.join("/"), platform);
}
