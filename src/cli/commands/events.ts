import type { EventMessage } from "../../api/event.ts";
import { jsonLines } from "../../client/json-lines.ts";
import type { Command } from "../command.ts";
import { filterFlag, textFlag } from "../flags/spec.ts";
import { filtersOf } from "../output/filters.ts";
import { printLine } from "../output/print.ts";
import { timestampQuery } from "../output/timestamp.ts";

export const events: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    filterFlag(),
    textFlag("format", "Format output with a Go template or 'json'"),
    textFlag("since", "Show events from this time on"),
    textFlag("until", "Stream events until this time"),
  ],
  async run(call) {
    const { flags } = call;
    const show = await formatter(flags.text("format"));
    const { body } = await call.client.stream("GET", "/events", {
      query: {
        since: timestampQuery("since", flags.text("since")),
        until: timestampQuery("until", flags.text("until")),
        filters: filtersOf(flags.list("filter")),
      },
    });
    for await (const event of jsonLines<EventMessage>(body)) printLine(show(event));
    return 0;
  },
};

async function formatter(format: string): Promise<(event: EventMessage) => string> {
  if (format === "") return eventLine;
  if (format === "json") return (event) => JSON.stringify(event);
  const { compileTemplate } = await import("../../base/template/evaluate.ts");
  const template = compileTemplate(format.replaceAll("\\t", "\t").replaceAll("\\n", "\n"), {
    missing: (record, field) => {
      // Go's names of what JSON spells in lower case.
      const key = Object.keys(record).find((name) => name.toLowerCase() === field.toLowerCase());
      if (key === undefined) return undefined;
      const value = record[key];
      return key === "timeNano" && typeof value === "number" ? exactNanos(value) : value;
    },
  });
  return template;
}

function eventLine(event: EventMessage): string {
  const attributes = Object.entries(event.Actor.Attributes ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`);
  const rest = attributes.length === 0 ? "" : ` (${attributes.join(", ")})`;
  return `${stamp(event)} ${event.Type} ${event.Action} ${event.Actor.ID}${rest}`;
}

/** What the JSON's text said: a double of that size stands for another number, but shows the same digits. */
function exactNanos(timeNano: number): bigint {
  return BigInt(String(timeNano));
}

/** RFC 3339 with nine digits, in the local zone. */
function stamp(event: EventMessage): string {
  const date = new Date(event.time * 1000);
  const nanos = event.timeNano > 0 ? Number(exactNanos(event.timeNano) % 1_000_000_000n) : 0;
  const offset = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19);
  const two = (value: number): string => String(value).padStart(2, "0");
  const zone =
    offset === 0
      ? "Z"
      : `${offset < 0 ? "-" : "+"}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return `${local}.${String(nanos).padStart(9, "0")}${zone}`;
}
