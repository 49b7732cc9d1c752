import { humanSize } from "../../../base/units.ts";
import type { StatusResponse } from "../../../buildkit/control.ts";
import { clean } from "../../output/screen.ts";
import type { Display } from "./display.ts";
import { type Bar, type BuildModel, type Change, type Step, secondsOf } from "./model.ts";

const CANCELLED = /context canceled|cancell?ed/;
/** So far apart are two lines of one bar, so that a log of them stays one. */
const BAR_EVERY_MS = 5000;

/** Lines of text, each with its step's number: for logs and pipes. */
export class PlainDisplay implements Display {
  readonly #model: BuildModel;
  readonly #write: (text: string) => void;
  #current: Step | undefined;
  readonly #headed = new Set<Step>();
  readonly #ended = new Set<Step>();
  readonly #toldBars = new Map<string, number>();

  constructor(model: BuildModel, write: (text: string) => void) {
    this.#model = model;
    this.#write = write;
  }

  show(status: StatusResponse): void {
    const change = this.#model.apply(status);
    let text = "";
    for (const step of change.steps)
      if (step.started !== undefined || step.completed !== undefined) text += this.#head(step);
    text += this.#middle(change);
    for (const step of change.steps) if (step.completed !== undefined) text += this.#end(step);
    if (text !== "") this.#write(text);
  }

  finish(): void {}

  #middle({ bars, logs, steps }: Change): string {
    let text = "";
    for (const { step, bar, former } of bars) {
      if (bar.completed !== undefined && former?.completed !== undefined) continue;
      if (bar.completed === undefined && !this.#isDue(step, bar)) continue;
      text += this.#switchTo(step) + this.#row(step, barText(bar));
    }
    for (const { step, lines, at } of logs) {
      if (lines.length > 0) text += this.#switchTo(step);
      for (const line of lines) text += this.#row(step, `${secondsOf(step, at).toFixed(3)} ${clean(line)}`);
    }
    for (const step of steps) {
      const rest = step.completed === undefined || this.#ended.has(step) ? "" : step.log.rest();
      if (rest !== "")
        text += this.#switchTo(step) + this.#row(step, `${secondsOf(step, step.completed!).toFixed(3)} ${clean(rest)}`);
    }
    return text;
  }

  #isDue(step: Step, bar: Bar): boolean {
    const key = `${step.digest} ${bar.id}`;
    const now = Date.now();
    const last = this.#toldBars.get(key);
    this.#toldBars.set(key, last ?? now);
    if (last === undefined || now - last < BAR_EVERY_MS) return false;
    this.#toldBars.set(key, now);
    return true;
  }

  /** Its name, once. */
  #head(step: Step): string {
    if (this.#headed.has(step)) return "";
    this.#headed.add(step);
    return this.#switchTo(step) + this.#row(step, clean(step.name));
  }

  #switchTo(step: Step): string {
    if (this.#current === step) return "";
    const first = this.#current === undefined;
    this.#current = step;
    return first ? "" : "\n";
  }

  #end(step: Step): string {
    if (this.#ended.has(step)) return "";
    this.#ended.add(step);
    const seconds = secondsOf(step, step.completed!).toFixed(1);
    const end =
      step.error !== ""
        ? CANCELLED.test(step.error)
          ? "CANCELED"
          : `ERROR: ${clean(step.error)}`
        : step.cached
          ? "CACHED"
          : `DONE ${seconds}s`;
    return this.#switchTo(step) + this.#row(step, end);
  }

  #row(step: Step, text: string): string {
    return `#${step.number} ${text}\n`;
  }
}

/** `transferring context: 1.2MB / 3.4MB 0.3s done`. */
export function barText({ id, current, total, started, completed }: Bar, now = Date.now()): string {
  const size =
    total > 0 ? ` ${humanSize(current, 4)} / ${humanSize(total, 4)}` : current > 0 ? ` ${humanSize(current, 4)}` : "";
  const seconds = started === undefined ? "" : ` ${secondsOf({ started, completed }, now).toFixed(1)}s`;
  return `${clean(id)}${size}${seconds}${completed === undefined ? "" : " done"}`;
}
