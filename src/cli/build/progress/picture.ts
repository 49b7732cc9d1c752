import type { StatusResponse } from "../../../buildkit/control.ts";
import { Canvas, type CanvasOutput, widthOf } from "../../output/canvas.ts";
import { clean } from "../../output/screen.ts";
import type { Colours } from "./colours.ts";
import type { Display } from "./display.ts";
import { type BuildModel, type Step, secondsOf } from "./model.ts";
import { barText } from "./plain.ts";

const DRAW_EVERY_MS = 80;
/** Lines of a running step's output. */
const TAIL = 6;
const GREEN = "32";
const CYAN = "36";
const DIM = "2";

type State = "waiting" | "running" | "cached" | "done" | "failed";

const CELLS: Readonly<Record<State, readonly [unicode: string, ascii: string, colour: string | keyof Colours]>> = {
  waiting: ["○", ".", DIM],
  running: ["◐", ">", CYAN],
  cached: ["◆", "=", "run"],
  done: ["●", "#", GREEN],
  failed: ["✖", "x", "error"],
};

export interface PictureOptions {
  /** Undefined draws without. */
  readonly colours: Colours | undefined;
  /** Lines of a running step's output; 6 without. */
  readonly tail?: number | undefined;
  /** False draws with letters and signs that every terminal has. */
  readonly unicode: boolean;
  readonly now?: () => number;
}

/**
 * A build on a terminal, redrawn in place: a row of cells for each stage, its steps in order, and below them what runs
 * with the end of its output. At the end all steps are left, as they went.
 */
export class Picture implements Display {
  readonly #model: BuildModel;
  readonly #output: CanvasOutput;
  readonly #options: PictureOptions;
  readonly #canvas: Canvas;
  readonly #begun: number;
  #timer: NodeJS.Timeout | undefined;
  #ticking: NodeJS.Timeout | undefined;

  constructor(model: BuildModel, output: CanvasOutput, options: PictureOptions) {
    this.#model = model;
    this.#output = output;
    this.#options = options;
    this.#canvas = new Canvas(output);
    this.#begun = this.#now();
    // Times go on while nothing is told.
    this.#ticking = setInterval(() => this.#draw(), 10 * DRAW_EVERY_MS);
    this.#ticking.unref();
  }

  show(status: StatusResponse): void {
    this.#model.apply(status);
    this.#timer ??= setTimeout(() => this.#draw(), DRAW_EVERY_MS);
  }

  finish(failed: boolean): void {
    clearTimeout(this.#timer);
    clearInterval(this.#ticking);
    this.#canvas.leaveIfChanged();
    const steps = this.#model.all.filter(({ started, completed }) => started !== undefined || completed !== undefined);
    const rows = steps.flatMap((step) => [this.#stepLine(step), ...this.#barLines(step)]);
    const lines = [this.#head(failed ? "" : " FINISHED"), ...this.#stageLines(), ...rows];
    this.#canvas.draw(lines.map((line) => this.#cut(line)));
    this.#canvas.leave();
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now();
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const room = Math.max(3, this.#output.size().rows - 1);
    this.#canvas.leaveIfChanged();
    this.#canvas.draw(this.#lines(room).map((line) => this.#cut(line)));
  }

  /** As many as there is room for: what runs comes before what is over, the latest of that first. */
  #lines(room: number): readonly string[] {
    // Stages have half of it at most: what runs is to be seen, too.
    const head = [this.#head(""), ...this.#stageLines(Math.floor(room / 2))].slice(0, Math.max(1, room - 2));
    let left = room - head.length;
    const running = this.#model.all.filter((step) => stateOf(step) === "running");
    const chosen: string[][] = [];
    for (const step of running) {
      const tail = [
        ...this.#barLines(step),
        ...this.#tailLines(step, running.length > 2 ? 2 : (this.#options.tail ?? TAIL)),
      ];
      const lines = [this.#stepLine(step), ...tail].slice(0, left);
      left -= lines.length;
      if (lines.length > 0) chosen.push(lines);
    }
    const over = this.#model.all
      .filter((step) => step.completed !== undefined)
      .sort((a, b) => a.completed! - b.completed!)
      .slice(left > 0 ? -left : this.#model.steps.size);
    return [...head, ...over.map((step) => this.#stepLine(step)), ...chosen.flat()];
  }

  #head(end: string): string {
    const steps = this.#model.all;
    const over = steps.filter(({ completed }) => completed !== undefined).length;
    const seconds = ((this.#now() - this.#begun) / 1000).toFixed(1);
    return `[+] Building ${seconds}s (${over}/${steps.length})${end}`;
  }

  /** A row for each stage: its name, a cell for each step, what it waits for. Only where there are several steps. */
  #stageLines(most = Number.POSITIVE_INFINITY): string[] {
    const all = stagesOf(this.#model.all);
    const stages = chosenStages(all, most);
    if (stages.length === 0) return [];
    const left = all.length - stages.length;
    const width = Math.min(24, Math.max(...stages.map(({ name }) => name.length)));
    const rows = stages.map(({ name, steps, after }) => {
      const cells = steps.map((step) => this.#cell(stateOf(step))).join("");
      const over = steps.filter(({ completed }) => completed !== undefined).length;
      const arrow = this.#options.unicode ? "←" : "<-";
      const waits = after.length === 0 ? "" : this.#colour(DIM, `  ${arrow} ${after.join(", ")}`);
      return ` ${clean(name).slice(0, width).padEnd(width)}  ${cells}  ${over}/${steps.length}${waits}`;
    });
    return left === 0 ? rows : [...rows, this.#colour(DIM, ` and ${left} more stage${left === 1 ? "" : "s"}`)];
  }

  #cell(state: State): string {
    const [unicode, ascii, colour] = CELLS[state];
    return this.#colour(colour, this.#options.unicode ? unicode : ascii);
  }

  #stepLine(step: Step): string {
    const state = stateOf(step);
    const cancelled = state === "failed" && /cancel/.test(step.error);
    const word = cancelled
      ? "CANCELED "
      : { failed: "ERROR ", cached: "CACHED ", done: "", running: "", waiting: "" }[state];
    const time = state === "waiting" ? "" : `${secondsOf(step, this.#now()).toFixed(1)}s`;
    const line = this.#withTime(` => ${word}${clean(step.name)}`, time);
    if (state === "failed") return this.#colour(cancelled ? "cancel" : "error", line);
    return state === "running" ? line : this.#colour("run", line);
  }

  #barLines(step: Step): string[] {
    return [...step.bars.values()].slice(-8).map((bar) => {
      const text = barText(bar, this.#now())
        .replace(/ [\d.]+s(?= done$|$)/, "")
        .replace(/ done$/, "");
      const line = this.#withTime(` => => ${text}`, `${secondsOf(bar, this.#now()).toFixed(1)}s`);
      return bar.completed === undefined ? line : this.#colour("run", line);
    });
  }

  #tailLines(step: Step, count: number): string[] {
    return step.log.last(count).map((line) => this.#colour(DIM, ` => => # ${clean(line).replaceAll("\t", "  ")}`));
  }

  /** The time at the right edge. */
  #withTime(text: string, time: string): string {
    const room = this.#output.size().columns - 1 - time.length - 1;
    if (time === "" || room < 10) return text;
    return `${text.slice(0, room).padEnd(room)} ${time}`;
  }

  #colour(name: string | keyof Colours, text: string): string {
    const { colours } = this.#options;
    if (colours === undefined) return text;
    return `\x1b[${Object.hasOwn(colours, name) ? colours[name as keyof Colours] : name}m${text}\x1b[0m`;
  }

  #cut(line: string): string {
    const most = Math.max(1, this.#output.size().columns - 1);
    if (widthOf(line) <= most) return line;
    let width = 0;
    let cut = "";
    for (const part of line.split(/(\x1b\[[0-9;]*m)/)) {
      if (part.startsWith("\x1b")) cut += part;
      else {
        cut += part.slice(0, most - width);
        width += Math.min(part.length, most - width);
      }
    }
    return cut;
  }
}

export function stateOf(step: Step): State {
  if (step.error !== "") return "failed";
  if (step.completed !== undefined) return step.cached ? "cached" : "done";
  return step.started === undefined ? "waiting" : "running";
}

interface StageRow {
  readonly name: string;
  readonly steps: readonly Step[];
  /** Names of stages that its steps read. */
  readonly after: readonly string[];
}

/** Where there is no room for all: those in which something runs, then those that wait, then the latest. */
function chosenStages(all: readonly StageRow[], most: number): readonly StageRow[] {
  if (all.length <= most) return all;
  const rank = ({ steps }: StageRow): number => {
    const states = steps.map(stateOf);
    if (states.some((state) => state === "running" || state === "failed")) return 0;
    return states.includes("waiting") ? 1 : 2;
  };
  const chosen = new Set([...all].sort((a, b) => rank(a) - rank(b)).slice(0, Math.max(0, most - 1)));
  return all.filter((stage) => chosen.has(stage));
}

/** What begins a stage is often several stages' own: no step of one. */
const STEP_NAME = /^\[(?:([^\]]*?) )?(\d+)\/(\d+)\] (?!FROM )/;

/** Steps by their stages: `[build 2/5] RUN make` is the second of `build`. What belongs to no stage is left out. */
function stagesOf(steps: readonly Step[]): readonly StageRow[] {
  const stages = new Map<string, { readonly at: number; readonly step: Step }[]>();
  const stageByDigest = new Map<string, string>();
  for (const step of steps) {
    const match = STEP_NAME.exec(step.name);
    if (match === null) continue;
    const name = match[1] ?? "stage";
    stageByDigest.set(step.digest, name);
    const rows = stages.get(name) ?? [];
    rows.push({ at: Number(match[2]), step });
    stages.set(name, rows);
  }
  return [...stages].map(([name, rows]) => {
    const inOrder = rows.sort((a, b) => a.at - b.at).map(({ step }) => step);
    const after = new Set(inOrder.flatMap(({ inputs }) => inputs.map((input) => stageByDigest.get(input) ?? "")));
    after.delete(name);
    after.delete("");
    return { name, steps: inOrder, after: [...after] };
  });
}
