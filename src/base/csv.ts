import { GantryError } from "./errors.ts";

/**
 * The fields of one line of comma-separated values (RFC 4180), with the rules and the texts of Go's encoding/csv:
 * `a,"b,c",d`. Throws `invalid` for stray quotes.
 */
export function csvFields(line: string): string[] {
  const fields: string[] = [];
  for (let at = 0; ; ) {
    const field = line[at] === '"' ? quoted(line, at) : plain(line, at);
    fields.push(field.value);
    if (field.end >= line.length) return fields;
    at = field.end + 1;
  }
}

interface Field {
  readonly value: string;
  /** Where the comma after it is, or the line's end. */
  readonly end: number;
}

function plain(line: string, from: number): Field {
  const comma = line.indexOf(",", from);
  const end = comma < 0 ? line.length : comma;
  const value = line.slice(from, end);
  const quote = value.indexOf('"');
  if (quote >= 0) throw refused(line, from + quote, 'bare " in non-quoted-field');
  return { value, end };
}

function quoted(line: string, from: number): Field {
  let value = "";
  for (let at = from + 1; ; ) {
    const quote = line.indexOf('"', at);
    if (quote < 0) throw stray(line, line.length);
    value += line.slice(at, quote);
    const end = quote + 1;
    if (line[end] !== '"') {
      if (end < line.length && line[end] !== ",") throw stray(line, quote);
      return { value, end };
    }
    value += '"';
    at = end + 1;
  }
}

function stray(line: string, at: number): GantryError {
  return refused(line, at, 'extraneous or missing " in quoted-field');
}

/** Columns count bytes, from 1. */
function refused(line: string, at: number, why: string): GantryError {
  const column = new TextEncoder().encode(line.slice(0, at)).length + 1;
  return new GantryError("invalid", `parse error on line 1, column ${column}: ${why}`);
}
