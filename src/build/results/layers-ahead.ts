import { setTimeout as after } from "node:timers/promises";
import { throwIfAborted } from "../../base/abort.ts";
import { Gate } from "../../base/gate.ts";
import type { ImageAssembly } from "../../images/assemble.ts";
import type { VertexId } from "../graph.ts";
import type { AheadResults } from "../parts.ts";
import type { Root } from "../root.ts";

/** By then the next step's command runs; where there is none, the results are being made. */
const BEGINS_MS = 100;

/**
 * Packs layers of the images to come while later steps run. One at a time: the steps have the other processors. Who
 * makes the image finds them, or waits for the one that is under way.
 */
export class LayersAhead implements AheadResults {
  readonly #vertices: ReadonlySet<VertexId>;
  readonly #open: () => Promise<ImageAssembly>;
  readonly #gate = new Gate(1);
  readonly #tasks = new Set<Promise<void>>();
  readonly #late = new AbortController();
  readonly #ending = new AbortController();
  #assembly: Promise<ImageAssembly> | undefined;

  /** `vertices` are the steps whose layers images will have. */
  constructor(vertices: ReadonlySet<VertexId>, open: () => Promise<ImageAssembly>) {
    this.#vertices = vertices;
    this.#open = open;
  }

  made(vertex: VertexId, root: Root): void {
    if (!this.#vertices.has(vertex) || root.snapshot === undefined || this.#late.signal.aborted) return;
    // What fails here is met, and told, by who makes the image.
    const task = this.#pack(root)
      .catch(() => {})
      .finally(() => void this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  end(): void {
    this.#late.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#late.abort();
    this.#ending.abort();
    await Promise.all(this.#tasks);
    const assembly = await this.#assembly?.catch(() => undefined);
    await assembly?.[Symbol.asyncDispose]();
  }

  async #pack(root: Root): Promise<void> {
    await using held = root.share();
    await after(BEGINS_MS, undefined, { signal: this.#late.signal });
    await this.#gate.run(async () => {
      throwIfAborted(this.#late.signal);
      this.#assembly ??= this.#open();
      const assembly = await this.#assembly;
      await assembly.layer(() => held.layers.at(-1)!.snapshot, { signal: this.#ending.signal });
    });
  }
}
