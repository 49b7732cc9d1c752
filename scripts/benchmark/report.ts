import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";

import type { PartRow } from "./parts.ts";

export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly group: string | undefined;
  /** Median by peer. */
  readonly medians: Readonly<Record<string, number>>;
  readonly parts?: readonly PartRow[] | undefined;
}

/** Garbage collections of the measured processes move their memory by more than this a container. */
const LEAST_MIB = 0.1;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * A Markdown table of medians; the last column says how many times less the first peer needed than the second, or how
 * many times more it did in a second.
 */
export function tableOf(rows: readonly Row[], peers: readonly string[]): string {
  const [first, second] = peers;
  const header = ["", ...peers, ...(second === undefined ? [] : ["times better"])];
  const body = rows.map(({ name, unit, medians }) => {
    const cells = peers.map((peer) => `${formatted(medians[peer], unit)} ${unit}`);
    const ratio = second === undefined || first === undefined ? [] : [ratioOf(medians[second], medians[first], unit)];
    return [name, ...cells, ...ratio];
  });
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(header), line(header.map((_, index) => (index === 0 ? "---" : "--:"))), ...body.map(line)].join("\n");
}

/** The page with a table in place of the first one in a section; the section is begun where there is none. */
export function withTable(text: string, heading: string, table: string): string {
  const title = `\n## ${heading}\n`;
  const start = text.indexOf(title);
  if (start === -1) return `${text.trimEnd()}\n${title}\n${table}\n`;
  const next = text.indexOf("\n## ", start + title.length);
  const end = next === -1 ? text.length : next;
  const section = text.slice(start, end);
  const old = /(?:^\|.*\n)+/m;
  const changed = old.test(section) ? section.replace(old, () => `${table}\n`) : `${section.trimEnd()}\n\n${table}\n`;
  return text.slice(0, start) + changed + text.slice(end);
}

function formatted(value: number | undefined, unit: string): string {
  if (value !== undefined && unit === "MiB" && value < LEAST_MIB) return `< ${LEAST_MIB}`;
  if (value === undefined || Number.isNaN(value)) return "–";
  if (unit === "processes") return value.toFixed(0);
  if (unit === "ms" && value < 1) return value.toFixed(3);
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function ratioOf(value: number | undefined, by: number | undefined, unit: string): string {
  if (value !== undefined && by !== undefined && unit === "MiB" && by < LEAST_MIB) {
    return value < LEAST_MIB ? "–" : `> ${(value / LEAST_MIB).toFixed(0)}×`;
  }
  if (value === undefined || by === undefined || !(value > 0 && by > 0)) return "–";
  return `${(unit.endsWith("/s") ? by / value : value / by).toFixed(1)}×`;
}

/** What else the machine was doing; to be asked before the first measurement. */
export function load(): string {
  return (loadavg()[0] ?? 0).toFixed(1);
}

/** The machine in a sentence, as far as it matters to the figures. */
function machine(): string {
  const system = /^PRETTY_NAME="?([^"\n]+)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "Linux";
  const cores = cpus();
  const model = cores[0]?.model.trim() ?? "unknown processor";
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${system}, kernel ${release()}, ${cores.length} × ${model}, ${memory} GiB of memory`;
}

export function page(
  rows: readonly Row[],
  peers: readonly string[],
  versions: readonly string[],
  load: string,
): string {
  return `# Performance

Written by \`npm run bench\`, which measures the engines in turns in one run: each with its own roots, socket and
network namespace, the same image, each driven by its own command-line tool. Figures are medians after a warm-up.
The last column says how many times less the first needs, of what is counted by the second how many times more it does.
They hold for this machine and say nothing certain about another; differences below a third mean little. Before each
measurement the bench waits for the processors to be idle, so that neither engine pays for what the other still cleans.

- Machine: ${machine()}.
- Load average before the run: ${load}; other work slows both engines and blurs small differences.
${versions.map((version) => `- ${version}`).join("\n")}

${tableOf(rows, peers)}

Times of commands include starting the tool itself. Memory is the proportional set size of all processes that serve
the engine (daemons, supervisor, shims, proxies), without the containers' own processes.
`;
}
