import type { FlagSpec } from "./spec.ts";

/** The flags as help text, in pflag's layout, wrapped to `columns`. */
export function flagUsages(specs: readonly FlagSpec[], columns: number): string {
  const rows = specs
    .filter((spec) => !spec.hidden)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((spec) => {
      const left = `${spec.short === undefined ? "      " : `  -${spec.short}, `}--${spec.name}${spec.type === "" ? "" : ` ${spec.type}`}`;
      const shown = spec.shownDefault ?? "";
      return { left, text: shown === "" ? spec.usage : `${spec.usage} (default ${shown})` };
    });
  const width = Math.max(0, ...rows.map((row) => row.left.length)) + 3;
  return rows.map((row) => `${row.left.padEnd(width)}${wrap(row.text, width, columns)}\n`).join("");
}

/** Breaks at spaces so that a line ends before `columns`; a last word may run over by up to five. */
function wrap(text: string, indent: number, columns: number): string {
  const slack = 5;
  const width = columns - indent - slack;
  const margin = `\n${" ".repeat(indent)}`;
  if (width < 19) return text.replaceAll("\n", margin);
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let rest = paragraph;
    while (rest.length >= width + slack) {
      const cut = rest.lastIndexOf(" ", width - 1);
      if (cut <= 0) break;
      lines.push(rest.slice(0, cut));
      rest = rest.slice(cut + 1);
    }
    lines.push(rest);
  }
  return lines.join(margin);
}
