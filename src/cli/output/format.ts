import type { TemplateFunction } from "../../base/template/functions.ts";
import { print } from "./print.ts";
import { aligned } from "./table.ts";

/** A row of a list: each field's text by its name in templates; a function takes the template's arguments. */
export type Row = Readonly<Record<string, string | number | boolean | TemplateFunction>>;

export interface Listing {
  /** `--format`: empty or `table` for the default, `json`, `raw`, a template, or `table` with a template. */
  readonly format: string;
  /** The default table's fields, in order. */
  readonly columns: readonly string[];
  /** Headings by field, for tables of any template. */
  readonly headings: Readonly<Record<string, string>>;
  /** The name that an unknown field's error gives the rows. */
  readonly type: string;
  readonly rows: readonly Row[];
}

const TABLE = { minWidth: 10, padding: 3 };

/** Prints a list in the format that the user chose. The template engine is loaded only if there is a template. */
export async function printListing(listing: Listing): Promise<void> {
  const format = listing.format.replaceAll("\\t", "\t").replaceAll("\\n", "\n").trim();
  if (format === "" || format === "table") {
    const text = (row: Row, column: string): string => String(row[column] ?? "");
    const lines = [listing.columns.map((column) => listing.headings[column] ?? column)];
    for (const row of listing.rows) lines.push(listing.columns.map((column) => text(row, column)));
    print(aligned(lines, TABLE));
    return;
  }
  if (format === "json") {
    for (const row of listing.rows) print(`${jsonOf(row)}\n`);
    return;
  }
  const isTable = /^table\s/.test(format);
  await printTemplate(listing, isTable ? format.slice(5).trim() : format, isTable);
}

function jsonOf(row: Row): string {
  const plain = Object.entries(row).filter(([, value]) => typeof value !== "function");
  return JSON.stringify(Object.fromEntries(plain.sort(([a], [b]) => (a < b ? -1 : 1))));
}

async function printTemplate(listing: Listing, text: string, isTable: boolean): Promise<void> {
  const { compileTemplate } = await import("../../base/template/evaluate.ts");
  const { HEADER_FUNCTIONS } = await import("./header-functions.ts");
  const missing = (_: unknown, field: string): never => {
    throw new Error(
      `template: :1:2: executing "" at <.${field}>: can't evaluate field ${field} in type ${listing.type}`,
    );
  };
  const functions = {
    json: (value: unknown): string => (isRow(value) ? jsonOf(value) : JSON.stringify(value ?? null)),
  };
  let template: (data: unknown) => string;
  try {
    template = compileTemplate(text, { missing, functions });
  } catch (error) {
    throw new Error(`failed to parse template: ${(error as Error).message}`);
  }
  const lines = listing.rows.map((row) => `${template(row)}\n`);
  if (!isTable) return print(lines.join(""));
  const header = compileTemplate(text, { functions: HEADER_FUNCTIONS, missing: () => "" });
  const label = (name: unknown): string => {
    const words = String(name).split(/[.-]/);
    return words[words.length - 1] ?? "";
  };
  const head = `${header({ ...listing.headings, Label: label })}\n`;
  const cells = [head, ...lines].join("").replace(/\n$/, "").split("\n");
  print(
    aligned(
      cells.map((line) => line.split("\t")),
      TABLE,
    ),
  );
}

function isRow(value: unknown): value is Row {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
