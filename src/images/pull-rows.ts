import type { ProgressMessage } from "../api/image.ts";
import type { Descriptor } from "../oci/image.ts";
import type { LayerStep } from "./ports.ts";
import { progressText, retryText, SHOWN_MS } from "./progress-text.ts";
import { shortId } from "./resolve.ts";

/** Between two messages that only move the bar of one layer. */
const PAUSE_MS = 100;

const STATUS: Record<LayerStep, string> = {
  waiting: "Waiting",
  downloading: "Downloading",
  verifying: "Verifying Checksum",
  downloaded: "Download complete",
  extracting: "Extracting",
  done: "Pull complete",
  exists: "Already exists",
};

/** A layer's row of a pull's progress, in Docker's words. */
export class PullRow {
  readonly #tell: (message: ProgressMessage) => void;
  readonly #id: string;
  #step: LayerStep | undefined;
  #told = 0;
  #wasWhole = false;

  constructor(tell: (message: ProgressMessage) => void, descriptor: Descriptor) {
    this.#tell = tell;
    this.#id = shortId(descriptor.digest);
  }

  /** Before anything is done of it. */
  begin(): void {
    this.#tell({ status: "Pulling fs layer", progressDetail: {}, id: this.#id });
  }

  /** The registry failed or wants to be left alone for a while. */
  wait(milliseconds: number): void {
    if (milliseconds < SHOWN_MS) return;
    this.#tell({ status: retryText(milliseconds), progressDetail: {}, id: this.#id });
  }

  /**
   * Each step is told once, and of one that moves so much that it can be followed. What happened unseen, since a layer
   * is verified and extracted while it arrives, is told in its place: clients know the steps in their order.
   */
  move(step: LayerStep, current = 0, total = 0, now = performance.now()): void {
    if (step === "done") this.#catchUp(total, now);
    if (step === "downloading" || step === "extracting") {
      this.#follow(step, current, total, now);
      return;
    }
    if (step !== this.#step) this.#tell({ status: STATUS[step], progressDetail: {}, id: this.#id });
    this.#step = step;
  }

  #catchUp(total: number, now: number): void {
    if (this.#step === "downloading") this.move("verifying");
    if (this.#step !== "downloaded" && this.#step !== "extracting") this.move("downloaded");
    this.#follow("extracting", total, total, now);
  }

  #follow(step: "downloading" | "extracting", current: number, total: number, now: number): void {
    const isWhole = total > 0 && current >= total;
    if (step === this.#step && (isWhole ? this.#wasWhole : now - this.#told < PAUSE_MS)) return;
    this.#step = step;
    this.#told = now;
    this.#wasWhole = isWhole;
    this.#tell({
      status: STATUS[step],
      progressDetail: { current, total },
      progress: progressText(current, total),
      id: this.#id,
    });
  }
}
