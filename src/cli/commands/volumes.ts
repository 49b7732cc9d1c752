import type { Volume } from "../../api/volume.ts";
import type { Command } from "../command.ts";
import { ExitError } from "../command.ts";
import { boolFlag, filterFlag, listFlag, mapFlag, textFlag } from "../flags/spec.ts";
import { filtersOf } from "../output/filters.ts";
import { printListing } from "../output/format.ts";
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
  Group: "GROUP",
  Availability: "AVAILABILITY",
  Status: "STATUS",
};

export const volumes: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    filterFlag('Show only what matches (e.g. "dangling=true")'),
    textFlag("format", FORMAT_USAGE),
    boolFlag("q,quiet", "Only display volume names"),
  ],
  async run(call) {
    const { flags } = call;
    const answer = await call.client.json<{ Volumes: Volume[] | null }>("GET", "/volumes", {
      query: { filters: filtersOf(flags.list("filter")) },
    });
    const found = [...(answer.Volumes ?? [])].sort((a, b) => a.Name.localeCompare(b.Name, "en", { numeric: true }));
    const format = flags.text("format") || (flags.bool("quiet") ? "" : (call.settings.config().volumesFormat ?? ""));
    if (flags.bool("quiet") && format === "") {
      for (const volume of found) printLine(volume.Name);
      return 0;
    }
    await printListing({
      format,
      columns: ["Driver", "Name"],
      headings: HEADINGS,
      type: "*formatter.volumeContext",
      rows: found.map((volume) => ({
        Name: volume.Name,
        Driver: volume.Driver,
        Scope: volume.Scope,
        Mountpoint: volume.Mountpoint,
        Labels: labelsText(volume.Labels),
        Label: (name: unknown) => volume.Labels?.[String(name)] ?? "",
        Links: volume.UsageData ? String(volume.UsageData.RefCount) : "N/A",
        Size: volume.UsageData ? sizeText(volume.UsageData.Size) : "N/A",
        Group: "N/A",
        Availability: "N/A",
        Status: "N/A",
      })),
    });
    return 0;
  },
};

export const createVolume: Command = {
  usage: "[OPTIONS] [VOLUME]",
  args: { rule: "at-most", count: 1 },
  flags: [
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
    };
    printLine((await call.client.json<Volume>("POST", "/volumes/create", { json })).Name);
    return 0;
  },
};

export const removeVolumes: Command = {
  usage: "[OPTIONS] VOLUME [VOLUME...]",
  args: { rule: "at-least", count: 1 },
  long: "Remove one or more volumes. A volume that a container uses cannot be removed.",
  flags: [boolFlag("f,force", "Do not complain about a volume that is not there")],
  run: (call) =>
    forEachName(call, async (name) => {
      await call.client.done("DELETE", `/volumes/${segment(name)}`, { query: { force: call.flags.bool("force") } });
      return undefined;
    }),
};
