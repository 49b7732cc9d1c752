import { cancelled } from "../base/abort.ts";
import { withoutErrno } from "../base/errno-words.ts";
import { GantryError, messageOf } from "../base/errors.ts";
import { hostPlatform } from "../oci/platform.ts";
import type { DescribedSource } from "./asked-source.ts";
import type {
  BuildContainer,
  Builder,
  BuildHistory,
  BuildOptions,
  BuildRequest,
  BuildResult,
  CacheUsage,
  ContainerRequest,
  PruneOptions,
  TargetProvenance,
} from "./builder.ts";
import type { GcRule } from "./cache/policy.ts";
import type { Upkeep } from "./cache/upkeep.ts";
import { planDefinition } from "./definition/plan-definition.ts";
import { describeSource } from "./describe-source.ts";
import { describeRequest } from "./history/describe-request.ts";
import type { History } from "./history/history.ts";
import type { BuildInputs, BuildResults, BuildSources, ExportInput, LoadedDockerfile, SolvedTarget } from "./parts.ts";
import type { Plan, PlanInput } from "./plan/types.ts";
import type { OnBuildEvent } from "./progress.ts";
import type { Solver } from "./solver/solver.ts";
import { Solving } from "./solver/solving.ts";

export interface BuildsPorts {
  readonly sources: BuildSources;
  readonly plan: (input: PlanInput) => Promise<Plan>;
  readonly solver: Solver;
  readonly results: BuildResults;
  readonly history: History;
  readonly upkeep: Upkeep;
  readonly openContainer: Builder["openContainer"];
  /** How what was made came about. */
  readonly provenance?: (input: ExportInput) => readonly TargetProvenance[];
}

interface UnderWay {
  readonly controller: AbortController;
  readonly done: Promise<unknown>;
}

const NO_RECORDING: ReturnType<History["begin"]> = { add: () => {}, end: () => {} };

/** The builds of one engine: from a request to its results. */
export class Builds implements Builder {
  readonly #ports: BuildsPorts;
  readonly #underWay = new Map<string, UnderWay>();
  #isClosed = false;

  constructor(ports: BuildsPorts) {
    this.#ports = ports;
  }

  get history(): BuildHistory {
    return this.#ports.history;
  }

  async build(request: BuildRequest, options: BuildOptions): Promise<BuildResult> {
    const { history, results, upkeep } = this.#ports;
    // Connections that were handed over outlive the servers: who is on one could begin anew while the rest ends.
    if (this.#isClosed) throw new GantryError("unavailable", "cannot build: the engine is ending");
    results.check(request);
    if (this.#underWay.has(request.id)) throw new GantryError("conflict", `a build ${request.id} is under way`);
    // A question isn't a build: it makes nothing.
    const isRecorded = request.call === "build" && request.isInternal !== true;
    const recording = isRecorded ? history.begin(describeRequest(request)) : NO_RECORDING;
    const controller = new AbortController();
    const stop = () => controller.abort();
    options.signal.addEventListener("abort", stop, { once: true });
    if (options.signal.aborted) stop();
    let warnings = 0;
    const onEvent: OnBuildEvent = (event) => {
      if (event.type === "warning") warnings++;
      return both(recording.add(event), options.onEvent(event));
    };
    const counts = { steps: 0, cachedSteps: 0 };
    const building = this.#run(request, { ...options, signal: controller.signal, onEvent }, counts);
    this.#underWay.set(request.id, { controller, done: building.catch(() => {}) });
    try {
      const result = { ...(await building), warnings };
      recording.end(
        { ...counts, warnings, metadata: Object.fromEntries(result.metadata) },
        options.attach?.({ result }),
      );
      return result;
    } catch (error) {
      const failure = controller.signal.aborted ? cancelled() : withoutErrno(error);
      recording.end({ ...counts, warnings, error: messageOf(failure) }, options.attach?.({ error: failure }));
      throw failure;
    } finally {
      this.#underWay.delete(request.id);
      options.signal.removeEventListener("abort", stop);
      upkeep.collectSoon();
    }
  }

  cancel(id: string): void {
    this.#underWay.get(id)?.controller.abort();
  }

  usage(filters: readonly string[]): Promise<readonly CacheUsage[]> {
    return this.#ports.upkeep.usage(filters);
  }

  prune(options: PruneOptions): Promise<{ readonly deleted: readonly string[]; readonly spaceReclaimed: number }> {
    return this.#ports.upkeep.prune(options);
  }

  describeSource(...[request, asked, options]: Parameters<Builder["describeSource"]>): Promise<DescribedSource> {
    return describeSource(this.#ports.sources, request, asked, options);
  }

  openContainer(request: ContainerRequest, signal: AbortSignal): Promise<BuildContainer> {
    return this.#ports.openContainer(request, signal);
  }

  gcRules(): readonly GcRule[] {
    return this.#ports.upkeep.rules;
  }

  /** Ends all builds; none begins any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const all = [...this.#underWay.values()];
    for (const { controller } of all) controller.abort();
    await Promise.all(all.map(({ done }) => done));
  }

  async #run(
    request: BuildRequest,
    { onEvent, onMade, onPlan, signal }: BuildOptions,
    counts: { steps: number; cachedSteps: number },
  ): Promise<Omit<BuildResult, "warnings">> {
    const { results, solver, sources } = this.#ports;
    const startedAt = Date.now();
    await using inputs = sources.open(request, { signal, onEvent });
    const { dockerfile, plan } = await this.#plan(request, inputs, signal);
    const { file, text } = dockerfile ?? { text: "", file: "" };
    for (const warning of plan.warnings) await onEvent({ type: "warning", warning });
    if (plan.answer !== undefined) return { metadata: new Map(), imageId: undefined, answer: plan.answer };
    onPlan?.({ text, file, graph: plan.graph });
    await using ahead = results.ahead(request, plan.targets);
    await using solving = new Solving(solver, {
      graph: plan.graph,
      request,
      signal,
      onEvent,
      imports: () => results.imports(request, { signal, onEvent }),
      onRun: (vertex, root) => ahead.made(vertex, root),
    });
    const ids = plan.targets.map(({ root }) => root);
    try {
      const targets = await solved(plan, solving);
      ahead.end();
      if (onMade !== undefined) {
        const { sources } = solving;
        const keys = await Promise.all(ids.map((id) => solving.keyOf(id)));
        const made = targets.map((one, index) => ({ ...one, key: keys[index], sources }));
        if ((await onMade(made)) === "unwanted") return { metadata: new Map(), imageId: undefined };
      }
      const made: ExportInput = {
        request,
        targets,
        steps: () => solving.steps(ids),
        graph: plan.graph,
        ...(dockerfile !== undefined && { dockerfile: { text, file } }),
        sources: () => solving.sources,
        startedAt,
        signal,
        onEvent,
      };
      return { ...(await results.export(made)), provenance: () => this.#ports.provenance?.(made) ?? [] };
    } finally {
      counts.steps = solving.counts.steps;
      counts.cachedSteps = solving.counts.cached;
    }
  }

  /** What is to be done, of a Dockerfile or of what a client says in the place of one. */
  async #plan(
    request: BuildRequest,
    inputs: BuildInputs,
    signal: AbortSignal,
  ): Promise<{ readonly plan: Plan; readonly dockerfile?: LoadedDockerfile }> {
    const { definition } = request;
    const { ports } = inputs;
    if (definition !== undefined) return { plan: await planDefinition({ request, signal, ports, definition }) };
    const dockerfile = await inputs.dockerfile();
    const plan = await this.#ports.plan({ ...dockerfile, request, signal, ports, hostPlatform: hostPlatform() });
    return { plan, dockerfile };
  }
}

/** All roots that a plan wants: of its targets, and of what is scanned for them. */
async function solved({ targets }: Plan, solving: Solving): Promise<readonly SolvedTarget[]> {
  const scanned = targets.flatMap(({ scans = [] }) => scans.map(({ root }) => root));
  const roots = await solving.roots([...targets.map(({ root }) => root), ...scanned]);
  let next = targets.length;
  return targets.map((target, index) => ({
    target,
    root: roots[index],
    ...(target.scans && { scans: target.scans.map(({ name }) => ({ name, root: roots[next++] })) }),
  }));
}

function both(one: void | Promise<void>, other: void | Promise<void>): void | Promise<void> {
  if (one === undefined) return other;
  return other === undefined ? one : Promise.all([one, other]).then(() => {});
}
