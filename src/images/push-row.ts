import type { ProgressMessage } from "../api/image.ts";
import { progressText, retryText, SHOWN_MS } from "./progress-text.ts";

/** Between two messages that only move the bar of one layer. */
const PAUSE_MS = 100;

/** What rows say while bytes move, and when they are there. */
export interface RowWords {
  readonly moving: string;
  readonly done: string;
}

/** A layer's row of a push's progress, in Docker's words, or of a copy's. */
export class PushRow {
  readonly #tell: (message: ProgressMessage) => void;
  readonly #id: string;
  readonly #total: number;
  readonly #words: RowWords;
  #told = Number.NEGATIVE_INFINITY;

  /** `total` is what `move` counts up to, in bytes. */
  constructor(tell: (message: ProgressMessage) => void, id: string, total: number, words: RowWords) {
    this.#tell = tell;
    this.#id = id;
    this.#total = total;
    this.#words = words;
  }

  done(): void {
    this.say(this.#words.done);
  }

  say(status: string): void {
    this.#tell({ status, progressDetail: {}, id: this.#id });
  }

  move(current: number, now = performance.now()): void {
    const isWhole = current >= this.#total;
    if (!isWhole && now - this.#told < PAUSE_MS) return;
    this.#told = now;
    this.#tell({
      status: this.#words.moving,
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
