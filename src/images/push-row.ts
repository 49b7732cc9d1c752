import type { ProgressMessage } from "../api/image.ts";
import { progressText } from "./progress-text.ts";
import { retryText, SHOWN_MS } from "./pull-rows.ts";

/** Between two messages that only move the bar of one layer. */
const PAUSE_MS = 100;

/** A layer's row of a push's progress, in Docker's words. */
export class PushRow {
  readonly #tell: (message: ProgressMessage) => void;
  readonly #id: string;
  readonly #total: number;
  #told = Number.NEGATIVE_INFINITY;

  /** `total` is what `move` counts up to, in bytes. */
  constructor(tell: (message: ProgressMessage) => void, id: string, total: number) {
    this.#tell = tell;
    this.#id = id;
    this.#total = total;
  }

  say(status: string): void {
    this.#tell({ status, progressDetail: {}, id: this.#id });
  }

  move(current: number, now = performance.now()): void {
    const isWhole = current >= this.#total;
    if (!isWhole && now - this.#told < PAUSE_MS) return;
    this.#told = now;
    this.#tell({
      status: "Pushing",
      progressDetail: { current, total: this.#total },
      progress: progressText(current, this.#total),
      id: this.#id,
    });
  }

  /** Before another try. */
  wait(milliseconds: number): void {
    if (milliseconds >= SHOWN_MS) this.say(retryText(milliseconds));
  }
}
