import type { ProgressMessage } from "../../api/image.ts";
import { humanSize } from "../../base/units.ts";

const MOVING = /^(Downloading|Pushing|Copying)$/;
const AWAITED = /^(Pulling fs layer|Waiting|Preparing|Retrying)/;
const ENDED = /^(Pull complete|Already exists|Pushed|Layer already exists|Mounted from|Copied|Skipped)/;
const BETWEEN = /^(Download complete|Verifying Checksum|Extracting)$/;
/** Speed is that of the last seconds: a line that stalls shows it. */
const SPEED_OVER_MS = 4000;
const SAMPLE_EVERY_MS = 200;

/** Where a layer's line stands, from what matters most to who watches to what matters least. */
export type Standing = "moving" | "other" | "awaited" | "ended";

export function standingOf({ status = "", progressDetail }: ProgressMessage): Standing {
  if (ENDED.test(status)) return "ended";
  if ((progressDetail?.current ?? 0) > 0) return "moving";
  return AWAITED.test(status) ? "awaited" : "other";
}

interface Layer {
  /** What it had when it first moved: of a download that goes on, what came before. */
  base: number | undefined;
  current: number;
  total: number;
  isMoving: boolean;
  isEnded: boolean;
}

/** What all layers of a transfer come to: how many are done, how fast it goes, and what remains. */
export class Sums {
  readonly #layers = new Map<string, Layer>();
  readonly #now: () => number;
  #samples: { readonly at: number; readonly moved: number }[] = [];

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  add({ id, status = "", progressDetail }: ProgressMessage): void {
    if (id === undefined || ![MOVING, AWAITED, ENDED, BETWEEN].some((words) => words.test(status))) return;
    const isMoving = MOVING.test(status);
    const current = isMoving ? (progressDetail?.current ?? 0) : 0;
    const layer = this.#layers.get(id) ?? { base: undefined, current: 0, total: 0, isMoving: false, isEnded: false };
    this.#layers.set(id, layer);
    layer.isEnded = ENDED.test(status);
    if (isMoving) {
      layer.base ??= current;
      layer.current = current;
      layer.total = Math.max(progressDetail?.total ?? 0, current);
    } else if (!AWAITED.test(status)) layer.current = layer.total;
    layer.isMoving = isMoving;
  }

  /** `3 of 10 done, 245MB of 1.2GB, 85MB/s, 12s left`, as far as it is known; empty where nothing moves. */
  text(): string {
    const layers = [...this.#layers.values()];
    if (!layers.some(({ isMoving }) => isMoving)) return "";
    const sum = (of: (layer: Layer) => number): number => layers.reduce((total, layer) => total + of(layer), 0);
    const current = sum((layer) => layer.current);
    const total = sum((layer) => layer.total);
    const speed = this.#speed(sum((layer) => Math.max(0, layer.current - (layer.base ?? layer.current))));
    // A layer that still waits doesn't tell its size.
    const isKnown = layers.every((layer) => layer.isEnded || layer.total > 0);
    const parts = [`${layers.filter(({ isEnded }) => isEnded).length} of ${layers.length} done`];
    parts.push(isKnown ? `${humanSize(current, 3)} of ${humanSize(total, 3)}` : humanSize(current, 3));
    if (speed !== undefined) {
      parts.push(`${humanSize(speed, 3)}/s`);
      if (isKnown && speed > 0) parts.push(`${shortTime((total - current) / speed)} left`);
    }
    return parts.join(", ");
  }

  /** Bytes a second; undefined until there is something to go by. */
  #speed(moved: number): number | undefined {
    const at = this.#now();
    const last = this.#samples.at(-1);
    if (last === undefined || at - last.at >= SAMPLE_EVERY_MS) this.#samples.push({ at, moved });
    this.#samples = this.#samples.filter(
      (sample, index) => at - sample.at <= SPEED_OVER_MS || index >= this.#samples.length - 1,
    );
    const first = this.#samples[0];
    if (first === undefined || at - first.at < SAMPLE_EVERY_MS) return undefined;
    return Math.max(0, ((moved - first.moved) / (at - first.at)) * 1000);
  }
}

function shortTime(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
  return `${Math.floor(whole / 3600)}h${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")}m`;
}
