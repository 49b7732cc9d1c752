import { sentenceOf } from "../../base/errno-words.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { BuildOptions } from "../builder.ts";
import type { VertexState } from "../progress.ts";

/** A vertex that is none of the graph, and the lines below it: `exporting to image`. */
export class ResultProgress {
  readonly #onEvent: BuildOptions["onEvent"];
  readonly #vertex: VertexState;

  constructor(onEvent: BuildOptions["onEvent"], name: string, scope: string) {
    this.#onEvent = onEvent;
    this.#vertex = { digest: sha256Of(`${scope} ${name}`), inputs: [], name, cached: false, started: Date.now() };
  }

  async run<T>(act: () => Promise<T>): Promise<T> {
    this.#tell(this.#vertex);
    try {
      const result = await act();
      this.#tell({ ...this.#vertex, completed: Date.now() });
      return result;
    } catch (error) {
      this.#tell({ ...this.#vertex, completed: Date.now(), error: sentenceOf(error) });
      throw error;
    }
  }

  /** Runs a part of it under a line of its own. */
  async step<T>(name: string, act: () => Promise<T>): Promise<T> {
    const started = Date.now();
    this.#status(name, started);
    const result = await act();
    this.#status(name, started, Date.now());
    return result;
  }

  /** A line of what took no time. */
  told(name: string): void {
    const now = Date.now();
    this.#status(name, now, now);
  }

  warn(short: string): void {
    void this.#onEvent({
      type: "warning",
      warning: { vertex: this.#vertex.digest, level: 1, short, detail: [], url: "" },
    });
  }

  #tell(vertex: VertexState): void {
    void this.#onEvent({ type: "vertex", vertex });
  }

  #status(name: string, started: number, completed?: number): void {
    const status = {
      vertex: this.#vertex.digest,
      id: name,
      name,
      current: 0,
      total: 0,
      timestamp: completed ?? started,
      started,
      ...(completed !== undefined && { completed }),
    };
    void this.#onEvent({ type: "status", status });
  }
}
