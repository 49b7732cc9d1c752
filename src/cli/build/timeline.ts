import type { BuildHistoryEvent, BuildHistoryRow } from "../../api/build-history.ts";

type Vertex = NonNullable<BuildHistoryEvent["vertex"]>;

const ROW = 26;
const LEFT = 420;
const WIDTH = 720;
const MAX_LOG = 256 << 10;

const COLOURS = { done: "#2da44e", cached: "#4f83cc", failed: "#cf222e" } as const;

/** A page of one file: a build's steps as bars over time, what each read, and its log. */
export function timelineHtml(row: BuildHistoryRow, events: readonly BuildHistoryEvent[]): string {
  const steps = new Map<string, Vertex>();
  const logs = new Map<string, string>();
  for (const { vertex, log } of events) {
    if (vertex !== undefined) steps.set(vertex.digest, { ...steps.get(vertex.digest), ...vertex });
    if (log !== undefined) {
      const text = log.text ?? Buffer.from(log.base64 ?? "", "base64").toString();
      logs.set(log.vertex, ((logs.get(log.vertex) ?? "") + text).slice(-MAX_LOG));
    }
  }
  const all = [...steps.values()].filter(({ started, completed }) => started !== undefined || completed !== undefined);
  const begun = Math.min(...all.map(({ started, completed }) => started ?? completed!));
  const ended = Math.max(begun + 1, ...all.map(({ started, completed }) => completed ?? started!));
  const scale = (at: number): number => LEFT + ((at - begun) / (ended - begun)) * WIDTH;
  const bars = all.map((step, index) => bar(step, index, scale));
  const height = all.length * ROW + 30;
  const details = all.map((step, index) => detail(step, index, logs.get(step.digest) ?? ""));
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Build ${asText(row.Name || row.Id)}</title>
<style>
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em; color: #1f2328; background: #fff }
svg { font: 12px ui-monospace, monospace } pre { background: #f6f8fa; padding: .8em; overflow: auto; max-height: 30em }
summary { cursor: pointer } .failed { color: ${COLOURS.failed} }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 } pre { background: #161b22 } svg text { fill: #e6edf3 } }
</style>
<h1>${asText(row.Name || row.Id)}</h1>
<p>${asText(row.Id)} · ${asText(row.CreatedAt)} · ${((ended - begun) / 1000).toFixed(1)} s · ${row.CachedSteps} of ${row.Steps} steps from the cache</p>
${row.Error === "" ? "" : `<p class="failed">${asText(row.Error)}</p>`}
<svg width="${LEFT + WIDTH + 90}" height="${height}" role="img" aria-label="Steps over time">
${bars.join("\n")}
</svg>
${details.join("\n")}
</html>
`;
}

function bar(step: Vertex, index: number, scale: (at: number) => number): string {
  const start = step.started ?? step.completed!;
  const end = step.completed ?? start;
  const [x, y] = [scale(start), index * ROW + 8];
  const width = Math.max(3, scale(end) - x);
  const state = step.error !== undefined && step.error !== "" ? "failed" : step.cached ? "cached" : "done";
  const name = step.name.length > 56 ? `${step.name.slice(0, 55)}…` : step.name;
  return `<a href="#s${index}"><text x="0" y="${y + 14}">${asText(name)}</text>
<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${ROW - 8}" rx="3" fill="${COLOURS[state]}"><title>${asText(step.name)}</title></rect>
<text x="${(x + width + 6).toFixed(1)}" y="${y + 14}">${state === "cached" ? "cached" : `${((end - start) / 1000).toFixed(2)} s`}</text></a>`;
}

function detail(step: Vertex, index: number, log: string): string {
  const why = step.explanation;
  const parts = [
    ...(why === undefined
      ? []
      : [`<p>${asText(why.text)}</p>`, ...(why.diff.length > 0 ? [`<pre>${asText(why.diff.join("\n"))}</pre>`] : [])]),
    ...(step.error === undefined || step.error === "" ? [] : [`<p class="failed">${asText(step.error)}</p>`]),
    ...(log === "" ? [] : [`<pre>${asText(log)}</pre>`]),
  ];
  if (parts.length === 0) return `<p id="s${index}">${asText(step.name)}</p>`;
  return `<details id="s${index}"><summary>${asText(step.name)}</summary>${parts.join("")}</details>`;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Text in a page; what would steer a terminal or nothing at all is left out. */
function asText(text: string): string {
  return text
    .replace(/\x1b\[[0-9;]*[A-Za-z]/g, "")
    .replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "")
    .replace(/[&<>"]/g, (character) => ENTITIES[character]!);
}
