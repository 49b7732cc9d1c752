import { Breath } from "../../base/breath.ts";
import { GantryError } from "../../base/errors.ts";
import { draftOf, setVariable, variablesOf } from "../../dockerfile/config-effect.ts";
import type { Instruction } from "../../dockerfile/instruction.ts";
import { RULES } from "../../dockerfile/lint-rules.ts";
import type { Linter } from "../../dockerfile/linter.ts";
import { parseTrigger } from "../../dockerfile/parse.ts";
import { readInstruction } from "../../dockerfile/read-instruction.ts";
import { invalid, type SourceRange, withPlace } from "../../dockerfile/source.ts";
import { withSuggestion } from "../../dockerfile/suggest.ts";
import type { Platform } from "../../oci/image.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { ExpansionBudget } from "./expansion-budget.ts";
import { planInstruction } from "./instruction-step.ts";
import type { LoadedFile } from "./loaded-file.ts";
import { type DraftScan, scansOf } from "./scans.ts";
import { stageOf } from "./scope.ts";
import { DEFAULT_PATH, type Sources } from "./sources.ts";
import { StageGraph } from "./stage-graph.ts";
import {
  type DraftHistory,
  type FileScope,
  type Origin,
  type OriginImage,
  type PlannedStage,
  type StageState,
  stagesFrom,
} from "./stage-state.ts";
import { StepMaker } from "./step-maker.ts";
import { stepName } from "./step-name.ts";
import { inTurns } from "./turns.ts";
import type { PlanInput } from "./types.ts";

const LAYERS: ReadonlySet<Instruction["kind"]> = new Set(["add", "copy", "run", "workdir"]);

export interface PlannerOptions {
  readonly input: PlanInput;
  readonly file: LoadedFile;
  readonly sources: Sources;
  readonly linter: Linter;
  readonly platform: Platform;
  readonly severalPlatforms: boolean;
}

/** Plans the stages of a Dockerfile for one platform: those that are asked for, and what they read. */
export class Planner {
  readonly graph: StageGraph;
  readonly #options: PlannerOptions;
  readonly #input: PlanInput;
  readonly #breath = new Breath();
  readonly #declared: Set<string>;
  readonly #steps: StepMaker;

  private constructor(options: PlannerOptions, stages: StageGraph, budget: ExpansionBudget) {
    this.#options = options;
    this.#input = options.input;
    this.graph = stages;
    this.#declared = new Set(stages.declared);
    this.#steps = new StepMaker({
      ...options,
      budget,
      origin: (stage, from, how) => this.#readOrigin(stage, from, how),
    });
  }

  /** Rejects with DockerfileError for what is wrong with any stage, planned or not. */
  static async of(options: PlannerOptions): Promise<Planner> {
    const budget = new ExpansionBudget();
    const stages = await inTurns(StageGraph.inSteps({ ...options, budget }), options.input.signal);
    return new Planner(options, stages, budget);
  }

  /** Names of arguments that some ARG declares, of the stages that were planned. */
  get declared(): ReadonlySet<string> {
    return this.#declared;
  }

  /** Asks for the images of a stage and of all that it reads, side by side, before the first is waited for. */
  prefetch(target: StageState): void {
    for (const state of stagesFrom(target)) {
      if (state.replacedBy !== undefined || state.base !== undefined || state.baseName === "scratch") continue;
      const platform = state.platform ?? this.#options.platform;
      if (this.#options.sources.named(state.baseName, platform) !== undefined) continue;
      try {
        // A failure is told where the stage is planned.
        this.#options.sources.image(state.baseName, platform).catch(() => {});
      } catch {
        // So is a name that is none.
      }
    }
  }

  /** A stage with all that it reads. Each is planned once. */
  plan(state: StageState): Promise<PlannedStage> {
    state.planning ??= this.#planStage(state);
    return state.planning;
  }

  /** What is to be scanned besides a stage that was planned. */
  scans(target: PlannedStage): Promise<readonly DraftScan[]> {
    const { file } = target.state.scope;
    return scansOf(target, () => this.#options.sources.context(file.context, target.platform));
  }

  async #planStage(state: StageState): Promise<PlannedStage> {
    const { scope, stage } = state;
    try {
      const { planned, triggers } = await this.#begin(state);
      if (state.replacedBy !== undefined) return planned;
      const own = stage.instructions.map((instruction) => ({ instruction, onbuild: false }));
      const all = [...triggers.map((text) => this.#trigger(state, text)), ...own];
      let index = 0;
      for (const { instruction, onbuild } of all) {
        planned.steps.onbuild = onbuild;
        await this.#planInstruction(planned, instruction, ++index);
      }
      return planned;
    } catch (error) {
      return this.#fail(scope, stage.range, error);
    }
  }

  #trigger(state: StageState, text: string): { instruction: Instruction; onbuild: boolean } {
    const node = parseTrigger(text, undefined, state.stage.range);
    return { instruction: readInstruction(node), onbuild: true };
  }

  async #begin(state: StageState): Promise<{ planned: PlannedStage; triggers: readonly string[] }> {
    if (state.base === undefined) return this.#beginWithOrigin(state);
    const base = await this.plan(state.base);
    const triggers = state.base.stage.instructions.flatMap((row) => (row.kind === "onbuild" ? [row.expression] : []));
    const draft = draftOf(base.draft.config, base.draft.author);
    // Triggers are carried out once, by whoever comes next.
    delete draft.config.OnBuild;
    const planned: PlannedStage = {
      ...base,
      state,
      draft,
      env: new Map(base.env),
      declared: [...base.declared],
      history: [...base.history],
      last: new Map(),
      steps: this.#counter(state, 0, triggers.length),
      ignoreCache: this.#ignoresCache(state),
    };
    return { planned, triggers };
  }

  async #beginWithOrigin(state: StageState): Promise<{ planned: PlannedStage; triggers: readonly string[] }> {
    const origin = await this.#fromOrigin(state);
    const { image } = origin;
    const draft = draftOf(image?.draft.config ?? { WorkingDir: "/" }, image?.draft.author);
    const triggers = draft.config.OnBuild ?? [];
    delete draft.config.OnBuild;
    if (!draft.places.has("PATH")) setVariable(draft, "PATH", DEFAULT_PATH);
    if (
      draft.config.WorkingDir !== undefined &&
      draft.config.WorkingDir !== "" &&
      !draft.config.WorkingDir.startsWith("/")
    ) {
      draft.config.WorkingDir = `/${draft.config.WorkingDir}`;
    }
    const isImage = origin.root !== undefined || image !== undefined;
    const steps = this.#counter(state, isImage && state.baseName !== "scratch" ? 1 : 0, triggers.length);
    const planned: PlannedStage = {
      state,
      platform: origin.platform,
      imagePlatform: image?.platform ?? origin.platform,
      root: origin.root,
      draft,
      env: variablesOf(draft.config.Env),
      declared: [],
      history: [...(image?.history ?? [])],
      historySize: 0,
      layers: layersOf(image?.history ?? []),
      base: image?.base,
      workdirSet: false,
      last: new Map(),
      steps,
      ignoreCache: this.#ignoresCache(state),
    };
    if (image !== undefined) this.#lintPlatform(state, image, origin.platform);
    if (origin.root !== undefined && image !== undefined) {
      const shown = stepName(planned, origin.root.name, this.#options.severalPlatforms);
      planned.root = {
        ...origin.root,
        name: shown,
        stage: state.label,
        source: { file: state.scope.file.dockerfile.source.name, ...state.stage.range },
      };
    } else if (steps.total > 0 && origin.root !== undefined) steps.done++;
    return { planned, triggers: state.replacedBy === undefined ? triggers : [] };
  }

  async #fromOrigin(state: StageState): Promise<Origin> {
    const { sources, platform: target } = this.#options;
    const platform = state.platform ?? target;
    if (state.replacedBy !== undefined) {
      const origin = await sources.ofValue(state.stage.name, state.replacedBy, platform);
      origin.reads?.("/");
      return origin;
    }
    if (state.baseName === "scratch") return { root: undefined, platform: target };
    const value = sources.named(state.baseName, platform);
    if (value !== undefined) {
      const origin = await sources.ofValue(state.baseName, value, platform);
      origin.reads?.("/");
      return origin;
    }
    return this.#image(state.baseName, platform);
  }

  async #image(name: string, platform: Platform): Promise<Origin> {
    try {
      return await this.#options.sources.image(name, platform);
    } catch (error) {
      if (!(error instanceof GantryError) || error.kind !== "not-found") throw error;
      const names = this.graph.stages.map(({ label }) => label);
      throw new GantryError(error.kind, withSuggestion(error.message, name, names), { cause: error });
    }
  }

  #lintPlatform(state: StageState, image: OriginImage, wanted: Platform): void {
    const { os, architecture } = image.platform;
    if (image.base === undefined || (os === wanted.os && architecture === wanted.architecture)) return;
    const message = RULES.invalidBaseImagePlatform.format(
      state.baseName,
      formatPlatform(wanted),
      formatPlatform(image.platform),
    );
    state.scope.linter.report(RULES.invalidBaseImagePlatform, message, state.stage.range, state.stage.base);
  }

  #counter(state: StageState, first: number, triggers: number): PlannedStage["steps"] {
    if (state.replacedBy !== undefined) return { done: 0, total: first, onbuild: false };
    const layers = state.stage.instructions.filter(({ kind }) => LAYERS.has(kind));
    return { done: 0, total: first + layers.length + triggers, onbuild: false };
  }

  #ignoresCache({ stage, label }: StageState): boolean {
    const { noCache, noCacheFilter } = this.#input.request;
    return noCache || noCacheFilter.some((name) => [stage.name, label].includes(name.toLowerCase()));
  }

  async #planInstruction(stage: PlannedStage, instruction: Instruction, index: number): Promise<void> {
    this.#input.signal.throwIfAborted();
    if (this.#breath.isDue) await this.#breath.take();
    if (instruction.kind === "arg") for (const { name } of instruction.args) this.#declared.add(name);
    try {
      await planInstruction(this.#steps.make(stage, instruction, index), instruction);
    } catch (error) {
      this.#fail(stage.state.scope, instruction.range, error);
    }
  }

  async #readOrigin(
    stage: PlannedStage,
    from: string,
    { numbers, late }: { readonly numbers: boolean; readonly late: string },
  ): Promise<Origin> {
    const read = stageOf(stage.state.scope, from, numbers);
    if (read !== undefined) {
      if (read.position >= stage.state.position) throw invalid(late);
      const { root, platform } = await this.plan(read);
      return { root, platform };
    }
    const { sources, platform } = this.#options;
    if (from === "scratch") return { root: undefined, platform };
    const value = sources.named(from, platform);
    return value === undefined ? this.#image(from, platform) : sources.ofValue(from, value, platform);
  }

  #fail(scope: FileScope, range: SourceRange, error: unknown): never {
    throw withPlace(error, { source: scope.file.dockerfile.source, range });
  }
}

function layersOf(history: readonly DraftHistory[]): number {
  return history.filter(({ emptyLayer, vertex }) => emptyLayer === false || vertex !== undefined).length;
}
