import { humanSize } from "../../../base/units.ts";
import type { StatusResponse } from "../../../buildkit/control.ts";
import { clean } from "../../output/screen.ts";
import type { Display } from "./display.ts";
import { type Bar, type BuildModel, type Change, type Step, secondsOf } from "./model.ts";

/** So far apart are two lines of one bar, so that a log of them stays one; or by this part of it. */
const BAR_EVERY_MS = 5000;
const BAR_EVERY_PART = 0.05;
/** What another step has to say waits so long for the one that is told of. */
const OTHERS_WAIT_MS = 5000;
const LOOK_EVERY_MS = 1000;
const MAX_NAME = 72;

export interface PlainOptions {
  readonly now?: () => number;
  /** Names no longer than 72 characters. */
  readonly truncates?: boolean;
}

/** A step of which something is to be told. */
interface Told {
  readonly step: Step;
  /** Counted from 1, in the order in which steps are told of; 0 before. */
  number: number;
  lines: string[];
  /** Since when its lines wait. */
  since: number;
  isOver: boolean;
}

/**
 * Lines of text, each with its step's number, for logs and pipes: of one step at a time, as long as that runs; of others
 * when they are over, or after a while.
 */
export class PlainDisplay implements Display {
  readonly #model: BuildModel;
  readonly #write: (text: string) => void;
  readonly #options: PlainOptions;
  readonly #told = new Map<Step, Told>();
  readonly #toldBars = new Map<string, { readonly at: number; readonly current: number }>();
  #current: Told | undefined;
  #numbers = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(model: BuildModel, write: (text: string) => void, options: PlainOptions = {}) {
    this.#model = model;
    this.#write = write;
    this.#options = options;
  }

  show(status: StatusResponse): void {
    const touched = this.#gather(this.#model.apply(status));
    this.#tell(touched);
    this.#timer ??= setInterval(() => this.#tell(new Set()), LOOK_EVERY_MS).unref();
  }

  finish(): void {
    clearInterval(this.#timer);
    for (const told of this.#told.values()) if (told.lines.length > 0) this.#print(told);
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now();
  }

  /** What there is to tell, by its steps. */
  #gather({ steps, bars, logs, warnings }: Change): Set<Told> {
    const touched = new Set<Told>();
    const add = (step: Step, line: string): void => {
      const told = this.#of(step);
      if (told.lines.length === 0) told.since = this.#now();
      told.lines.push(line);
      touched.add(told);
    };
    for (const step of steps)
      if (step.started !== undefined || step.completed !== undefined) touched.add(this.#of(step));
    for (const { step, bar, former } of bars) {
      if (this.#isDue(step, bar, former)) add(step, barText(bar));
    }
    for (const { step, text } of warnings) if (step !== undefined) add(step, `WARN: ${clean(text)}`);
    for (const { step, lines, at } of logs) {
      for (const line of lines) add(step, `${secondsOf(step, at).toFixed(3)} ${clean(line)}`);
    }
    for (const step of steps) {
      const rest = step.completed === undefined || this.#of(step).isOver ? "" : step.log.rest();
      if (rest !== "") add(step, `${secondsOf(step, step.completed!).toFixed(3)} ${clean(rest)}`);
    }
    return touched;
  }

  #of(step: Step): Told {
    const known = this.#told.get(step);
    if (known !== undefined) return known;
    const told: Told = { step, number: 0, lines: [], since: this.#now(), isOver: false };
    this.#told.set(step, told);
    return told;
  }

  #isDue(step: Step, bar: Bar, former: Bar | undefined): boolean {
    if (bar.completed !== undefined) return former?.completed === undefined;
    const key = `${step.digest} ${bar.id}`;
    const last = this.#toldBars.get(key);
    const part = last === undefined || bar.total === 0 ? 0 : (bar.current - last.current) / bar.total;
    if (last !== undefined && part < BAR_EVERY_PART && this.#now() - last.at < BAR_EVERY_MS) return false;
    this.#toldBars.set(key, { at: this.#now(), current: bar.current });
    return true;
  }

  #tell(touched: ReadonlySet<Told>): void {
    const over = [...touched].filter(({ step, isOver }) => step.completed !== undefined && !isOver);
    over.sort(
      (a, b) => Number(b === this.#current) - Number(a === this.#current) || a.step.completed! - b.step.completed!,
    );
    for (const told of over) this.#print(told);
    const open = [...this.#told.values()].filter(({ step, isOver }) => !isOver && isOpen(step));
    if (this.#current !== undefined && this.#current.lines.length > 0) this.#print(this.#current);
    const [most] = open.filter((told) => told !== this.#current).sort((a, b) => b.lines.length - a.lines.length);
    if (most === undefined) return;
    const waits = most.lines.length > 0 && this.#now() - most.since > OTHERS_WAIT_MS;
    if (this.#current === undefined || waits) this.#print(most);
  }

  #print(told: Told): void {
    let text = "";
    if (told !== this.#current) {
      if (this.#current !== undefined) text += `#${this.#current.number} ...\n`;
      if (this.#numbers > 0) text += "\n";
      told.number ||= ++this.#numbers;
      const name = clean(told.step.name);
      const isCut = this.#options.truncates === true && name.length > MAX_NAME;
      text += `#${told.number} ${isCut ? `${name.slice(0, MAX_NAME)}...` : name}\n`;
    }
    for (const line of told.lines) text += `#${told.number} ${line}\n`;
    told.lines = [];
    this.#current = told;
    if (told.step.completed !== undefined) {
      if (!told.isOver) text += `#${told.number} ${endOf(told.step)}\n`;
      told.isOver = true;
      this.#current = undefined;
    }
    this.#write(text);
  }
}

function isOpen({ started, completed }: Step): boolean {
  return started !== undefined && completed === undefined;
}

function endOf(step: Step): string {
  if (/context canceled$|cancell?ed$/.test(step.error)) return "CANCELED";
  if (step.error !== "") return `ERROR: ${clean(step.error)}`;
  return step.cached ? "CACHED" : `DONE ${secondsOf(step, step.completed!).toFixed(1)}s`;
}

/** `transferring context: 1.2MB / 3.4MB 0.3s done`. */
export function barText({ id, current, total, started, completed }: Bar, now = Date.now()): string {
  const size = (bytes: number): string => humanSize(bytes, 4);
  const sizes = total > 0 ? ` ${size(current)} / ${size(total)}` : current > 0 ? ` ${size(current)}` : "";
  const seconds = started === undefined ? 0 : secondsOf({ started, completed }, now);
  return `${clean(id)}${sizes}${seconds > 0.01 ? ` ${seconds.toFixed(1)}s` : ""}${completed === undefined ? "" : " done"}`;
}
