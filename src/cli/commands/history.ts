import type { ImageHistoryRow } from "../../api/image.ts";
import type { Command } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { printListing } from "../output/format.ts";
import { printLine } from "../output/print.ts";
import { agoText, ellipsis, FORMAT_USAGE, shortId, sizeText } from "../output/text.ts";
import { platformJson } from "../run/platform.ts";
import { segment } from "./lifecycle.ts";

const HEADINGS = {
  ID: "IMAGE",
  CreatedSince: "CREATED",
  CreatedAt: "CREATED AT",
  CreatedBy: "CREATED BY",
  Size: "SIZE",
  Comment: "COMMENT",
};

export const history: Command = {
  usage: "[OPTIONS] IMAGE",
  args: { rule: "exactly", count: 1 },
  flags: [
    textFlag("format", FORMAT_USAGE),
    boolFlag("H,human", "Print sizes and dates for people", { initial: "true", shownDefault: "true" }),
    boolFlag("no-trunc", "Don't truncate output"),
    textFlag("platform", "History of this platform of the image, os[/arch[/variant]]", { since: "1.48" }),
    boolFlag("q,quiet", "Only show image IDs"),
  ],
  async run(call) {
    const { flags } = call;
    const full = flags.bool("no-trunc");
    const human = flags.bool("human");
    const layers = await call.client.json<ImageHistoryRow[]>(
      "GET",
      `/images/${segment(call.args[0] ?? "", "image")}/history`,
      {
        query: { platform: platformJson(flags.text("platform")) },
      },
    );
    const rows = layers.map((layer) => {
      const createdAt = layer.Created <= 0 ? "" : new Date(layer.Created * 1000).toISOString().replace(/\.\d+/, "");
      const command = layer.CreatedBy.replaceAll("\t", " ");
      return {
        ID: full ? layer.Id : shortId(layer.Id),
        CreatedSince: human ? (layer.Created <= 0 ? "N/A" : agoText(layer.Created)) : createdAt,
        CreatedAt: createdAt,
        CreatedBy: full ? command : ellipsis(command, 45),
        Size: human ? sizeText(layer.Size) : String(layer.Size),
        Comment: layer.Comment,
      };
    });
    if (flags.bool("quiet") && flags.text("format") === "") {
      for (const row of rows) printLine(row.ID);
      return 0;
    }
    const columns = ["ID", human ? "CreatedSince" : "CreatedAt", "CreatedBy", "Size", "Comment"];
    await printListing({
      format: flags.text("format"),
      columns,
      headings: HEADINGS,
      type: "*formatter.historyContext",
      rows,
    });
    return 0;
  },
};
