import type { Instruction } from "../../dockerfile/instruction.ts";
import { RULES } from "../../dockerfile/lint-rules.ts";
import type { Linter } from "../../dockerfile/linter.ts";
import { PatternMatcher } from "../../dockerfile/pattern-matcher.ts";
import { invalid } from "../../dockerfile/source.ts";
import { suggestion } from "../../dockerfile/suggest.ts";
import { type Expansion, ExpansionError, expandText, expandTextInSteps, expandWords } from "../../dockerfile/words.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { demandEntitlement } from "../entitlement.ts";
import { withoutPassword } from "../shown-address.ts";
import { readSourceDate } from "../source-date.ts";
import { NO_VARIABLES, proxyEnv } from "./build-args.ts";
import type { DraftVertex } from "./draft-graph.ts";
import type { ExpansionBudget } from "./expansion-budget.ts";
import type { Sources } from "./sources.ts";
import type { FileScope, Origin, PlannedStage } from "./stage-state.ts";
import type { Step } from "./step.ts";
import { stepName } from "./step-name.ts";
import { inTurns } from "./turns.ts";
import type { PlanInput } from "./types.ts";

/** As BuildKit marks rows of its own. */
const COMMENT = "buildkit.dockerfile.v0";
/** Rows and characters of an image's history that are read again; more would be an image that nobody can load. */
const MOST_HISTORY = 10_000;
const LARGEST_HISTORY = 4 << 20;
/** What the kernel lays over one another, and a container's own on top. */
const MOST_LAYERS = 499;

export interface StepMakerOptions {
  readonly input: PlanInput;
  readonly sources: Sources;
  readonly severalPlatforms: boolean;
  readonly budget: ExpansionBudget;
  /** A stage, a context or an image that a stage reads. */
  readonly origin: (stage: PlannedStage, from: string, options: Parameters<Step["origin"]>[1]) => Promise<Origin>;
}

/** What an instruction is given of its stage and of the build. */
export class StepMaker {
  readonly #options: StepMakerOptions;
  readonly #ignored: PatternMatcher | undefined;
  readonly #proxyEnv: readonly string[];

  constructor(options: StepMakerOptions) {
    this.#options = options;
    const { ignore, request } = options.input;
    // Whether a path comes back by an exception can't be said without the files.
    const matcher = ignore === undefined || ignore.length === 0 ? undefined : new PatternMatcher(ignore);
    this.#ignored = matcher?.hasExceptions ? undefined : matcher;
    this.#proxyEnv = proxyEnv(request.buildArgs);
  }

  /** Of the instruction that is the `index`th of its stage. */
  make(stage: PlannedStage, instruction: Instruction, index: number): Step {
    const { state } = stage;
    const { scope } = state;
    const { budget, input, origin, severalPlatforms, sources } = this.#options;
    const { buildArgs } = input.request;
    const linter = scope.linter.withComments(instruction.comments);
    const { escape: escaper, source } = scope.file.dockerfile;
    const site = `${state.label || state.stage.name || "stage-0"}/${index} ${formatPlatform(stage.platform)}`;
    const spent = (expansion: Expansion): string => {
      lintUnset(stage, instruction, expansion.unmatched, linter);
      return budget.spend(expansion).text;
    };
    const failed = (error: unknown): never => {
      if (error instanceof ExpansionError) lintUnset(stage, instruction, error.unmatched, linter);
      throw error;
    };
    budget.begin();
    return {
      stage,
      linter,
      escaper,
      expander: {
        text: (text) => {
          try {
            return spent(expandText(text, stage.env, { escape: escaper }));
          } catch (error) {
            return failed(error);
          }
        },
        words: (text) => budget.spend(expandWords(text, stage.env, { escape: escaper })).words,
      },
      expandDocument: (text) =>
        inTurns(expandTextInSteps(text, stage.env, { ignoreQuotes: true }), input.signal)
          .then(spent)
          .catch(failed),
      site,
      proxyEnv: this.#proxyEnv,
      cacheNamespace: buildArgs.get("BUILDKIT_CACHE_MOUNT_NS") ?? "",
      hostname: buildArgs.get("BUILDKIT_SANDBOX_HOSTNAME"),
      given: (name) => givenValue(buildArgs, name),
      isIgnored: (path) => this.#isIgnored(scope, path),
      context: () => sources.context(scope.file.context, stage.platform),
      origin: (from, options) => origin(stage, from, options),
      vertex: (operation, inputs, shown, { range: { start, end } }) => ({
        operation,
        inputs,
        name: stepName(stage, showable(instruction, shown), severalPlatforms),
        stage: state.label,
        site,
        source: { file: source.name, start, end },
        ...(stage.ignoreCache && { ignoreCache: true }),
      }),
      commit: (createdBy, vertex) => commit(stage, showable(instruction, createdBy), vertex),
      demand: (entitlement) => {
        const { call, entitlements } = input.request;
        if (call === "build") demandEntitlement(entitlement, entitlements);
      },
      needs: (kind, name, required) => {
        const needs = state.outline[kind];
        if (!needs.has(name)) needs.set(name, { name, required, source, range: instruction.range });
      },
    };
  }

  #isIgnored(scope: FileScope, path: string): boolean | undefined {
    const matcher = scope.file.context === "context" ? this.#ignored : undefined;
    if (matcher === undefined) return undefined;
    if (path === "." || path === "/") return matcher.patterns.some((text) => ["*", "**", "**/*"].includes(text));
    return matcher.matches(path.replace(/^\//, ""));
  }
}

/** A date is told as the number that it is, and not at all if it is empty. */
function givenValue(buildArgs: ReadonlyMap<string, string>, name: string): string | undefined {
  const value = buildArgs.get(name);
  return name === "SOURCE_DATE_EPOCH" && value !== undefined ? readSourceDate(value)?.toString() : value;
}

function lintUnset(stage: PlannedStage, instruction: Instruction, names: ReadonlySet<string>, linter: Linter): void {
  for (const name of names) {
    if (NO_VARIABLES.has(name) || stage.declared.some((arg) => arg.name === name)) continue;
    const meant = suggestion(name, stage.env.keys(), { caseSensitive: true });
    const offending = instruction.code.includes(`\${${name}`) ? `\${${name}` : `$${name}`;
    linter.report(RULES.undefinedVar, RULES.undefinedVar.format(name, meant), instruction.range, offending);
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
  if (vertex !== undefined && ++stage.layers > MOST_LAYERS) {
    throw invalid(`max depth exceeded: an image can have at most ${MOST_LAYERS} layers`);
  }
  stage.history.push({ createdBy, comment: COMMENT, ...(vertex !== undefined && { vertex }) });
}
