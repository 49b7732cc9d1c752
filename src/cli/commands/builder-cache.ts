import { createReadStream } from "node:fs";
import type { DiskUsage } from "../../api/disk-usage.ts";
import { humanSize } from "../../base/units.ts";
import { type Command, ExitError } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { print, printLine } from "../output/print.ts";
import { clean } from "../output/screen.ts";
import { aligned } from "../output/table.ts";
import { saveBody } from "../streams/save.ts";
import { isTerminal } from "../streams/terminal.ts";
import { segment } from "./lifecycle.ts";

export const builderUsage: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    textFlag("format", "Format the output (table or json)", { initial: "table" }),
    boolFlag("verbose", "Provide a more verbose output"),
  ],
  async run({ client, flags }) {
    const { BuildCache } = await client.json<DiskUsage>("GET", "/system/df", { query: { type: "build-cache" } });
    const rows = BuildCache ?? [];
    if (flags.text("format") === "json") {
      for (const row of rows) printLine(JSON.stringify(row));
      return 0;
    }
    const lines = rows.map((row) => [
      row.ID,
      row.InUse ? "false" : "true",
      `${humanSize(row.Size)}${row.Shared ? "*" : ""}`,
      row.LastUsedAt ?? "",
      ...(flags.bool("verbose") ? [row.Type, String(row.UsageCount), clean(row.Description)] : []),
    ]);
    const more = flags.bool("verbose") ? ["TYPE", "USED", "DESCRIPTION"] : [];
    print(aligned([["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED", ...more], ...lines], { minWidth: 10, padding: 3 }));
    const sum = (chosen: typeof rows): string => humanSize(chosen.reduce((total, { Size }) => total + Size, 0));
    const own = rows.filter(({ Shared }) => !Shared);
    print(`Shared:\t\t${sum(rows.filter(({ Shared }) => Shared))}\nPrivate:\t${sum(own)}\n`);
    print(`Reclaimable:\t${sum(own.filter(({ InUse }) => !InUse))}\nTotal:\t\t${sum(rows)}\n`);
    return 0;
  },
};

export const exportCacheMount: Command = {
  usage: "[OPTIONS] ID",
  args: { rule: "exactly", count: 1 },
  flags: [textFlag("o,output", "Write to a file, instead of STDOUT")],
  async run({ client, flags, args }) {
    const output = flags.text("output");
    if (output === "" && isTerminal(1))
      throw new ExitError(1, "cowardly refusing to save to a terminal. Use the -o flag or redirect");
    const { body } = await client.stream("GET", `/gantry/build/cache-mounts/${segment(args[0] ?? "")}`);
    await saveBody(body, output);
    return 0;
  },
};

export const importCacheMount: Command = {
  usage: "[OPTIONS] ID",
  args: { rule: "exactly", count: 1 },
  flags: [textFlag("i,input", "Read from a tar archive, instead of STDIN")],
  async run({ client, flags, args }) {
    const input = flags.text("input");
    if (input === "" && isTerminal(0)) throw new ExitError(1, "requested import from stdin, but stdin is empty");
    const upload = input === "" ? process.stdin : createReadStream(input, { highWaterMark: 1 << 20 });
    await client.done("PUT", `/gantry/build/cache-mounts/${segment(args[0] ?? "")}`, { upload });
    return 0;
  },
};
