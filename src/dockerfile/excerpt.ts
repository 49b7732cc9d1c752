import type { ErrorPlace } from "./source.ts";

const RULE = "--------------------";
/** Longer lines are cut: they are not read by people. */
const WIDEST = 500;
/** Of a long instruction the first lines are enough to find it. */
const MOST_LINES = 40;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

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
export function excerptOf(place: ErrorPlace): string {
  const { source, range, offending } = place;
  if (source === undefined) return "";
  const lines = source.text.split("\n");
  if (range.start < 1 || range.start > lines.length) return "";
  const last = Math.min(range.end, lines.length, range.start + MOST_LINES - 1);
  const shown = surroundings(range.start, last, lines.length);
  const caret = caretOf(lines, range.start, last, offending);
  const rows = [`${source.name}:${range.start}`, RULE];
  for (let number = shown.start; number <= shown.end; number++) {
    const marked = number >= range.start && number <= last;
    rows.push(` ${String(number).padStart(3)} | ${marked ? ">>>" : "   "} ${printable(lines[number - 1] ?? "")}`);
    if (caret?.line === number) rows.push(`     |     ${caret.text}`);
  }
  rows.push(RULE);
  return `${rows.join("\n")}\n`;
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

function caretOf(
  lines: readonly string[],
  from: number,
  to: number,
  offending: string | undefined,
): { line: number; text: string } | undefined {
  const [wanted = ""] = offending?.split("\n", 1) ?? [];
  if (wanted === "") return undefined;
  for (let line = from; line <= to; line++) {
    const text = lines[line - 1] ?? "";
    const column = text.indexOf(wanted);
    if (column < 0) continue;
    if (column + wanted.length > WIDEST) return undefined;
    const indent = text.slice(0, column).replace(/[^\t]/g, " ");
    return { line, text: indent + "^".repeat(Math.max(1, [...wanted].length)) };
  }
  return undefined;
}

function printable(line: string): string {
  const cut = line.length > WIDEST ? `${line.slice(0, WIDEST)}…` : line;
  return cut.replace(/\r$/, "").replace(CONTROL, "?");
}
