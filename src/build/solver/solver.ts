import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import { cancelled } from "../../base/abort.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import type { BuildRequest } from "../builder.ts";
import type { NewStep, StepCache } from "../cache/step-cache.ts";
import type { Vertex } from "../graph.ts";
import type { Operator, OperatorContext, Operators } from "../operator.ts";
import type { BuildFiles } from "../parts.ts";
import type { OnBuildEvent } from "../progress.ts";
import type { Root } from "../root.ts";
import type { Roots } from "../roots.ts";
import { Flights } from "./flights.ts";
import { Places } from "./places.ts";
import { Workshop } from "./workshop.ts";

export interface SolverPorts {
  readonly snapshots: Snapshotter;
  readonly roots: Roots;
  readonly cache: StepCache;
  readonly operators: Operators;
  /** Digests of all that a root has. */
  readonly digest: BuildFiles["digest"];
  /** Steps that run at a time, of all builds; 0 is twice the number of processors. */
  readonly maxParallelism: number;
}

/** A step that is to be run. */
export interface StepRun {
  readonly vertex: Vertex;
  readonly request: BuildRequest;
  readonly key: string;
  /** Held by the caller until it is done. */
  readonly inputs: readonly (Root | undefined)[];
  /** Not shared with other builds: what they began before may be what this one doesn't want. */
  readonly isAlone: boolean;
  readonly keep: Omit<NewStep, "snapshot">;
  readonly signal: AbortSignal;
  readonly onEvent: OnBuildEvent;
}

/** What the solving of all builds shares: which steps run, how many at a time, and where. */
export class Solver {
  readonly ports: SolverPorts;
  readonly #flights = new Flights();
  readonly #places: Places;
  readonly #workshop: Workshop;

  constructor(ports: SolverPorts) {
    this.ports = ports;
    this.#places = new Places(ports.maxParallelism > 0 ? ports.maxParallelism : 2 * availableParallelism());
    this.#workshop = new Workshop(ports);
  }

  /** Runs a step, or joins a build that runs it, and keeps what it made. The caller disposes of the root. */
  run(step: StepRun): Promise<Root> {
    const key = step.isAlone ? `${step.key} ${step.request.id}` : `${step.key} ${surroundings(step.request)}`;
    return this.#flights.join(key, {
      signal: step.signal,
      onEvent: (event) => step.onEvent(event),
      start: (signal, onEvent) => this.#start(step, signal, onEvent),
    });
  }

  async #start(step: StepRun, signal: AbortSignal, onEvent: OnBuildEvent): Promise<Root> {
    // Whoever began it may leave before it is done.
    const held = step.inputs.map((root) => root?.share());
    try {
      return await this.#places.run(signal, async () => {
        const root = await this.#make(
          { ...step, inputs: held },
          { request: step.request, vertex: step.vertex, signal, onEvent },
        );
        this.ports.cache.add(step.key, { ...step.keep, snapshot: root.snapshot! });
        return root;
      });
    } finally {
      await Promise.all(held.map((root) => root?.[Symbol.asyncDispose]()));
    }
  }

  async #make({ inputs, vertex }: StepRun, context: OperatorContext): Promise<Root> {
    const { operation } = vertex;
    if (operation.kind === "merge") return this.#workshop.lay(inputs[1], inputs[0], context.signal);
    if (operation.kind !== "exec" && operation.kind !== "files") throw new Error(`${operation.kind} is a source`);
    const operator = this.ports.operators[operation.kind] as Operator<typeof operation>;
    const parent = operation.root < 0 ? undefined : inputs[operation.root];
    return this.#workshop.change(parent, { bare: operation.kind === "files" }, async (place) => {
      try {
        await operator.run!(operation, { ...place, inputs }, context);
      } catch (error) {
        // What fails because it was ended says nothing.
        throw context.signal.aborted ? cancelled() : error;
      }
      if (context.signal.aborted) throw cancelled();
    });
  }
}

/** What a step may see beside what its key says: builds that differ in it don't share a run. */
function surroundings({ entitlements, extraHosts, limits, network }: BuildRequest): string {
  return createHash("sha256")
    .update(JSON.stringify([network, extraHosts, limits, entitlements]))
    .digest("hex");
}
