/**
 * The number that a kernel file spells, for an answer: one that a double can't hold goes out as it is written, digit by
 * digit, since clients read 64 bits. Not to be counted with.
 */
export function wireNumber(digits: string): number {
  if (digits.length < 16) return Number(digits);
  return (JSON as unknown as { rawJSON(text: string): number }).rawJSON(/^\d{1,20}$/.test(digits) ? digits : "0");
}

/** Rows `name number` of a kernel file as texts by name. */
export function namedNumbers(text: string | undefined): Map<string, string> {
  const rows = new Map<string, string>();
  for (const row of (text ?? "").split("\n")) {
    const space = row.indexOf(" ");
    if (space > 0) rows.set(row.slice(0, space), row.slice(space + 1));
  }
  return rows;
}
