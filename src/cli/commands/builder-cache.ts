import { createReadStream } from "node:fs";
import { humanDuration, humanSize } from "../../base/units.ts";
import { CONTROL, DiskUsageRequestSchema, type UsageRecord } from "../../buildkit/control.ts";
import { create } from "../../buildkit/message.ts";
import type { EngineClient } from "../../client/client.ts";
import { asDuplex } from "../../client/duplex.ts";
import { GrpcClient } from "../../grpc/client.ts";
import { type Command, ExitError } from "../command.ts";
import { boolFlag, listFlag, textFlag } from "../flags/spec.ts";
import { printListing, type Row } from "../output/format.ts";
import { print } from "../output/print.ts";
import { clean } from "../output/screen.ts";
import { FORMAT_USAGE } from "../output/text.ts";
import { saveBody } from "../streams/save.ts";
import { isTerminal } from "../streams/terminal.ts";
import { segment } from "./lifecycle.ts";

const HEADINGS = {
  ID: "ID",
  Parents: "PARENTS",
  CreatedAt: "CREATED AT",
  Mutable: "MUTABLE",
  Reclaimable: "RECLAIMABLE",
  Shared: "SHARED",
  Size: "SIZE",
  Description: "DESCRIPTION",
  UsageCount: "USAGE COUNT",
  LastUsedAt: "LAST ACCESSED",
  Type: "TYPE",
};

export const builderUsage: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    listFlag("filter", 'Provide filter values (e.g. "type=exec.cachemount", "shared")', { type: "filter" }),
    textFlag("format", `Format output: pretty, ${FORMAT_USAGE.charAt(0).toLowerCase()}${FORMAT_USAGE.slice(1)}`),
    boolFlag("verbose", 'Shorthand for "--format=pretty"'),
  ],
  async run({ client, flags }) {
    const format = flags.bool("verbose") ? "pretty" : flags.text("format");
    if (flags.bool("verbose") && flags.text("format") !== "") {
      throw new ExitError(1, "--format and --verbose cannot be used together");
    }
    const rows = await cacheRows(client, flags.list("filter"));
    if (format === "pretty") {
      for (const row of rows) print(`${pretty(row)}\n`);
      print(totals(rows));
      return 0;
    }
    const isTable = format === "" || format === "table";
    await printListing({
      format,
      columns: ["ID", "Reclaimable", "Size", "LastUsedAt"],
      headings: HEADINGS,
      type: "*commands.duContext",
      rows: rows.map((row) => (isTable ? inTable(row) : shown(row))),
    });
    if (isTable) print(totals(rows));
    return 0;
  },
};

/** As the builder itself is asked: only that knows filters. */
async function cacheRows(client: EngineClient, filters: readonly string[]): Promise<readonly UsageRecord[]> {
  const control = new GrpcClient(asDuplex(await client.hijack("/grpc", { protocol: "h2c" })));
  try {
    const filter = filters.length === 0 ? [] : [filters.map(condition).join(",")];
    const { record } = await control.unary(CONTROL.diskUsage, create(DiskUsageRequestSchema, { filter }));
    return [...record].sort((a, b) => (a.Size < b.Size ? -1 : Number(a.Size > b.Size)));
  } finally {
    control.close();
  }
}

/** `id=abc` is a part of it, other fields are whole; a word alone is a fact: `shared`. */
function condition(given: string): string {
  const [key = "", value] = given.split(/=(.*)/s, 2);
  if (value === undefined || /[~!=]$/.test(key) || value.startsWith("=")) return given;
  return `${key}${key === "id" ? "~=" : "=="}${JSON.stringify(value)}`;
}

function shown(row: UsageRecord): Row {
  return {
    ID: row.ID,
    Parents: row.Parents.length === 0 ? "[]" : `[${row.Parents.join(" ")}]`,
    CreatedAt: goTime(row.CreatedAt),
    Mutable: row.Mutable,
    Reclaimable: !row.InUse,
    Shared: row.Shared,
    Size: humanSize(Number(row.Size)),
    Description: clean(row.Description),
    UsageCount: Number(row.UsageCount),
    LastUsedAt: row.LastUsedAt === undefined ? "" : ago(row.LastUsedAt),
    Type: row.RecordType,
  };
}

function inTable(row: UsageRecord): Row {
  const { ID, Size, ...rest } = shown(row);
  return { ...rest, ID: `${String(ID)}${row.Mutable ? "*" : ""}`, Size: `${String(Size)}${row.Shared ? "*" : ""}` };
}

type Time = NonNullable<UsageRecord["CreatedAt"]>;

function ago({ seconds }: Time): string {
  return `${humanDuration(Date.now() - Number(seconds) * 1000)} ago`;
}

/** As Go prints a time. */
function goTime(time: Time | undefined): string {
  if (time === undefined) return "";
  const text = new Date(Number(time.seconds) * 1000).toISOString();
  const fraction = String(time.nanos).padStart(9, "0").replace(/0+$/, "");
  return `${text.slice(0, 10)} ${text.slice(11, 19)}${fraction === "" ? "" : `.${fraction}`} +0000 UTC`;
}

function pretty(row: UsageRecord): string {
  const { ID, CreatedAt, Mutable, Reclaimable, Shared, Size, Description, UsageCount, LastUsedAt, Type } = shown(row);
  const lines = [
    ["ID:", ID],
    ...(row.Parents.length === 0 ? [] : [["Parents:", `\n${row.Parents.map((parent) => ` - ${parent}`).join("\n")}`]]),
    ["Created at:", CreatedAt],
    ["Mutable:", Mutable],
    ["Reclaimable:", Reclaimable],
    ["Shared:", Shared],
    ["Size:", Size],
    ...(Description === "" ? [] : [["Description:", Description]]),
    ["Usage count:", UsageCount],
    ...(LastUsedAt === "" ? [] : [["Last used:", LastUsedAt]]),
    ["Type:", Type],
  ];
  return lines
    .map(([name, value]) =>
      name === "Parents:" ? `${name}${String(value)}\n` : `${String(name).padEnd(14)}${String(value)}\n`,
    )
    .join("");
}

function totals(rows: readonly UsageRecord[]): string {
  const sum = (chosen: readonly UsageRecord[]): string =>
    humanSize(chosen.reduce((total, { Size }) => total + Number(Size), 0));
  const shared = rows.filter(({ Shared }) => Shared);
  const split = `Shared:\t\t${sum(shared)}\nPrivate:\t${sum(rows.filter(({ Shared }) => !Shared))}\n`;
  return `${shared.length === 0 ? "" : split}Reclaimable:\t${sum(rows.filter(({ InUse }) => !InUse))}\nTotal:\t\t${sum(rows)}\n`;
}

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
