import type { ProgressMessage } from "../../api/image.ts";
import { bar } from "./bar.ts";
import { Canvas, type CanvasOutput } from "./canvas.ts";
import { type Standing, Sums, standingOf } from "./sums.ts";

interface Row {
  readonly id: string;
  message: ProgressMessage;
}

const RANK: Readonly<Record<Standing, number>> = { moving: 0, other: 1, awaited: 2, ended: 3 };
const DRAW_EVERY_MS = 50;

/**
 * Progress on a terminal: a line an id, redrawn in place. Where there are more than the terminal has rows, those that
 * move are shown, and the rest when all is over: nothing above the first line is ever touched.
 */
export class Screen implements Disposable {
  readonly #output: CanvasOutput;
  readonly #canvas: Canvas;
  readonly #sums: Sums | undefined;
  readonly #now: () => number;
  #rows = new Map<string, Row>();
  #timer: NodeJS.Timeout | undefined;
  #drawnAt = Number.NEGATIVE_INFINITY;

  constructor(output: CanvasOutput, options: { readonly sums?: boolean; readonly now?: () => number } = {}) {
    this.#output = output;
    this.#canvas = new Canvas(output);
    this.#now = options.now ?? (() => performance.now());
    this.#sums = options.sums ? new Sums(this.#now) : undefined;
  }

  show(message: ProgressMessage): void {
    const { id = "", stream = "" } = message;
    if (stream !== "") {
      this.finish();
      this.#output.write(clean(stream));
      return;
    }
    if (id === "" && !isMoving(message)) {
      this.finish();
      // Never drawn again: it may go over the terminal's edge, so that a digest is all there.
      this.#output.write(`${headOf(message)}\n`);
      return;
    }
    this.#sums?.add(message);
    const row = this.#rows.get(id);
    if (row === undefined) this.#rows.set(id, { id, message });
    else row.message = message;
    this.#drawSoon();
  }

  /** Leaves all lines as they are now; what comes is written below them. */
  finish(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#rows.size > 0) this.#canvas.draw([...this.#rows.values()].map(({ message }) => this.#line(message)));
    this.#rows = new Map();
    this.#canvas.leave();
    this.#drawnAt = Number.NEGATIVE_INFINITY;
  }

  [Symbol.dispose](): void {
    this.finish();
  }

  #drawSoon(): void {
    const pause = this.#drawnAt + DRAW_EVERY_MS - this.#now();
    if (pause <= 0) this.#drawNow();
    else this.#timer ??= setTimeout(() => this.#drawNow(), pause);
  }

  #drawNow(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#drawnAt = this.#now();
    const lines = this.#lines();
    this.#canvas.leaveIfChanged();
    this.#canvas.draw(lines);
  }

  /** As many lines as the terminal has room for, the last row being the cursor's. */
  #lines(): readonly string[] {
    const rows = [...this.#rows.values()];
    const room = Math.max(1, this.#output.size().rows - 1);
    const sums = this.#sums?.text() ?? "";
    if (rows.length + (sums === "" ? 0 : 1) <= room) {
      const lines = rows.map(({ message }) => this.#line(message));
      return sums === "" ? lines : [...lines, this.#shorten(sums)];
    }
    const order = new Map(rows.map((row, index) => [row, index]));
    const rank = (row: Row): number => RANK[standingOf(row.message)];
    const most = [...rows].sort((a, b) => rank(a) - rank(b) || order.get(a)! - order.get(b)!).slice(0, room - 1);
    const shown = new Set(most);
    const rest = rows.length - shown.size;
    const last = [`and ${rest} more`, ...(sums === "" ? [] : [sums])].join("; ");
    return [...rows.filter((row) => shown.has(row)).map(({ message }) => this.#line(message)), this.#shorten(last)];
  }

  #line(message: ProgressMessage): string {
    const head = headOf(message);
    if (!isMoving(message)) return this.#cut(head);
    return this.#cut(`${head} ${bar(message.progressDetail ?? {}, this.#output.size().columns - head.length - 2)}`);
  }

  /** Leaves out the last of its parts until it fits: half a figure would be a wrong one. */
  #shorten(text: string): string {
    if (text.length < this.#output.size().columns) return text;
    const parts = text.split(/(?=[,;] )/);
    return parts.length > 1 ? this.#shorten(parts.slice(0, -1).join("")) : this.#cut(text);
  }

  /** A full line would move the cursor on some terminals and not on others. */
  #cut(text: string): string {
    return text.slice(0, Math.max(1, this.#output.size().columns - 1));
  }
}

function headOf(message: ProgressMessage): string {
  return `${prefix(message)}${clean(message.status ?? "").replace(/[\r\n\t]/g, " ")}`;
}

export function isMoving({ progressDetail }: ProgressMessage): boolean {
  return (progressDetail?.current ?? 0) > 0 || (progressDetail?.total ?? 0) > 0;
}

export function prefix({ id = "" }: ProgressMessage): string {
  return id === "" ? "" : `${clean(id)}: `;
}

/** What an image's author wrote must not steer the terminal. */
export function clean(text: string): string {
  return text.replace(/[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]|\x1b(?!\[[0-9;]*m)/g, "");
}
