import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { BuildHistoryEvent, BuildHistoryRow } from "../../api/build-history.ts";
import { GantryError } from "../../base/errors.ts";
import { humanDuration } from "../../base/units.ts";
import { jsonLines } from "../../client/json-lines.ts";
import { historyFilter } from "../build/history/filter.ts";
import { lengthOf, statusOf } from "../build/history/row.ts";
import { statusOfEvent } from "../build/history/status.ts";
import { repositoryOf } from "../build/repository.ts";
import { timelineHtml } from "../build/timeline.ts";
import { openView } from "../build/view.ts";
import type { Call, Command } from "../command.ts";
import { boolFlag, listFlag, textFlag } from "../flags/spec.ts";
import { printListing, type Row } from "../output/format.ts";
import { print, printLine, writeAll } from "../output/print.ts";
import { clean } from "../output/screen.ts";
import { aligned } from "../output/table.ts";
import { FORMAT_USAGE } from "../output/text.ts";
import { segment } from "./lifecycle.ts";

const HEADINGS = {
  Ref: "BUILD ID",
  Name: "NAME",
  Status: "STATUS",
  Cached: "CACHED",
  CreatedAt: "CREATED AT",
  Duration: "DURATION",
  CompletedAt: "COMPLETED AT",
  Steps: "STEPS",
  CachedSteps: "CACHED STEPS",
  Warnings: "WARNINGS",
};

export const listHistory: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    listFlag("filter", 'Provide filter values (e.g., "status=error", "duration>1m", "startedAt<2h")'),
    textFlag("format", FORMAT_USAGE, { initial: "table" }),
    boolFlag("local", "List records for current repository only"),
    boolFlag("no-trunc", "Don't truncate output"),
    boolFlag("q,quiet", "Only show build ids"),
  ],
  async run({ client, flags }) {
    const now = Date.now();
    const matches = historyFilter(flags.list("filter"), now);
    const all = await client.json<BuildHistoryRow[]>("GET", "/gantry/build/history");
    const source = flags.bool("local") ? repositoryOf(process.cwd())?.source : undefined;
    if (flags.bool("local") && source === undefined) {
      throw new GantryError(
        "invalid",
        "this folder is in no git repository with a remote, whose builds could be listed",
      );
    }
    const rows = all.filter((row) => matches(row) && (source === undefined || row.Attributes["vcs:source"] === source));
    if (flags.text("format") === "json") {
      for (const row of rows) printLine(JSON.stringify(row));
      return 0;
    }
    if (flags.bool("quiet")) {
      for (const { Id } of rows) printLine(Id);
      return 0;
    }
    await printListing({
      format: flags.text("format"),
      columns: ["Ref", "Name", "Status", "Cached", "CreatedAt", "Duration"],
      headings: HEADINGS,
      type: "*history.lsContext",
      rows: rows.map((row) => shownRow(row, now, flags.bool("no-trunc"))),
    });
    return 0;
  },
};

const SHORT = 36;

function shownRow(row: BuildHistoryRow, now: number, isWhole: boolean): Row {
  const name = clean(row.Name);
  const ago = (time: number): string => `${humanDuration(now - time)} ago`;
  return {
    Ref: row.Id,
    Name: isWhole || name.length <= SHORT ? name : `${name.slice(0, SHORT - 3)}...`,
    Status: statusOf(row),
    Cached: `${row.CachedSteps}/${row.Steps}`,
    CreatedAt: ago(Date.parse(row.CreatedAt)),
    Duration: `${(lengthOf(row, now) / 1000).toFixed(1)}s`,
    CompletedAt: row.CompletedAt === null ? "" : ago(Date.parse(row.CompletedAt)),
    Steps: row.Steps,
    CachedSteps: row.CachedSteps,
    Warnings: row.Warnings,
  };
}

export const inspectHistory: Command = {
  usage: "[BUILD]",
  args: { rule: "at-most", count: 1 },
  flags: [textFlag("format", "Format the output (pretty, json or a Go template)", { initial: "pretty" })],
  async run(call) {
    const row = await chosen(call);
    const format = call.flags.text("format");
    if (format === "json") printLine(JSON.stringify(row, undefined, 2));
    else if (format === "pretty") print(await inspection(call, row));
    else {
      const shown = { ...row, Ref: row.Id, Status: statusOf(row) } as unknown as Row;
      await printListing({ format, columns: [], headings: {}, type: "history.inspectOutput", rows: [shown] });
    }
    return 0;
  },
};

async function inspection(call: Call, row: BuildHistoryRow): Promise<string> {
  const facts = [
    ["Name:", row.Name],
    ["Build:", row.Id],
    ["Target:", row.Target],
    ["Platforms:", row.Platforms.join(", ")],
    ["Started:", row.CreatedAt],
    ["Duration:", `${(lengthOf(row, Date.now()) / 1000).toFixed(1)}s`],
    ["Status:", statusOf(row)],
    ["Error:", row.Error],
    ["Steps:", `${row.Steps}, of which ${row.CachedSteps} were in the cache`],
    ["Warnings:", String(row.Warnings)],
  ].filter(([, value]) => value !== "");
  const steps = await stepsOf(call, row.Id);
  const lines = [...steps.values()]
    .filter(({ completed }) => completed !== undefined)
    .map(({ name, cached, error, started, completed }) => [
      error !== undefined && error !== "" ? "ERROR" : cached ? "CACHED" : "DONE",
      started === undefined ? "" : `${((completed! - started) / 1000).toFixed(2)}s`,
      clean(name),
    ]);
  const parts = [
    aligned(
      facts.map((fact) => fact.map(clean)),
      { minWidth: 12, padding: 1 },
    ),
    ...section("Attributes", row.Attributes),
    ...section("Results", row.Metadata),
    `\nSteps\n${aligned(lines, { minWidth: 8, padding: 2 })}`,
  ];
  return parts.join("");
}

function section(title: string, rows: Readonly<Record<string, string>>): string[] {
  const lines = Object.entries(rows).map((row) => row.map(clean));
  return lines.length === 0 ? [] : [`\n${title}\n${aligned(lines, { minWidth: 12, padding: 2 })}`];
}

export const historyLogs: Command = {
  usage: "[BUILD]",
  args: { rule: "at-most", count: 1 },
  flags: [
    textFlag("progress", "Set type of progress output (plain, rawjson, tty)", {
      initial: "plain",
      check: (value) => {
        if (["plain", "rawjson", "tty"].includes(value)) return value;
        throw new Error("progress has to be one of plain, rawjson, tty");
      },
    }),
  ],
  async run(call) {
    const { Id } = await chosen(call);
    const kind = call.flags.text("progress") as "plain" | "rawjson" | "tty";
    // A picture is of a terminal; text is what was asked for, so it goes where that is expected.
    const view = openView(kind, kind === "tty" ? 2 : 1);
    let hasFailed = false;
    for await (const event of eventsOf(call, Id)) {
      hasFailed ||= (event.vertex?.error ?? "") !== "";
      view.show(statusOfEvent(event));
    }
    view.finish(hasFailed);
    return 0;
  },
};

export const openHistory: Command = {
  usage: "[BUILD]",
  args: { rule: "at-most", count: 1 },
  flags: [textFlag("o,output", "Write the page there and open nothing")],
  long: "Draw a build's steps over time, with their logs, on a page of their own",
  async run(call) {
    const row = await chosen(call);
    const events: BuildHistoryEvent[] = [];
    for await (const event of eventsOf(call, row.Id)) events.push(event);
    const output = call.flags.text("output");
    const file = output === "" ? join(mkdtempSync(join(tmpdir(), "gantry-build-")), `${row.Id}.html`) : resolve(output);
    writeFileSync(file, timelineHtml(row, events));
    printLine(file);
    const { DISPLAY = "", WAYLAND_DISPLAY = "" } = process.env;
    if (output === "" && (DISPLAY !== "" || WAYLAND_DISPLAY !== "")) {
      spawn("xdg-open", [file], { stdio: "ignore", detached: true })
        .on("error", () => {})
        .unref();
    }
    return 0;
  },
};

export const removeHistory: Command = {
  usage: "BUILD [BUILD...]",
  args: { rule: "at-least", count: 0 },
  flags: [boolFlag("all", "Remove all builds from the history")],
  async run({ client, flags, args }) {
    const rows = flags.bool("all") ? await client.json<BuildHistoryRow[]>("GET", "/gantry/build/history") : [];
    const ids = flags.bool("all") ? rows.filter(({ CompletedAt }) => CompletedAt !== null).map(({ Id }) => Id) : args;
    if (ids.length === 0 && !flags.bool("all"))
      throw new GantryError("invalid", "name the builds to remove, or give --all");
    for (const id of ids) {
      await client.done("DELETE", `/gantry/build/history/${segment(id)}`);
      writeAll(1, `${id}\n`);
    }
    return 0;
  },
};

/** The build that the argument names, whole or by its beginning; without one, or by `^`, the latest. */
async function chosen({ client, args }: Call): Promise<BuildHistoryRow> {
  const rows = await client.json<BuildHistoryRow[]>("GET", "/gantry/build/history");
  const [name = "^"] = args;
  if (/^\^+\d*$/.test(name)) {
    const back = name.length > 1 && /\d/.test(name) ? Number(name.slice(1)) : name.length - 1;
    const row = rows[back];
    if (row === undefined)
      throw new GantryError("not-found", "there is no such build: the history is empty, or not so long");
    return row;
  }
  const exact = rows.find(({ Id }) => Id === name);
  const matching = rows.filter(({ Id }) => Id.startsWith(name));
  if (exact !== undefined) return exact;
  if (matching.length === 1) return matching[0]!;
  throw new GantryError(
    "not-found",
    matching.length === 0 ? `no build ${name} in the history` : `several builds begin with ${name}`,
  );
}

async function* eventsOf({ client }: Call, id: string): AsyncIterable<BuildHistoryEvent> {
  const { body } = await client.stream("GET", `/gantry/build/history/${segment(id)}/events`);
  yield* jsonLines<BuildHistoryEvent>(body);
}

async function stepsOf(call: Call, id: string): Promise<Map<string, NonNullable<BuildHistoryEvent["vertex"]>>> {
  const steps = new Map<string, NonNullable<BuildHistoryEvent["vertex"]>>();
  for await (const { vertex } of eventsOf(call, id)) {
    if (vertex !== undefined) steps.set(vertex.digest, { ...steps.get(vertex.digest), ...vertex });
  }
  return steps;
}
