import { throwIfAborted } from "../../base/abort.ts";
import { Breath } from "../../base/breath.ts";
import type { ImageConfig, Platform } from "../../oci/image.ts";
import { hostPlatform, parsePlatform } from "../../oci/platform.ts";
import type { BuildRequest } from "../builder.ts";
import type { PlannedTarget } from "../graph.ts";
import { finishGraph } from "../plan/draft-graph.ts";
import { DEFAULT_PATH } from "../plan/sources.ts";
import type { Plan, PlanPorts } from "../plan/types.ts";
import { type DefinedOperation, inputsOf, type LowLevelDefinition, type Output } from "./definition.ts";
import { execRoots } from "./exec-root.ts";
import { fileRoots } from "./file-roots.ts";
import { emptyRoot, layersOf, type PlannedRoot, standing } from "./planned-root.ts";
import { invalid, unsupported } from "./refuse.ts";
import { sourceRoot } from "./source-root.ts";

export interface DefinitionInput {
  readonly definition: LowLevelDefinition;
  readonly request: BuildRequest;
  readonly ports: Pick<PlanPorts, "resolveBase" | "resolveLayout">;
  readonly signal: AbortSignal;
}

/** One operation on files may be many, where others stand on what it makes on its way. */
const MOST_STEPS = 20_000;

/** A definition as a graph, with one target. What there is no means for is refused by its name, before anything is built. */
export async function planDefinition(input: DefinitionInput): Promise<Plan> {
  const { definition, request, signal } = input;
  const planner = new DefinitionPlanner(input);
  const found = definition.result === undefined ? emptyRoot(hostPlatform()) : await planner.root(definition.result);
  // An image has layers; files for themselves are looked at where they are.
  const root = request.outputs.length > 0 ? standing(found) : found;
  const layers = layersOf(root);
  const drafts = [...layers, ...(root.vertex === undefined ? [] : [root.vertex])];
  const { graph, ids } = await finishGraph(drafts, signal);
  if (graph.vertices.length > MOST_STEPS)
    throw invalid(`it has ${graph.vertices.length} steps, more than ${MOST_STEPS}`);
  const target: PlannedTarget = {
    platform: root.platform,
    root: root.vertex === undefined ? undefined : ids.get(root.vertex)!,
    config: configOf(root),
    history: [
      ...(root.image?.history ?? []).map(({ vertex: _, ...row }) => row),
      ...layers.map((vertex) => ({
        createdBy: vertex.name,
        comment: "buildkit.exporter.image.v0",
        vertex: ids.get(vertex)!,
      })),
    ],
    ...(root.image?.base !== undefined && { base: root.image.base }),
  };
  return { graph, targets: [target], warnings: [] };
}

/** A definition says nothing of the image that comes of it: as BuildKit has it, that has its base's platform and a PATH. */
function configOf({ platform }: PlannedRoot): ImageConfig {
  return {
    ...platform,
    config: { Env: [`PATH=${DEFAULT_PATH}`], WorkingDir: "/" },
    rootfs: { type: "layers", diff_ids: [] },
  };
}

/** Each operation is planned once, after what it stands on. */
class DefinitionPlanner {
  readonly #input: DefinitionInput;
  readonly #made = new Map<string, ReadonlyMap<number, PlannedRoot>>();

  constructor(input: DefinitionInput) {
    this.#input = input;
  }

  async root(output: Output): Promise<PlannedRoot> {
    const { definition, signal } = this.#input;
    const breath = new Breath();
    const pending = [output.digest];
    for (let digest = pending.at(-1); digest !== undefined; digest = pending.at(-1)) {
      throwIfAborted(signal);
      if (breath.isDue) await breath.take();
      const operation = definition.operations.get(digest)!;
      const missing = inputsOf(operation.op).filter((one) => !this.#made.has(one.digest));
      if (missing.length > 0 && !this.#made.has(digest)) {
        pending.push(...missing.map((one) => one.digest));
        continue;
      }
      pending.pop();
      if (!this.#made.has(digest)) this.#made.set(digest, await this.#plan(operation));
    }
    return this.#outputOf(output);
  }

  async #plan({ ignoreCache, name, op }: DefinedOperation): Promise<ReadonlyMap<number, PlannedRoot>> {
    const { ports, request, signal } = this.#input;
    const platform = op.platform === undefined ? hostPlatform() : platformOf(op.platform);
    const surroundings = { name, ignoreCache, platform };
    if (op.source !== undefined) {
      return new Map([[0, await sourceRoot(op.source, name, { ports, request, signal, platform })]]);
    }
    const inputs = inputsOf(op).map((input) => this.#outputOf(input));
    if (op.exec !== undefined) return execRoots(op.exec, inputs, surroundings);
    if (op.file !== undefined) return fileRoots(op.file, inputs, surroundings);
    const kind = (["merge", "diff", "build", "passthrough"] as const).find((one) => op[one] !== undefined);
    throw unsupported(`operations of the kind "${kind}"`);
  }

  #outputOf({ digest, index }: Output): PlannedRoot {
    const found = this.#made.get(digest)!.get(index);
    if (found !== undefined) return found;
    const { op } = this.#input.definition.operations.get(digest)!;
    if (op.exec?.mounts.some(({ output }) => output === BigInt(index)) === true) {
      throw unsupported("what a command writes to another mount than its root, as a result");
    }
    throw invalid(`an operation has no result ${index}`);
  }
}

export function platformOf({
  Architecture,
  OS,
  Variant,
}: {
  readonly Architecture: string;
  readonly OS: string;
  readonly Variant: string;
}): Platform {
  return parsePlatform([OS || "linux", Architecture || hostPlatform().architecture, Variant].filter(Boolean).join("/"));
}
