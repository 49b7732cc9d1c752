import type { Expander } from "../../dockerfile/config-effect.ts";
import type { Instruction } from "../../dockerfile/instruction.ts";
import type { Linter } from "../../dockerfile/linter.ts";
import type { Operation } from "../graph.ts";
import type { DraftVertex } from "./draft-graph.ts";
import type { Origin, PlannedStage } from "./stage-state.ts";

/** What planning one instruction needs of those around it. */
export interface Step {
  readonly stage: PlannedStage;
  readonly linter: Linter;
  readonly escaper: string;
  /** Puts the stage's variables in; those that aren't set are told of. */
  readonly expander: Expander;
  /** The same for the text of a document, where quotes are only characters. */
  expandDocument(text: string): Promise<string>;
  readonly site: string;
  readonly proxyEnv: readonly string[];
  readonly cacheNamespace: string;
  readonly hostname: string | undefined;
  /** A build argument. */
  given(name: string): string | undefined;
  /** Whether a path of the main context is left out by its ignore file; undefined where that can't be said. */
  isIgnored(path: string): boolean | undefined;
  /** What COPY and ADD without `--from` read. */
  context(): Promise<Origin>;
  /** A stage, a context or an image; `late` is said of a stage that comes later. */
  origin(from: string, options: { readonly numbers: boolean; readonly late: string }): Promise<Origin>;
  /** A vertex of this instruction; counts as a step in names. */
  vertex(operation: Operation, inputs: readonly DraftVertex[], shown: string, instruction: Instruction): DraftVertex;
  /** Adds a row to the image's history. */
  commit(createdBy: string, vertex?: DraftVertex): void;
  /** Throws `forbidden` for a right that who builds this doesn't give. */
  demand(entitlement: string): void;
  /** Notes a secret or an agent for the outline. */
  needs(kind: "secrets" | "agents", name: string, required: boolean): void;
}
