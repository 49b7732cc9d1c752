import type { ErrorPlace } from "./source.ts";

const RULE = "--------------------";
/** Longer lines are cut: they are not read by people. */
const WIDEST = 500;
/** Of a long instruction the first lines are enough to find it. */
const MOST_LINES = 40;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

export interface ExcerptOptions {
  /** Dresses a row that is meant, for a terminal. */
  readonly dress?: (row: string) => string;
}

/** Where in its lines the text is that a place is about. */
export interface Columns {
  readonly line: number;
  /** UTF-16 units from the line's beginning. */
  readonly start: number;
  readonly end: number;
}

/**
 * The lines of a place with some around them, marked with `>>>`, and carets below what is wrong:
 *
 *     Dockerfile:2
 *     --------------------
 *        1 |     FROM scratch
 *        2 | >>> COYP a b
 *          |     ^^^^
 *     --------------------
 *
 * Empty if the place's file isn't known or ends before it. What would steer a terminal is shown as `?`.
 */
export function excerptOf(place: ErrorPlace, { dress = (row) => row }: ExcerptOptions = {}): string {
  const { source, range } = place;
  if (source === undefined) return "";
  const lines = source.text.split("\n");
  if (range.start < 1 || range.start > lines.length) return "";
  const last = Math.min(range.end, lines.length, range.start + MOST_LINES - 1);
  const shown = surroundings(range.start, last, lines.length);
  const columns = columnsIn(lines, range.start, last, place.offending);
  const rows = [`${source.name}:${range.start}`, RULE];
  for (let number = shown.start; number <= shown.end; number++) {
    const marked = number >= range.start && number <= last;
    const line = lines[number - 1] ?? "";
    const row = ` ${String(number).padStart(3)} | ${marked ? ">>>" : "   "} ${printable(line)}`;
    rows.push(marked ? dress(row) : row);
    if (columns?.line === number && columns.end <= WIDEST) rows.push(dress(`     |     ${carets(line, columns)}`));
  }
  rows.push(RULE);
  return `${rows.join("\n")}\n`;
}

/** The columns of what a place is about, if that is known and on a line of its own. */
export function columnsOf({ source, range, offending }: ErrorPlace): Columns | undefined {
  return source === undefined ? undefined : columnsIn(source.text.split("\n"), range.start, range.end, offending);
}

/** Some lines before and after, as many on both sides as there are. */
function surroundings(from: number, to: number, count: number): { start: number; end: number } {
  let start = from;
  let end = to;
  const pad = from === to ? 4 : 2;
  for (let padded = 0; padded < pad; padded++) {
    if (start > 1) {
      start--;
      padded++;
    }
    if (end < count) {
      end++;
      padded++;
    }
  }
  return { start, end };
}

function columnsIn(
  lines: readonly string[],
  from: number,
  to: number,
  offending: string | undefined,
): Columns | undefined {
  const [wanted = ""] = offending?.split("\n", 1) ?? [];
  if (wanted === "") return undefined;
  for (let line = from; line <= to && line <= lines.length; line++) {
    const start = lines[line - 1]?.indexOf(wanted) ?? -1;
    if (start >= 0) return { line, start, end: start + wanted.length };
  }
  return undefined;
}

function carets(line: string, { start, end }: Columns): string {
  return line.slice(0, start).replace(/[^\t]/g, " ") + "^".repeat([...line.slice(start, end)].length);
}

function printable(line: string): string {
  const cut = line.length > WIDEST ? `${line.slice(0, WIDEST)}…` : line;
  return cut.replace(/\r$/, "").replace(CONTROL, "?");
}
