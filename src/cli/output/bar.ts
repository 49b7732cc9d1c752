import { humanSize } from "../../base/units.ts";

/** Of the bar between its brackets. */
const MOST = 50;
const LEAST = 10;
const BRACKETS = 4;

/** `[=====>     ]  1.2MB/3.4MB` in at most `room` columns; the bar shrinks, and goes where it would say nothing. */
export function bar(detail: { readonly current?: number; readonly total?: number }, room: number): string {
  const current = detail.current ?? 0;
  const total = detail.total ?? 0;
  const done = humanSize(current, 4).padStart(8);
  if (total <= 0) return done;
  const numbers = `${done}/${current > total ? "?" : humanSize(total, 4)}`;
  const width = Math.min(MOST, room - numbers.length - BRACKETS);
  if (width < LEAST) return numbers;
  const filled = Math.min(width, Math.floor((current / total) * width));
  return `[${"=".repeat(filled)}>${" ".repeat(width - filled)}] ${numbers}`;
}
