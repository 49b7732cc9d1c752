import { quote } from "../../dockerfile/go-text.ts";
import type { Instruction, Stage } from "../../dockerfile/instruction.ts";
import { RULES } from "../../dockerfile/lint-rules.ts";
import type { Linter } from "../../dockerfile/linter.ts";
import { mountFrom } from "../../dockerfile/mount.ts";
import { invalid, type SourceRange, withPlace } from "../../dockerfile/source.ts";
import { withSuggestion } from "../../dockerfile/suggest.ts";
import { expandText } from "../../dockerfile/words.ts";
import type { Platform } from "../../oci/image.ts";
import { parsePlatform } from "../../oci/platform.ts";
import { MissingTarget } from "../missing.ts";
import { platformArgs } from "./build-args.ts";
import type { ExpansionBudget } from "./expansion-budget.ts";
import type { LoadedFile } from "./loaded-file.ts";
import { outlineOn } from "./outline.ts";
import { expandFrom, scopeInSteps, stageOf } from "./scope.ts";
import type { Sources } from "./sources.ts";
import type { FileScope, StageState } from "./stage-state.ts";
import type { PlanInput } from "./types.ts";

/** Of all files together. */
const MOST_STAGES = 1_000;

export interface StageGraphOptions {
  readonly input: PlanInput;
  readonly file: LoadedFile;
  readonly sources: Sources;
  readonly linter: Linter;
  readonly platform: Platform;
  readonly budget: ExpansionBudget;
}

/** The stages of a Dockerfile and of those that it includes, for one platform, and which of them read which. */
export class StageGraph {
  readonly #options: StageGraphOptions;
  readonly #input: PlanInput;
  readonly #stages: StageState[] = [];
  readonly #declared = new Set<string>();
  #root: FileScope | undefined;

  private constructor(options: StageGraphOptions) {
    this.#options = options;
    this.#input = options.input;
  }

  /** Throws DockerfileError for what is wrong with any stage, planned or not. Pauses after each. */
  static *inSteps(options: StageGraphOptions): Generator<void, StageGraph> {
    const graph = new StageGraph(options);
    graph.#root = yield* graph.#enter(options.file, "");
    for (const state of graph.#stages) {
      graph.#findReads(state);
      yield;
    }
    graph.#refuseCircles();
    graph.#requireNames();
    graph.#label();
    return graph;
  }

  get stages(): readonly StageState[] {
    return this.#stages;
  }

  /** Names of arguments that some ARG before a FROM declares. */
  get declared(): ReadonlySet<string> {
    return this.#declared;
  }

  /** The stage that is built. Throws `invalid`. */
  target(): StageState {
    const { target } = this.#input.request;
    const last = this.#stages.at(-1);
    if (target === "" && last !== undefined) return last;
    const found = this.#root!.byName.get(target.toLowerCase());
    if (found === undefined) {
      const names = this.#root!.byName.keys();
      const what = `target stage ${quote(target)} could not be found`;
      throw new MissingTarget(target, withSuggestion(what, target, names));
    }
    return found;
  }

  *#enter(file: LoadedFile, prefix: string): Generator<void, FileScope> {
    const { input, platform, linter } = this.#options;
    const { target } = input.request;
    const buildArgs = new Map(input.request.buildArgs);
    // A date that is empty is none.
    if (buildArgs.get("SOURCE_DATE_EPOCH") === "") buildArgs.delete("SOURCE_DATE_EPOCH");
    const own = linter.ofSource(file.dockerfile.source, file.lint);
    const targetStage = target === "" ? (file.dockerfile.stages.at(-1)?.name ?? "") : target;
    const args = platformArgs(input.hostPlatform, platform, targetStage, buildArgs);
    const { budget } = this.#options;
    const scope = yield* scopeInSteps(file, { predefined: args, given: buildArgs, linter: own, budget });
    for (const { args: declared } of file.dockerfile.metaArgs)
      for (const { name } of declared) this.#declared.add(name);
    for (const { instruction, file: included } of file.includes) {
      const inner = yield* this.#enter(included, joined(prefix, instruction.prefix));
      for (const [name, state] of inner.byName) {
        const outer = joined(instruction.prefix, name);
        if (scope.byName.has(outer) || file.dockerfile.stages.some((stage) => stage.name === outer)) {
          this.#fail(scope, instruction.range, invalid(`INCLUDE brings a stage ${quote(outer)} that is there already`));
        }
        scope.byName.set(outer, state);
      }
    }
    for (const [index, stage] of file.dockerfile.stages.entries()) {
      this.#addStage(scope, stage, index, prefix);
      yield;
    }
    return scope;
  }

  #addStage(scope: FileScope, stage: Stage, index: number, prefix: string): void {
    try {
      if (this.#stages.length >= MOST_STAGES) throw invalid(`a build can have at most ${MOST_STAGES} stages`);
      const linter = scope.linter.withComments(stage.comments);
      const { text: baseName, matched } = expandFrom(scope, stage, stage.base, linter);
      if (baseName === "") throw invalid(`base name (${stage.base}) should not be blank`);
      const used = new Set(matched);
      const platform = this.#fromPlatform(scope, stage, used, linter);
      const base = scope.byName.get(baseName.toLowerCase());
      const outline = outlineOn(base?.outline ?? scope.outline);
      for (const name of used) outline.used.add(name);
      const named = stage.name === "" ? undefined : this.#options.sources.named(stage.name, this.#options.platform);
      const state: StageState = {
        scope,
        stage,
        position: this.#stages.length,
        label: joined(prefix, stage.name === "" ? `stage-${index}` : stage.name),
        baseName,
        base: named === undefined ? base : undefined,
        platform,
        replacedBy: named,
        outline,
        reads: new Map(),
        planning: undefined,
      };
      this.#stages.push(state);
      scope.stages.push(state);
      if (stage.name !== "") scope.byName.set(stage.name, state);
    } catch (error) {
      this.#fail(scope, stage.range, error);
    }
  }

  #fromPlatform(scope: FileScope, stage: Stage, used: Set<string>, linter: Linter): Platform | undefined {
    const written = stage.platform;
    if (written === undefined) return undefined;
    const { text, matched, unmatched } = expandFrom(scope, stage, written, linter);
    for (const name of matched) used.add(name);
    const unset = [...unmatched][0] ?? "";
    if (text === "") {
      throw invalid(withSuggestion(`empty platform value from expression ${written}`, unset, scope.globals.keys()));
    }
    let platform: Platform;
    try {
      platform = parsePlatform(text);
    } catch (error) {
      throw invalid(
        withSuggestion(`failed to parse platform ${written}: ${(error as Error).message}`, unset, scope.globals.keys()),
      );
    }
    if (
      matched.size === 1 &&
      unmatched.size === 0 &&
      matched.has("TARGETPLATFORM") &&
      text === scope.globals.get("TARGETPLATFORM")
    ) {
      linter.report(RULES.redundantTargetPlatform, RULES.redundantTargetPlatform.format(written), stage.range, written);
    }
    const isConstant = matched.size === 0 && unmatched.size === 0;
    if (isConstant && !stage.name.includes(platform.os) && !stage.name.includes(platform.architecture)) {
      const message = RULES.fromPlatformFlagConstDisallowed.format(text);
      linter.report(RULES.fromPlatformFlagConstDisallowed, message, stage.range, written);
    }
    return platform;
  }

  /** The stages that a stage's instructions name, and names that are none of a stage. */
  #findReads(state: StageState): void {
    for (const instruction of state.stage.instructions) {
      try {
        for (const read of this.#readsOf(state.scope, instruction)) state.reads.set(read, instruction.range);
      } catch (error) {
        this.#fail(state.scope, instruction.range, error);
      }
    }
  }

  #readsOf(scope: FileScope, instruction: Instruction): StageState[] {
    if (instruction.kind === "copy" && instruction.from !== "") {
      if (expandText(instruction.from, new Map()).text !== instruction.from) {
        throw invalid(
          "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        );
      }
      const stage = stageOf(scope, instruction.from, true);
      return stage === undefined ? [] : [stage];
    }
    if (instruction.kind !== "run") return [];
    return instruction.mounts
      .map(mountFrom)
      .map((from) => (from === "" ? undefined : stageOf(scope, from, false)))
      .filter((stage) => stage !== undefined);
  }

  #refuseCircles(): void {
    const done = new Set<StageState>();
    const way = new Set<StageState>();
    const visit = (state: StageState, range: SourceRange, first: StageState): void => {
      if (done.has(state)) return;
      if (way.has(state)) {
        this.#fail(first.scope, range, invalid(`circular dependency detected on stage: ${first.label}`));
      }
      way.add(state);
      for (const [read, reading] of state.reads) visit(read, reading, first);
      if (state.base !== undefined) visit(state.base, state.stage.range, first);
      way.delete(state);
      done.add(state);
    };
    for (const state of this.#stages) visit(state, state.stage.range, state);
  }

  /** Whether a stage is needed or not, what it begins with has to be a name. */
  #requireNames(): void {
    for (const { scope, stage, base, baseName, replacedBy } of this.#stages) {
      if (base !== undefined || replacedBy !== undefined || baseName === "scratch") continue;
      try {
        this.#options.sources.requireName(baseName);
      } catch (error) {
        this.#fail(scope, stage.range, error);
      }
    }
  }

  /** A stage that is alone has no name in progress, if nothing else takes part. */
  #label(): void {
    const [only, ...more] = this.#stages;
    if (only === undefined || more.length > 0) return;
    const readsOthers = only.stage.instructions.some(
      (instruction) =>
        (instruction.kind === "copy" && instruction.from !== "") ||
        (instruction.kind === "run" && instruction.mounts.length > 0),
    );
    if (!readsOthers) only.label = "";
  }

  #fail(scope: FileScope, range: SourceRange, error: unknown): never {
    throw withPlace(error, { source: scope.file.dockerfile.source, range });
  }
}

function joined(prefix: string, name: string): string {
  if (prefix === "" || name === "") return prefix + name;
  return `${prefix}-${name}`;
}
