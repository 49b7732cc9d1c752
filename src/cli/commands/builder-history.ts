import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { BuildHistoryEvent, BuildHistoryRow } from "../../api/build-history.ts";
import { GantryError } from "../../base/errors.ts";
import { humanDuration } from "../../base/units.ts";
import { jsonLines } from "../../client/json-lines.ts";
import { timelineHtml } from "../build/timeline.ts";
import type { Call, Command } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { print, printLine, writeAll } from "../output/print.ts";
import { clean } from "../output/screen.ts";
import { aligned } from "../output/table.ts";
import { segment } from "./lifecycle.ts";

export const listHistory: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    textFlag("format", "Format the output (table or json)", { initial: "table" }),
    boolFlag("no-trunc", "Don't truncate output"),
    boolFlag("q,quiet", "Only show build ids"),
  ],
  async run({ client, flags }) {
    const rows = await client.json<BuildHistoryRow[]>("GET", "/gantry/build/history");
    if (flags.bool("quiet")) for (const { Id } of rows) printLine(Id);
    else if (flags.text("format") === "json") for (const row of rows) printLine(JSON.stringify(row));
    else print(historyTable(rows, flags.bool("no-trunc")));
    return 0;
  },
};

const SHORT = 30;

function historyTable(rows: readonly BuildHistoryRow[], whole: boolean): string {
  const now = Date.now();
  const lines = rows.map((row) => {
    const [begun, ended] = [Date.parse(row.CreatedAt), row.CompletedAt === null ? now : Date.parse(row.CompletedAt)];
    const name = clean(row.Name);
    return [
      row.Id,
      whole || name.length <= SHORT ? name : `${name.slice(0, SHORT - 1)}…`,
      statusOf(row),
      `${row.CachedSteps}/${row.Steps}`,
      `${humanDuration(now - begun)} ago`,
      `${((ended - begun) / 1000).toFixed(1)}s`,
    ];
  });
  return aligned([["BUILD ID", "NAME", "STATUS", "CACHED", "CREATED", "DURATION"], ...lines], {
    minWidth: 10,
    padding: 3,
  });
}

function statusOf({ CompletedAt, Error: error }: BuildHistoryRow): string {
  if (CompletedAt === null) return "Running";
  if (error === "") return "Completed";
  return /cancel/i.test(error) ? "Canceled" : "Error";
}

export const inspectHistory: Command = {
  usage: "[BUILD]",
  args: { rule: "at-most", count: 1 },
  flags: [textFlag("format", "Format the output (pretty or json)", { initial: "pretty" })],
  async run(call) {
    const row = await chosen(call);
    if (call.flags.text("format") === "json") printLine(JSON.stringify(row, undefined, 2));
    else print(await inspection(call, row));
    return 0;
  },
};

async function inspection(call: Call, row: BuildHistoryRow): Promise<string> {
  const end = row.CompletedAt === null ? Date.now() : Date.parse(row.CompletedAt);
  const facts = [
    ["Name:", row.Name],
    ["Build:", row.Id],
    ["Target:", row.Target],
    ["Platforms:", row.Platforms.join(", ")],
    ["Started:", row.CreatedAt],
    ["Duration:", `${((end - Date.parse(row.CreatedAt)) / 1000).toFixed(1)}s`],
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
  flags: [textFlag("progress", "Set type of progress output (plain, rawjson)", { initial: "plain" })],
  async run(call) {
    const { Id } = await chosen(call);
    const names = new Map<string, number>();
    for await (const event of eventsOf(call, Id)) {
      if (call.flags.text("progress") === "rawjson") printLine(JSON.stringify(event));
      else print(plainLine(event, names));
    }
    return 0;
  },
};

/** What a log shows of an event; steps are numbered in the order in which they begin. */
function plainLine({ vertex, log }: BuildHistoryEvent, numbers: Map<string, number>): string {
  if (log !== undefined) {
    const number = numbers.get(log.vertex) ?? 0;
    const text = log.text ?? Buffer.from(log.base64 ?? "", "base64").toString();
    const lines = text.replace(/\n$/, "").split("\n");
    return lines.map((line) => `#${number} ${clean(line)}\n`).join("");
  }
  if (vertex === undefined || (vertex.started === undefined && vertex.completed === undefined)) return "";
  let text = "";
  let number = numbers.get(vertex.digest);
  if (number === undefined) {
    number = numbers.size + 1;
    numbers.set(vertex.digest, number);
    text += `\n#${number} ${clean(vertex.name)}\n`;
  }
  if (vertex.completed === undefined) return text;
  const seconds = ((vertex.completed - (vertex.started ?? vertex.completed)) / 1000).toFixed(1);
  const failed = vertex.error !== undefined && vertex.error !== "";
  return `${text}#${number} ${failed ? `ERROR: ${clean(vertex.error!)}` : vertex.cached ? "CACHED" : `DONE ${seconds}s`}\n`;
}

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
