import { humanSize } from "../base/units.ts";

const WIDTH = 50;

/** Shorter waits before another try are not worth a word. */
export const SHOWN_MS = 1000;

/** The bar that Docker's engine sends along for clients that draw none: `[=====>     ]  1.2MB/3.4MB`. */
export function progressText(current: number, total: number): string {
  const done = humanSize(current).padStart(8);
  if (total <= 0) return current <= 0 ? "" : done;
  const filled = Math.min(WIDTH, Math.trunc(Math.trunc((current / total) * 100) / 2));
  const numbers = current > total ? done : `${done}/${humanSize(total)}`;
  return `[${"=".repeat(filled)}>${" ".repeat(WIDTH - filled)}] ${numbers}`;
}

/** Docker's word on a wait before another try. */
export function retryText(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  return `Retrying in ${seconds} second${seconds === 1 ? "" : "s"}`;
}
