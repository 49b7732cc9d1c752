import { type EventMessage, eventJson, parseEvent } from "../../api/event.ts";
import { messageOf } from "../../base/errors.ts";
import { jsonLines } from "../../client/json-lines.ts";
import { type Command, ExitError } from "../command.ts";
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
        since: timestampQuery(undefined, flags.text("since")),
        until: timestampQuery(undefined, flags.text("until")),
        filters: filtersOf(flags.list("filter")),
      },
    });
    for await (const event of jsonLines(body, parseEvent)) printLine(show(event));
    return 0;
  },
};

async function formatter(format: string): Promise<(event: EventMessage) => string> {
  if (format === "") return eventLine;
  if (format === "json") return eventJson;
  const { compileTemplate } = await import("../../base/template/evaluate.ts");
  let template: (event: unknown) => string;
  try {
    template = compileTemplate(format.replaceAll("\\t", "\t").replaceAll("\\n", "\n"), {
      type: "*events.Message",
      missing: (record, field, isData) => {
        // Go's names of what JSON spells in lower case.
        const key = Object.keys(record).find((name) => name.toLowerCase() === field.toLowerCase());
        if (key === undefined) {
          if (isData && !LEFT_OUT.has(field)) throw new Error(`can't evaluate field ${field} in type *events.Message`);
          return LEFT_OUT.has(field) ? "" : undefined;
        }
        return record[key];
      },
    });
    // A field that no event has is complained of at once, not when something happens.
    template(EMPTY);
  } catch (error) {
    throw new ExitError(64, `Error parsing format: ${messageOf(error)}`);
  }
  return template;
}

/** Fields that the engine leaves out of its JSON when they are empty. */
const LEFT_OUT = new Set(["Status", "ID", "From", "Scope"]);
const EMPTY = { Type: "", Action: "", Actor: { ID: "", Attributes: {} }, time: 0, timeNano: 0n };

function eventLine(event: EventMessage): string {
  const attributes = Object.entries(event.Actor.Attributes ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`);
  const rest = attributes.length === 0 ? "" : ` (${attributes.join(", ")})`;
  return `${stamp(event)} ${event.Type} ${event.Action} ${event.Actor.ID}${rest}`;
}

/** RFC 3339 with nine digits, in the local zone. */
function stamp(event: EventMessage): string {
  const date = new Date(event.time * 1000);
  const offset = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19);
  const two = (value: number): string => String(value).padStart(2, "0");
  const zone =
    offset === 0
      ? "Z"
      : `${offset < 0 ? "-" : "+"}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return `${local}.${String(event.timeNano % 1_000_000_000n).padStart(9, "0")}${zone}`;
}
