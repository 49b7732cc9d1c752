import type { ImageDeleteRow } from "../../api/image.ts";
import { humanSize } from "../../base/units.ts";
import { type Command, ExitError } from "../command.ts";
import { boolFlag, checkFilter, textFlag } from "../flags/spec.ts";
import { confirmed } from "../output/confirm.ts";
import { filtersOf } from "../output/filters.ts";
import { print } from "../output/print.ts";

const FLAGS = [
  textFlag("filter", 'Remove only what matches (e.g. "until=<timestamp>")', { type: "filter", check: checkFilter }),
  boolFlag("f,force", "Do not ask for confirmation"),
];

const CANCELLED = new ExitError(1, "container prune has been cancelled");

export const pruneContainers: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: FLAGS,
  async run(call) {
    if (!call.flags.bool("force") && !(await confirmed("WARNING! This will remove all stopped containers.")))
      throw CANCELLED;
    const report = await call.client.json<{ ContainersDeleted: string[] | null; SpaceReclaimed: number }>(
      "POST",
      "/containers/prune",
      { query: { filters: filtersOf(call.flags.list("filter")) } },
    );
    const ids = report.ContainersDeleted ?? [];
    if (ids.length > 0) print(`Deleted Containers:\n${ids.map((id) => `${id}\n`).join("")}\n`);
    print(`Total reclaimed space: ${humanSize(report.SpaceReclaimed)}\n`);
    return 0;
  },
};

export const pruneImages: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [boolFlag("a,all", "Remove all unused images, not just those without a name"), ...FLAGS],
  async run(call) {
    const all = call.flags.bool("all");
    const warning = all
      ? "WARNING! This will remove all images without at least one container associated to them."
      : "WARNING! This will remove all dangling images.";
    if (!call.flags.bool("force") && !(await confirmed(warning)))
      throw new ExitError(1, "image prune has been cancelled");
    const report = await call.client.json<{ ImagesDeleted: ImageDeleteRow[] | null; SpaceReclaimed: number }>(
      "POST",
      "/images/prune",
      { query: { filters: filtersOf(call.flags.list("filter"), { dangling: String(!all) }) } },
    );
    const rows = report.ImagesDeleted ?? [];
    const lines = rows.map((row) =>
      "Untagged" in row && row.Untagged
        ? `untagged: ${row.Untagged}\n`
        : `deleted: ${(row as { Deleted: string }).Deleted}\n`,
    );
    if (lines.length > 0) print(`Deleted Images:\n${lines.join("")}\n`);
    print(`Total reclaimed space: ${humanSize(report.SpaceReclaimed)}\n`);
    return 0;
  },
};
