/**
 * Aligns cells as Go's tabwriter does: a column is as wide as its widest cell in adjoining lines plus the padding, at
 * least `minWidth`; the last cell of a line is in no column. Each line ends with a newline.
 */
export function aligned(
  lines: readonly (readonly string[])[],
  options: { readonly minWidth: number; readonly padding: number },
): string {
  const widths: number[][] = lines.map(() => []);
  const most = Math.max(0, ...lines.map((line) => line.length - 1));
  for (let column = 0; column < most; column++) {
    let start = 0;
    while (start < lines.length) {
      let end = start;
      let width = 0;
      while (end < lines.length && (lines[end]?.length ?? 0) - 1 > column) {
        width = Math.max(width, widthOf(lines[end]?.[column] ?? "") + options.padding);
        end++;
      }
      for (let at = start; at < end; at++) (widths[at] as number[])[column] = Math.max(width, options.minWidth);
      start = Math.max(end, start + 1);
    }
  }
  return lines
    .map((line, at) => {
      const cells = line.map((cell, column) => {
        if (column === line.length - 1) return cell;
        return cell + " ".repeat(Math.max(0, (widths[at]?.[column] ?? 0) - widthOf(cell)));
      });
      return `${cells.join("")}\n`;
    })
    .join("");
}

/** Characters, of which those beyond the first plane take two units. */
function widthOf(cell: string): number {
  for (let at = 0; at < cell.length; at++) if (cell.charCodeAt(at) >= 0xd800) return [...cell].length;
  return cell.length;
}
