import type { StatusResponse } from "../../../buildkit/control.ts";

/** A step, or something that is done for a build, as it is now. Times are Unix milliseconds. */
export interface Step {
  readonly digest: string;
  name: string;
  inputs: readonly string[];
  started: number | undefined;
  completed: number | undefined;
  cached: boolean;
  error: string;
  readonly bars: Map<string, Bar>;
  readonly log: LogTail;
}

export interface Bar {
  readonly id: string;
  readonly current: number;
  readonly total: number;
  readonly started: number | undefined;
  readonly completed: number | undefined;
}

export interface Warning {
  readonly step: Step | undefined;
  readonly text: string;
  readonly level: number;
  readonly detail: readonly string[];
  readonly url: string;
  readonly file: string;
  /** First and last, counted from 1; 0 where it is of no line. */
  readonly lines: readonly [number, number];
  readonly source: string;
}

const KEPT_LINES = 200;
const MAX_LINE = 8 << 10;

/** The last lines of a step's output. A line without an end yet is one, too. */
export class LogTail {
  #lines: { readonly text: string; readonly seconds: number }[] = [];
  #open = "";
  #seconds = 0;
  #decoder = new TextDecoder();

  /** The lines that these bytes complete; `seconds` after the step's begin they came. */
  add(bytes: Uint8Array, seconds: number): string[] {
    const parts = (this.#open + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#open = (parts.pop() ?? "").slice(-MAX_LINE);
    const whole = parts.map((line) => lastState(line).slice(0, MAX_LINE));
    this.#seconds = seconds;
    this.#lines = [...this.#lines, ...whole.map((text) => ({ text, seconds }))].slice(-KEPT_LINES);
    return whole;
  }

  last(count: number): readonly string[] {
    return this.#all()
      .slice(-count)
      .map(({ text }) => text);
  }

  /** Each with the seconds after which it came. */
  lastTimed(count: number): readonly string[] {
    return this.#all()
      .slice(-count)
      .map(({ text, seconds }) => `${seconds.toFixed(3)} ${text}`);
  }

  #all(): readonly { readonly text: string; readonly seconds: number }[] {
    return this.#open === "" ? this.#lines : [...this.#lines, { text: lastState(this.#open), seconds: this.#seconds }];
  }

  /** What was not ended by a line feed. */
  rest(): string {
    return lastState(this.#open);
  }
}

/** What a terminal would show of a line that goes back to its beginning. */
function lastState(line: string): string {
  const ended = line.endsWith("\r") ? line.slice(0, -1) : line;
  return ended.slice(ended.lastIndexOf("\r") + 1);
}

export interface StepLog {
  readonly step: Step;
  readonly lines: readonly string[];
  /** Unix milliseconds. */
  readonly at: number;
}

/** What changed by one message. */
export interface Change {
  readonly steps: readonly Step[];
  readonly bars: readonly { readonly step: Step; readonly bar: Bar; readonly former: Bar | undefined }[];
  readonly logs: readonly StepLog[];
  readonly warnings: readonly Warning[];
}

/** What is known of a build, put together of what the engine tells. */
export class BuildModel {
  readonly steps = new Map<string, Step>();
  readonly warnings: Warning[] = [];

  get all(): readonly Step[] {
    return [...this.steps.values()];
  }

  apply(status: StatusResponse): Change {
    const steps = status.vertexes.map((vertex) => {
      const step = this.#step(vertex.digest);
      step.name = vertex.name;
      step.inputs = vertex.inputs;
      step.cached ||= vertex.cached;
      step.error = vertex.error;
      step.started = millis(vertex.started) ?? step.started;
      step.completed = millis(vertex.completed) ?? step.completed;
      return step;
    });
    const bars = status.statuses.map((row) => {
      const step = this.#step(row.vertex);
      const former = step.bars.get(row.ID);
      const bar: Bar = {
        id: row.ID,
        current: Number(row.current),
        total: Number(row.total),
        started: millis(row.started),
        completed: millis(row.completed),
      };
      step.bars.set(row.ID, bar);
      return { step, bar, former };
    });
    const logs = status.logs.map((row) => {
      const step = this.#step(row.vertex);
      const at = millis(row.timestamp) ?? 0;
      return { step, lines: step.log.add(row.msg, secondsOf(step, at)), at };
    });
    const warnings = status.warnings.map((row) => warningOf(row, this.steps.get(row.vertex)));
    this.warnings.push(...warnings);
    return { steps, bars, logs, warnings };
  }

  #step(digest: string): Step {
    const known = this.steps.get(digest);
    if (known !== undefined) return known;
    const step: Step = {
      digest,
      name: "",
      inputs: [],
      started: undefined,
      completed: undefined,
      cached: false,
      error: "",
      bars: new Map(),
      log: new LogTail(),
    };
    this.steps.set(digest, step);
    return step;
  }
}

function millis(time: { readonly seconds: bigint; readonly nanos: number } | undefined): number | undefined {
  return time === undefined ? undefined : Number(time.seconds) * 1000 + time.nanos / 1e6;
}

function warningOf(row: StatusResponse["warnings"][number], step: Step | undefined): Warning {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
  const [range] = row.ranges;
  return {
    step,
    text: text(row.short),
    level: Number(row.level),
    detail: row.detail.map(text),
    url: row.url,
    file: row.info?.filename ?? "",
    lines: [range?.start?.line ?? 0, range?.end?.line ?? 0],
    source: row.info === undefined ? "" : text(row.info.data),
  };
}

/** Seconds that a step took, or has taken until now. */
export function secondsOf({ started, completed }: Pick<Step, "started" | "completed">, now: number): number {
  return started === undefined ? 0 : Math.max(0, ((completed ?? now) - started) / 1000);
}
