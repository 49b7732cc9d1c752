import { Breath } from "../../base/breath.ts";
import { GantryError } from "../../base/errors.ts";
import { draftOf, setVariable, variablesOf } from "../../dockerfile/config-effect.ts";
import { quote } from "../../dockerfile/go-text.ts";
import type { Instruction, Stage } from "../../dockerfile/instruction.ts";
import { RULES } from "../../dockerfile/lint-rules.ts";
import type { Linter } from "../../dockerfile/linter.ts";
import { mountFrom } from "../../dockerfile/mount.ts";
import { parseTrigger } from "../../dockerfile/parse.ts";
import { PatternMatcher } from "../../dockerfile/pattern-matcher.ts";
import { readInstruction } from "../../dockerfile/read-instruction.ts";
import { invalid, type SourceRange, withPlace } from "../../dockerfile/source.ts";
import { suggestion, withSuggestion } from "../../dockerfile/suggest.ts";
import { type Expansion, expandText, expandWords } from "../../dockerfile/words.ts";
import type { Platform } from "../../oci/image.ts";
import { formatPlatform, parsePlatform } from "../../oci/platform.ts";
import { withoutPassword } from "../shown-address.ts";
import { platformArgs, proxyEnv } from "./build-args.ts";
import type { DraftVertex } from "./draft-graph.ts";
import { planInstruction } from "./instruction-step.ts";
import type { LoadedFile } from "./loaded-file.ts";
import { copyOfOutline } from "./outline.ts";
import { expandFrom, scopeOf, stageOf } from "./scope.ts";
import { DEFAULT_PATH, type Sources } from "./sources.ts";
import type { FileScope, Origin, OriginImage, PlannedStage, StageState } from "./stage-state.ts";
import type { Step } from "./step.ts";
import { stepName } from "./step-name.ts";
import type { PlanInput } from "./types.ts";

/** As BuildKit marks rows of its own. */
const COMMENT = "buildkit.dockerfile.v0";
/** Rows and characters of an image's history that are read again; more would be an image that nobody can load. */
const MOST_HISTORY = 10_000;
const LARGEST_HISTORY = 4 << 20;
/** Of all files together. */
const MOST_STAGES = 1_000;
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
  readonly #options: PlannerOptions;
  readonly #input: PlanInput;
  readonly #ignored: PatternMatcher | undefined;
  readonly #proxyEnv: readonly string[];
  readonly #breath = new Breath();
  readonly #root: FileScope;
  readonly #stages: StageState[] = [];
  readonly #declared = new Set<string>();

  /** Throws DockerfileError for what is wrong with any stage, planned or not. */
  constructor(options: PlannerOptions) {
    this.#options = options;
    this.#input = options.input;
    const { ignore, request } = options.input;
    // Whether a path comes back by an exception can't be said without the files.
    const matcher = ignore === undefined || ignore.length === 0 ? undefined : new PatternMatcher(ignore);
    this.#ignored = matcher?.hasExceptions ? undefined : matcher;
    this.#proxyEnv = proxyEnv(request.buildArgs);
    this.#root = this.#enter(options.file, "");
    for (const state of this.#stages) this.#findReads(state);
    this.#refuseCircles();
    this.#label();
  }

  get stages(): readonly StageState[] {
    return this.#stages;
  }

  get scope(): FileScope {
    return this.#root;
  }

  /** Names of arguments that some ARG declares, of the stages that were planned. */
  get declared(): ReadonlySet<string> {
    return this.#declared;
  }

  /** The stage that is built. Throws `invalid`. */
  target(): StageState {
    const { target } = this.#input.request;
    const last = this.#stages.at(-1);
    if (target === "" && last !== undefined) return last;
    const found = this.#root.byName.get(target.toLowerCase());
    if (found === undefined) {
      const names = this.#root.byName.keys();
      throw new GantryError(
        "invalid",
        withSuggestion(`target stage ${quote(target)} could not be found`, target, names),
      );
    }
    return found;
  }

  /** Asks for the images of a stage and of all that it reads, side by side, before the first is waited for. */
  prefetch(target: StageState): void {
    const seen = new Set<StageState>();
    const pending = [target];
    for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
      if (seen.has(state)) continue;
      seen.add(state);
      pending.push(...state.reads, ...(state.base === undefined ? [] : [state.base]));
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

  #enter(file: LoadedFile, prefix: string): FileScope {
    const { input, platform, linter } = this.#options;
    const { buildArgs, target } = input.request;
    const own = linter.ofSource(file.dockerfile.source, file.lint);
    const targetStage = target === "" ? (file.dockerfile.stages.at(-1)?.name ?? "") : target;
    const args = platformArgs(input.hostPlatform, platform, targetStage, buildArgs);
    const scope = scopeOf(file, args, buildArgs, own);
    for (const { args: declared } of file.dockerfile.metaArgs)
      for (const { name } of declared) this.#declared.add(name);
    for (const { instruction, file: included } of file.includes) {
      const inner = this.#enter(included, joined(prefix, instruction.prefix));
      for (const [name, state] of inner.byName) {
        const outer = joined(instruction.prefix, name);
        if (scope.byName.has(outer) || file.dockerfile.stages.some((stage) => stage.name === outer)) {
          this.#fail(scope, instruction.range, invalid(`INCLUDE brings a stage ${quote(outer)} that is there already`));
        }
        scope.byName.set(outer, state);
      }
    }
    for (const [index, stage] of file.dockerfile.stages.entries()) this.#addStage(scope, stage, index, prefix);
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
      const outline = copyOfOutline(base?.outline ?? scope.outline);
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
        reads: new Set(),
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
        for (const read of this.#readsOf(state.scope, instruction)) state.reads.add(read);
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
    const visit = (state: StageState): void => {
      if (done.has(state)) return;
      if (way.has(state)) {
        const message = `circular dependency detected on stage: ${state.label}`;
        this.#fail(state.scope, state.stage.range, invalid(message));
      }
      way.add(state);
      for (const read of state.reads) visit(read);
      if (state.base !== undefined) visit(state.base);
      way.delete(state);
      done.add(state);
    };
    for (const state of this.#stages) visit(state);
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
        source: this.#source(state, state.stage.range),
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
      const names = this.#stages.map(({ label }) => label);
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
      await planInstruction(this.#step(stage, instruction, index), instruction);
    } catch (error) {
      this.#fail(stage.state.scope, instruction.range, error);
    }
  }

  #step(stage: PlannedStage, instruction: Instruction, index: number): Step {
    const { state } = stage;
    const { scope } = state;
    const { request } = this.#input;
    const linter = scope.linter.withComments(instruction.comments);
    const { escape: escaper } = scope.file.dockerfile;
    const site = `${state.label || state.stage.name || "stage-0"}/${index} ${formatPlatform(stage.platform)}`;
    const told = (expansion: Expansion): Expansion => {
      this.#lintUnset(stage, instruction, expansion.unmatched, linter);
      return expansion;
    };
    return {
      stage,
      linter,
      escaper,
      expander: {
        text: (text) => told(expandText(text, stage.env, { escape: escaper })).text,
        words: (text) => told(expandWords(text, stage.env, { escape: escaper })).words,
      },
      expandDocument: (text) => told(expandText(text, stage.env, { ignoreQuotes: true })).text,
      site,
      proxyEnv: this.#proxyEnv,
      cacheNamespace: request.buildArgs.get("BUILDKIT_CACHE_MOUNT_NS") ?? "",
      hostname: request.buildArgs.get("BUILDKIT_SANDBOX_HOSTNAME"),
      given: (name) => request.buildArgs.get(name),
      isIgnored: (path) => this.#isIgnored(scope, path),
      context: () => this.#options.sources.context(scope.file.context, stage.platform),
      origin: (from, options) => this.#readOrigin(stage, from, options),
      vertex: (operation, inputs, shown, { range }) => ({
        operation,
        inputs,
        name: stepName(stage, showable(instruction, shown), this.#options.severalPlatforms),
        stage: state.label,
        site,
        source: this.#source(state, range),
        ...(stage.ignoreCache && { ignoreCache: true }),
      }),
      commit: (createdBy, vertex) => commit(stage, showable(instruction, createdBy), vertex),
      needs: (kind, name, required) => {
        const needs = state.outline[kind];
        const { source } = scope.file.dockerfile;
        if (!needs.has(name)) needs.set(name, { name, required, source, range: instruction.range });
      },
    };
  }

  #lintUnset(stage: PlannedStage, instruction: Instruction, names: ReadonlySet<string>, linter: Linter): void {
    for (const name of names) {
      if (stage.declared.some((arg) => arg.name === name)) continue;
      const meant = suggestion(name, stage.env.keys(), { caseSensitive: true });
      const offending = instruction.code.includes(`\${${name}`) ? `\${${name}` : `$${name}`;
      linter.report(RULES.undefinedVar, RULES.undefinedVar.format(name, meant), instruction.range, offending);
    }
  }

  #isIgnored(scope: FileScope, path: string): boolean | undefined {
    const matcher = scope.file.context === "context" ? this.#ignored : undefined;
    if (matcher === undefined) return undefined;
    if (path === "." || path === "/") return matcher.patterns.some((text) => ["*", "**", "**/*"].includes(text));
    return matcher.matches(path.replace(/^\//, ""));
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

  #source({ scope }: StageState, { start, end }: SourceRange) {
    return { file: scope.file.dockerfile.source.name, start, end };
  }

  #fail(scope: FileScope, range: SourceRange, error: unknown): never {
    throw withPlace(error, { source: scope.file.dockerfile.source, range });
  }
}

/** What ADD fetches may need a password, which is nobody's who sees the build or its image. */
function showable({ kind }: Instruction, text: string): string {
  return kind === "add" ? withoutPassword(text) : text;
}

function commit(stage: PlannedStage, createdBy: string, vertex: DraftVertex | undefined): void {
  stage.historySize += createdBy.length;
  if (stage.history.length >= MOST_HISTORY || stage.historySize > LARGEST_HISTORY) {
    throw invalid("the image's history would be too long: no image has as many instructions, or such long ones");
  }
  stage.history.push({ createdBy, comment: COMMENT, ...(vertex !== undefined && { vertex }) });
}

function joined(prefix: string, name: string): string {
  if (prefix === "" || name === "") return prefix + name;
  return `${prefix}-${name}`;
}
