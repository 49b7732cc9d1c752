import { type BakeFile, readDefinition } from "../../bake/bake.ts";
import type { Definition } from "../../bake/definition.ts";
import { csvFields } from "../../base/csv.ts";
import { GantryError } from "../../base/errors.ts";
import type { ParsedFlags } from "../flags/parse.ts";
import { tabbed } from "../output/tabbed.ts";
import { surroundingsOf } from "./definition.ts";

/** `--list targets|variables`, or `type=…,format=json`: what the definitions have, as text. */
export function listed(flags: ParsedFlags, files: readonly BakeFile[], env: NodeJS.ProcessEnv): string {
  const { type, format } = wish(flags.text("list"));
  const definition = readDefinition(files, surroundingsOf(flags, env));
  const rows = type === "targets" ? targetsOf(definition) : variablesOf(definition);
  if (format === "json") return `${JSON.stringify(rows, undefined, 2)}\n`;
  const lines = rows.map((row) =>
    "value" in row
      ? [row.name, row.type ?? "", row.value ?? "<null>", row.description ?? ""]
      : [row.name, row.description ?? ""],
  );
  const head = type === "targets" ? ["TARGET", "DESCRIPTION"] : ["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"];
  return tabbed([head, ...lines]);
}

interface TargetRow {
  readonly name: string;
  readonly description?: string;
  readonly group?: true;
}

interface VariableRow {
  readonly name: string;
  readonly type?: string;
  readonly description?: string;
  readonly value: string | null;
}

/** Those whose names begin with `_` are for their file alone. */
function targetsOf({ targets, groups }: Definition): TargetRow[] {
  const own = [...targets].map(
    ([
      name,
      {
        own: { description },
      },
    ]) => ({ name, ...(description && { description }) }),
  );
  const grouped = [...groups].map(([name, group]): TargetRow => {
    const members = [...group.targets].sort().join(", ");
    const { description = "" } = group;
    const text = description !== "" && members !== "" ? `${description} (${members})` : description || members;
    return { name, ...(text !== "" && { description: text }), group: true };
  });
  return inOrder([...own, ...grouped].filter(({ name }) => !name.startsWith("_")));
}

function variablesOf({ variables }: Definition): VariableRow[] {
  return inOrder(
    variables.map(({ name, type, description, text }) => ({
      name,
      ...(type !== undefined && { type }),
      ...(description !== undefined && { description }),
      value: text,
    })),
  );
}

function inOrder<T extends { readonly name: string }>(rows: readonly T[]): T[] {
  return [...rows].sort((a, b) => (a.name < b.name ? -1 : Number(a.name > b.name)));
}

function wish(text: string): { readonly type: "targets" | "variables"; readonly format: "table" | "json" } {
  const rows = new Map<string, string>();
  for (const field of text.includes("=") ? csvFields(text) : [`type=${text}`]) {
    const [key = "", value] = field.split(/=(.*)/s, 2);
    if (value === undefined) throw new GantryError("invalid", `invalid value ${field}`);
    if (key !== "type" && key !== "format") {
      throw new GantryError("invalid", `unexpected key '${key}' in '${field}'`);
    }
    rows.set(key, value);
  }
  const { type = "", format = "table" } = Object.fromEntries(rows) as { type?: string; format?: string };
  if (type !== "targets" && type !== "variables") {
    throw new GantryError("invalid", `invalid list type ${JSON.stringify(type)}`);
  }
  if (format !== "table" && format !== "json") {
    throw new GantryError("invalid", `invalid list format ${JSON.stringify(format)}`);
  }
  return { type, format };
}
