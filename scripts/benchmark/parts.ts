import { availableParallelism } from "node:os";
import type { ThreadPart } from "../../src/images/layer-time.ts";
import type { Peer } from "./peer.ts";

/** One line of what something's time went to: shares of 1. */
export interface PartRow {
  readonly name: string;
  /** Of the time of all processors meanwhile. */
  readonly processors: number | undefined;
  /** Of the layers' time by the clock. */
  readonly layers: number | undefined;
}

/** What the engine's metrics say, by name with labels: seconds and bytes since it started. */
type Figures = ReadonlyMap<string, number>;

const WORK: readonly (readonly [part: ThreadPart, name: string])[] = [
  ["read", "blobs read again"],
  ["digest", "sha256 of the blobs"],
  ["expand", "gunzip"],
  ["tar-digest", "sha256 of the archives"],
  ["extract", "files written"],
];
const BAR = 30;

/** Sums up what pulls' time went to: the engine counts it. */
export class PartsOfPulls {
  readonly #sums = new Map<string, number>();
  #registryMs = 0;
  #wallMs = 0;

  /** Runs a pull, which resolves with its milliseconds. `registryMs` is the registry's processor time so far. */
  async watch(peer: Peer, registryMs: () => number, pull: () => Promise<number>): Promise<number> {
    const [before, registryBefore] = [await figuresOf(peer), registryMs()];
    const ms = await pull();
    for (const [name, value] of await figuresOf(peer)) {
      this.#sums.set(name, (this.#sums.get(name) ?? 0) + value - (before.get(name) ?? 0));
    }
    this.#registryMs += registryMs() - registryBefore;
    this.#wallMs += ms;
    return ms;
  }

  /** Nothing where nothing was watched. The processors' shares come to 1, and so do the layers'. */
  rows(): readonly PartRow[] {
    if (this.#wallMs === 0) return [];
    const all = (availableParallelism() * this.#wallMs) / 1000;
    const seconds = (name: string): number => this.#sums.get(name) ?? 0;
    const clock = (part: string): number => seconds(`gantry_image_layer_seconds_total{part="${part}"}`);
    const engine = seconds("gantry_engine_thread_cpu_seconds_total");
    const threads = seconds("gantry_image_layer_threads_cpu_seconds_total");
    const rest = seconds("process_cpu_seconds_total") - engine - threads;
    const registry = this.#registryMs / 1000;
    const worked = WORK.reduce((sum, [part]) => sum + clock(part), 0);
    // By the clock the parts of the threads' work are longer, where they wait for the disk or a processor.
    const scale = Math.min(1, threads / worked);
    const waits = ["slot", "starved", "queued", "sync", "parent", "commit"];
    const layers = worked + waits.reduce((sum, part) => sum + clock(part), 0);
    const row = (name: string, cpu: number | undefined, clocked?: number): PartRow => ({
      name,
      processors: cpu === undefined ? undefined : cpu / all,
      layers: clocked === undefined ? undefined : clocked / layers,
    });
    return [
      row("a layer waits for its turn to be downloaded", undefined, clock("slot")),
      row("network: the engine's own thread; a layer waits for bytes", engine, clock("starved")),
      row("blobs written, V8's own threads", rest),
      ...WORK.map(([part, name]) => row(name, clock(part) * scale, clock(part))),
      row(
        "the layers' threads: start, messages; a layer waits for its thread",
        threads - worked * scale,
        clock("queued"),
      ),
      row("a layer waits for the disk (sync)", undefined, clock("sync")),
      row("a layer waits for the one below", undefined, clock("parent")),
      row("a layer is committed", undefined, clock("commit")),
      row("the registry", registry),
      row("idle, the tool, whatever else runs", all - engine - threads - rest - registry),
    ];
  }
}

/** A Markdown table with bars. */
export function partsTable(rows: readonly PartRow[]): string {
  const percent = (share: number | undefined): string => (share === undefined ? "" : `${(100 * share).toFixed(0)} %`);
  const bar = (share = 0): string => "█".repeat(Math.max(0, Math.round(share * BAR)));
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [
    line(["", "of the processors", "", "of the layers' time"]),
    line(["---", "--:", "---", "--:"]),
    ...rows.map(({ name, processors, layers }) => line([name, percent(processors), bar(processors), percent(layers)])),
  ].join("\n");
}

async function figuresOf(peer: Peer): Promise<Figures> {
  const { text } = await peer.call("GET", "/metrics");
  return new Map(
    text
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => {
        const space = line.lastIndexOf(" ");
        return [line.slice(0, space), Number(line.slice(space + 1))] as const;
      }),
  );
}
