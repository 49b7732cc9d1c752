import type { VolumeUsage } from "../../api/volume.ts";
import { bytesSize } from "../../base/units.ts";
import { type Command, ExitError } from "../command.ts";
import { textFlag } from "../flags/spec.ts";
import { printListing } from "../output/format.ts";
import { agoText, FORMAT_USAGE } from "../output/text.ts";
import { isScreen } from "../streams/terminal.ts";

const HEADINGS = {
  Name: "VOLUME NAME",
  Driver: "DRIVER",
  Size: "SIZE",
  Bar: "",
  Taken: "ON DISK",
  Limit: "LIMIT",
  Use: "USE%",
  Snapshots: "SNAPSHOTS",
  SnapshotNames: "SNAPSHOTS",
  Containers: "CONTAINERS",
  Created: "CREATED",
};

/** Columns of a bar. */
const WIDTH = 20;
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

export const volumeUsage: Command = {
  usage: "[OPTIONS] [VOLUME...]",
  args: { rule: "at-least", count: 0 },
  long: "Show what volumes hold and who uses them, the largest first. On a terminal a bar shows how much that is\nof the volume's limit, or of the largest volume.",
  flags: [textFlag("format", FORMAT_USAGE)],
  async run(call) {
    const all = await call.client.json<VolumeUsage[]>("GET", "/gantry/volumes/usage");
    const missing = call.args.filter((name) => !all.some(({ Name }) => Name === name));
    if (missing.length > 0) throw new ExitError(1, `get ${missing[0]}: no such volume`);
    const chosen = call.args.length === 0 ? all : all.filter(({ Name }) => call.args.includes(Name));
    const rows = chosen.toSorted((a, b) => b.Size - a.Size || (a.Name < b.Name ? -1 : 1));
    const largest = Math.max(0, ...rows.map(({ Size }) => Size));
    const bars = isScreen(1) ? ["Bar"] : [];
    await printListing({
      format: call.flags.text("format"),
      columns: ["Name", "Size", ...bars, "Limit", "Use", "Snapshots", "Containers"],
      headings: HEADINGS,
      type: "*formatter.volumeUsageContext",
      rows: rows.map((row) => rowOf(row, largest)),
    });
    return 0;
  },
};

function rowOf(row: VolumeUsage, largest: number): Readonly<Record<string, string>> {
  const { Name, Driver, Size, Taken, Limit, Snapshots, Containers, CreatedAt } = row;
  const whole = Limit > 0 ? Limit : largest;
  return {
    Name,
    Driver,
    Size: Size < 0 ? "N/A" : bytesSize(Size),
    Taken: Taken < 0 ? "N/A" : bytesSize(Taken),
    Bar: Size <= 0 || whole === 0 ? "" : barOf(Size / whole),
    Limit: Limit === 0 ? "-" : bytesSize(Limit),
    Use: Limit === 0 || Size < 0 ? "-" : `${Math.round((Size / Limit) * 100)}%`,
    Snapshots: Snapshots.length === 0 ? "-" : String(Snapshots.length),
    SnapshotNames: Snapshots.map((each) => each.Name).join(", "),
    Containers: Containers.length === 0 ? "-" : Containers.map(userText).join(", "),
    Created: agoText(Date.parse(CreatedAt) / 1000),
  };
}

/** `web`, `old (stopped)`, `reader (read-only)`. */
function userText({ Name, State, ReadOnly }: VolumeUsage["Containers"][number]): string {
  const notes = [...(State === "running" ? [] : [State]), ...(ReadOnly ? ["read-only"] : [])];
  return notes.length === 0 ? Name : `${Name} (${notes.join(", ")})`;
}

/** To an eighth of a column; anything at all shows. */
function barOf(share: number): string {
  const eighths = Math.max(1, Math.round(Math.min(share, 1) * WIDTH * 8));
  return "█".repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8];
}
