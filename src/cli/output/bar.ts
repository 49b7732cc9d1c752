import { humanSize } from "../../base/units.ts";

/** Of the bar between its brackets. */
const MOST = 50;
const LEAST = 10;
const BRACKETS = 4;

/**
 * `[=====>     ]  1.2MB/3.4MB` in at most `room` columns: the bar shrinks, and goes where it would say nothing; then
 * figures go. None is ever shown in part.
 */
export function bar(detail: { readonly current?: number; readonly total?: number }, room: number): string {
  const current = detail.current ?? 0;
  const total = detail.total ?? 0;
  const done = humanSize(current, 4).padStart(8);
  if (total <= 0) return fitting([done, done.trim()], room);
  const [whole, rounded] = current > total ? ["?", "?"] : [humanSize(total, 4), humanSize(total, 3)];
  const numbers = `${done}/${whole}`;
  const width = Math.min(MOST, room - numbers.length - BRACKETS);
  if (width < LEAST) {
    const short = humanSize(current, 3);
    return fitting([numbers, numbers.trim(), `${short}/${rounded}`, short], room);
  }
  const filled = Math.min(width, Math.floor((current / total) * width));
  return `[${"=".repeat(filled)}>${" ".repeat(width - filled)}] ${numbers}`;
}

function fitting(texts: readonly string[], room: number): string {
  return texts.find(({ length }) => length <= room) ?? "";
}
