const STOP = 8;

/**
 * Aligns cells by tabs, as Go's tabwriter does where its padding is a tab: a column ends at the tab stop behind its
 * widest cell. The last cell of a line is in no column.
 */
export function tabbed(lines: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...lines.map(({ length }) => length - 1));
  const stops = Array.from({ length: columns }, (_, column) => {
    const widest = Math.max(...lines.map((line) => [...(line[column] ?? "")].length));
    // A column in which nothing is has no width.
    return widest === 0 ? 0 : Math.ceil((widest + 1) / STOP) * STOP;
  });
  const row = (line: readonly string[]): string =>
    line
      .map((cell, column) => {
        if (column === line.length - 1) return cell;
        const tabs = Math.ceil((stops[column]! - [...cell].length) / STOP);
        return cell + "\t".repeat(Math.max(0, tabs));
      })
      .join("");
  return lines.map((line) => `${row(line)}\n`).join("");
}
