import { humanSize } from "../base/units.ts";

const WIDTH = 50;

/** The bar that Docker's engine sends along for clients that draw none: `[=====>     ]  1.2MB/3.4MB`. */
export function progressText(current: number, total: number): string {
  const done = humanSize(current).padStart(8);
  if (total <= 0) return current <= 0 ? "" : done;
  const filled = Math.min(WIDTH, Math.trunc(Math.trunc((current / total) * 100) / 2));
  const numbers = current > total ? done : `${done}/${humanSize(total)}`;
  return `[${"=".repeat(filled)}>${" ".repeat(WIDTH - filled)}] ${numbers}`;
}
