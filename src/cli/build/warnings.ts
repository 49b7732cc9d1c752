import { complain, writeAll } from "../output/print.ts";
import { clean } from "../output/screen.ts";
import { excerpt } from "./failure.ts";
import type { View } from "./view.ts";

/** What builds warned of, after them; `verbose` with the lines that it is about. */
export function showWarnings({ kind, model: { warnings } }: Pick<View, "kind" | "model">, verbose: boolean): void {
  if (kind === "quiet" || kind === "rawjson") return;
  if (warnings.length === 0) return;
  const head = `${warnings.length} warning${warnings.length === 1 ? "" : "s"} found`;
  complain(`\n ${head}${verbose ? "" : " (use --debug to expand)"}:`);
  for (const { text, lines, detail, url, file, source } of warnings) {
    complain(` - ${clean(text)}`);
    if (!verbose) continue;
    for (const line of detail) complain(clean(line));
    if (url !== "") complain(`More info: ${url}`);
    if (lines[0] > 0 && source !== "") writeAll(2, excerpt(file, source, lines[0], lines[1]));
  }
}
