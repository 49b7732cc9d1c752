import { messageOf } from "../../base/errors.ts";
import type { TemplateFunction } from "../../base/template/functions.ts";
import type { Shown } from "../../base/template/values.ts";
import { escapedJson } from "./json.ts";
import { print } from "./print.ts";
import { aligned } from "./table.ts";

/** A row of a list: each field's text by its name in templates; a function takes the template's arguments. */
export type Row = Readonly<Record<string, string | number | boolean | Shown | TemplateFunction>>;

export interface Listing {
  /** `--format`: empty or `table` for the default, `json`, `raw`, a template, or `table` with a template. */
  readonly format: string;
  /** Only the first of the raw fields is wanted, in the table alone: `--quiet`. */
  readonly quiet?: boolean;
  /** The lines of the format `raw`: what is before the colon, and the field. The first is what `--quiet` shows. */
  readonly raw?: readonly (readonly [label: string, field: string])[];
  /** The default table's fields, in order. */
  readonly columns: readonly string[];
  /** Headings by field, for tables of any template. */
  readonly headings: Readonly<Record<string, string>>;
  /** The name that an unknown field's error gives the rows. */
  readonly type: string;
  /** What errors in the template begin with, those of its text and those of its use; both alike unless given. */
  readonly faults?: readonly [parse: string, run: string];
  readonly rows: readonly Row[];
  /** A row to try a template with where there is none, so that what is wrong with it is said all the same. */
  readonly probe?: Row;
}

const TABLE = { minWidth: 10, padding: 3 };

/** Prints a list in the format that the user chose. */
export async function printListing(listing: Listing): Promise<void> {
  print(await listingText(listing));
}

/** A list in the format that the user chose. The template engine is loaded only if there is a template. */
export async function listingText(listing: Listing): Promise<string> {
  const format = listing.format.replaceAll("\\t", "\t").replaceAll("\\n", "\n").trim();
  const text = (row: Row, column: string): string => String(row[column] ?? "");
  const [first] = listing.raw ?? [];
  if ((format === "" || format === "table") && listing.quiet && first !== undefined) {
    return listing.rows.map((row) => `${text(row, first[1])}\n`).join("");
  }
  if (format === "raw" && listing.raw !== undefined && first !== undefined) {
    const line = (row: Row, [label, field]: readonly [string, string]): string =>
      `${label}:${text(row, field) === "" ? "" : ` ${text(row, field)}`}\n`;
    const fields = listing.raw;
    const lines = listing.rows.map((row) =>
      listing.quiet ? line(row, first) : `${fields.map((field) => line(row, field)).join("")}\n`,
    );
    return lines.join("");
  }
  if (format === "" || format === "table") {
    const lines = [listing.columns.map((column) => listing.headings[column] ?? column)];
    for (const row of listing.rows) lines.push(listing.columns.map((column) => text(row, column)));
    return aligned(lines, TABLE);
  }
  if (format === "json") return listing.rows.map((row) => `${jsonOf(row)}\n`).join("");
  const isTable = /^table\s/.test(format);
  return templateText(listing, format, isTable);
}

/** A row as JSON, its keys in order. */
export function jsonOf(row: Row): string {
  const plain = Object.entries(row).filter(([, value]) => typeof value !== "function");
  return escapedJson(Object.fromEntries(plain.sort(([a], [b]) => (a < b ? -1 : 1))));
}

async function templateText(listing: Listing, text: string, isTable: boolean): Promise<string> {
  const { compileTemplate } = await import("../../base/template/evaluate.ts");
  const { goJson } = await import("../../base/template/values.ts");
  const body = isTable ? text.slice(5).trim() : text;
  const { HEADER_FUNCTIONS } = await import("./header-functions.ts");
  const functions = {
    json: (value: unknown): string => (isRow(value) ? jsonOf(value) : goJson(value)),
  };
  const fault = (error: unknown, at: string): Error =>
    new Error(`${listing.faults?.[at === "parse" ? 0 : 1] ?? "template parsing error"}: ${messageOf(error)}`);
  let template: (data: unknown) => string;
  try {
    template = compileTemplate(text, { type: listing.type, functions, start: text.length - body.length });
  } catch (error) {
    throw fault(error, "parse");
  }
  const lines: string[] = [];
  for (const row of listing.rows.length === 0 && listing.probe !== undefined ? [listing.probe] : listing.rows) {
    try {
      lines.push(`${template(row)}
`);
    } catch (error) {
      throw fault(error, "run");
    }
  }
  if (listing.rows.length === 0) lines.length = 0;
  if (!isTable) return lines.join("");
  const header = compileTemplate(body, { functions: HEADER_FUNCTIONS });
  const label = (name: unknown): string => {
    const words = String(name).split(/[.-]/);
    return words[words.length - 1] ?? "";
  };
  const head = `${header({ ...listing.headings, Label: label })}\n`;
  const cells = [head, ...lines].join("").replace(/\n$/, "").split("\n");
  return aligned(
    cells.map((line) => line.split("\t")),
    TABLE,
  );
}

function isRow(value: unknown): value is Row {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
