import { GantryError, isKind } from "../../base/errors.ts";
import { Linter, type LintWarning } from "../../dockerfile/linter.ts";
import { DockerfileError } from "../../dockerfile/source.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { ImageConfig, ImageProcess, Platform } from "../../oci/image.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { readAttestOptions } from "../attest/options.ts";
import type { PlannedTarget } from "../graph.ts";
import type { BuildWarning } from "../progress.ts";
import { readSourceDate } from "../source-date.ts";
import { checkAnswer, outlineAnswer, targetsAnswer } from "./answers.ts";
import { isPredefined } from "./build-args.ts";
import { type DraftVertex, finishGraph } from "./draft-graph.ts";
import { type LoadedFile, loadFiles } from "./loaded-file.ts";
import { Planner } from "./planner.ts";
import { Sources } from "./sources.ts";
import type { PlannedStage } from "./stage-state.ts";
import type { Plan, PlanInput } from "./types.ts";

const NO_GRAPH = { vertices: [] };
/** Characters of a file that goes to the client with each warning. */
const LARGEST_SHOWN = 64 << 10;

/**
 * Instructions → the graph of what the target needs, for each platform; or the answer to a question about the
 * Dockerfile. Pure but for its ports. Rejects with DockerfileError (mostly `invalid`) that names file, lines and reason,
 * with what a port rejected with, or when aborted.
 */
export async function plan(input: PlanInput): Promise<Plan> {
  const { call } = input.request;
  if (call === "check") return check(input);
  const file = await loadFiles(input);
  if (call === "targets") return { graph: NO_GRAPH, targets: [], warnings: [], answer: targetsAnswer(file) };
  return new PlanMaker(input, file).make();
}

async function check(input: PlanInput): Promise<Plan> {
  const main = { name: input.file, text: input.text };
  let warnings: readonly LintWarning[] = [];
  let failure: unknown;
  try {
    const maker = new PlanMaker(input, await loadFiles(input));
    try {
      await maker.check();
    } finally {
      warnings = maker.warnings;
    }
  } catch (error) {
    if (!(error instanceof GantryError) || isKind(error, "cancelled")) throw error;
    failure = error;
  }
  return { graph: NO_GRAPH, targets: [], warnings: [], answer: checkAnswer(main, warnings, failure) };
}

class PlanMaker {
  readonly #input: PlanInput;
  readonly #file: LoadedFile;
  readonly #sources: Sources;
  readonly #linter: Linter;

  constructor(input: PlanInput, file: LoadedFile) {
    this.#input = input;
    this.#file = file;
    this.#sources = new Sources(input);
    this.#linter = new Linter(file.dockerfile.source, file.lint);
    readSourceDate(input.request.buildArgs.get("SOURCE_DATE_EPOCH") ?? "");
  }

  get warnings(): readonly LintWarning[] {
    return this.#linter.warnings;
  }

  async make(): Promise<Plan> {
    const platforms = this.#platforms();
    const planners: Planner[] = [];
    for (const platform of platforms) planners.push(await this.#planner(platform, platforms.length > 1));
    const targets = planners.map(({ graph }) => graph.target());
    for (const [index, planner] of planners.entries()) planner.prefetch(targets[index]!);
    const stages: PlannedStage[] = [];
    for (const [index, planner] of planners.entries()) stages.push(await planner.plan(targets[index]!));
    this.#refuseWarnings();
    if (this.#input.request.call === "outline") {
      return { graph: NO_GRAPH, targets: [], warnings: [], answer: outlineAnswer(targets[0]!) };
    }
    return this.#finish(platforms, stages, planners);
  }

  /** Plans the target, or all stages if there is none. */
  async check(): Promise<void> {
    for (const platform of this.#platforms()) {
      const planner = await this.#planner(platform, false);
      const stages = this.#input.request.target === "" ? planner.graph.stages : [planner.graph.target()];
      for (const stage of stages) planner.prefetch(stage);
      for (const stage of stages) await planner.plan(stage);
    }
    this.#refuseWarnings();
  }

  #platforms(): readonly Platform[] {
    const { platforms } = this.#input.request;
    if (platforms.length === 0) return [this.#input.hostPlatform];
    return [...new Map(platforms.map((platform) => [formatPlatform(platform), platform])).values()];
  }

  #planner(platform: Platform, severalPlatforms: boolean): Promise<Planner> {
    return Planner.of({
      input: this.#input,
      file: this.#file,
      sources: this.#sources,
      linter: this.#linter,
      platform,
      severalPlatforms,
    });
  }

  #refuseWarnings(): void {
    const { failure } = this.#linter;
    const [first] = this.#linter.warnings;
    if (failure === undefined || first === undefined) return;
    const { source, range, offending } = first;
    throw new DockerfileError(failure, { source, range, ...(offending !== undefined && { offending }) });
  }

  async #finish(
    platforms: readonly Platform[],
    stages: readonly PlannedStage[],
    planners: readonly Planner[],
  ): Promise<Plan> {
    const rows = stages.flatMap(({ history }) =>
      history.flatMap(({ vertex }) => (vertex === undefined ? [] : [vertex])),
    );
    const roots = stages.flatMap(({ root }) => (root === undefined ? [] : [root]));
    const isScanned = readAttestOptions(this.#input.request).sbom !== undefined;
    const scans = isScanned ? await Promise.all(stages.map((stage, index) => planners[index]!.scans(stage))) : [];
    const scanned = scans.flat().flatMap(({ root }) => (root === undefined ? [] : [root]));
    const { graph, ids } = await finishGraph([...roots, ...rows, ...scanned], this.#input.signal);
    const idOf = (root: DraftVertex | undefined) => (root === undefined ? undefined : ids.get(root));
    const targets = stages.map((stage, index): PlannedTarget => {
      const config = this.#config(stage, platforms[index]!);
      return {
        platform: {
          os: config.os,
          architecture: config.architecture,
          ...(config.variant && { variant: config.variant }),
        },
        root: idOf(stage.root),
        config,
        history: stage.history.map(({ vertex, ...row }) => {
          return vertex === undefined ? row : { ...row, vertex: ids.get(vertex)! };
        }),
        ...(stage.base !== undefined && { base: stage.base }),
        ...(scans[index]?.length && { scans: scans[index].map(({ name, root }) => ({ name, root: idOf(root) })) }),
      };
    });
    return { graph, targets, warnings: this.#buildWarnings(planners) };
  }

  /** An image of another platform than the one that is wished for stays what it is only if none was wished for. */
  #config({ draft, imagePlatform }: PlannedStage, wished: Platform): ImageConfig {
    const { labels, platforms } = this.#input.request;
    const isSame = imagePlatform.os === wished.os && imagePlatform.architecture === wished.architecture;
    const own = platforms.length === 0 || (isSame && wished.variant === undefined);
    const { config, author } = draft;
    if (labels.size > 0) {
      config.Labels = Object.assign(Object.create(null), config.Labels);
      for (const [name, value] of labels) config.Labels![name] = value;
    }
    return {
      ...(own ? imagePlatform : wished),
      ...(author !== undefined && author !== "" && { author }),
      config: tidied(config),
      rootfs: { type: "layers", diff_ids: [] },
    };
  }

  #buildWarnings(planners: readonly Planner[]): BuildWarning[] {
    const vertex = sha256Of(`[internal] load build definition from ${this.#input.file.split("/").at(-1)}`);
    const warnings = this.#linter.warnings.map(({ rule, message, source, range }): BuildWarning => {
      return {
        vertex,
        level: 1,
        short: `${rule.name}: ${message} (line ${range.start})`,
        detail: [rule.description],
        url: rule.url,
        source: { file: source.name, ...range },
        ...(source.text.length <= LARGEST_SHOWN && { text: source.text }),
      };
    });
    const declared = new Set(planners.flatMap((planner) => [...planner.declared]));
    const unused = [...this.#input.request.buildArgs.keys()].filter(
      (name) => !declared.has(name) && !isPredefined(name),
    );
    if (unused.length === 0) return warnings;
    const short = `[Warning] One or more build-args [${unused.sort().join(" ")}] were not consumed`;
    return [...warnings, { vertex, level: 1, short, detail: [], url: "" }];
  }
}

/** Equal configs are written alike: without empty lists, and maps in the order of their keys. */
function tidied(config: ImageProcess): ImageProcess {
  const rows = Object.entries(config).flatMap(([key, value]: [string, unknown]): [string, unknown][] => {
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value.length === 0 ? [] : [[key, value]];
    if (typeof value !== "object" || key === "Healthcheck") return [[key, value]];
    // Keys are users' words: one may be `__proto__`.
    const sorted: Record<string, unknown> = Object.create(null);
    for (const [name, row] of Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) sorted[name] = row;
    return [[key, sorted]];
  });
  return Object.fromEntries(rows);
}
