import { createHash } from "node:crypto";
import { parseDockerfile } from "../../dockerfile/dockerfile.ts";
import type { Stage } from "../../dockerfile/instruction.ts";
import type { PlannedBuild } from "../builder.ts";
import type { VertexId } from "../graph.ts";

/** An instruction as the classic builder counts it. */
export interface ClassicStep {
  /** As it is written, continuations joined. */
  readonly code: string;
  /** What is done for it; none for what only changes the image's configuration. */
  readonly vertices: readonly VertexId[];
  readonly isFrom: boolean;
  readonly isRun: boolean;
  /**
   * The base image's, or what stands for the image that the classic builder would have made here: twelve hexadecimal
   * digits; empty for FROM scratch.
   */
  readonly id: string;
}

/** The instructions of the stages that are needed, in the order in which they are written. */
export function classicSteps({ text, file, graph }: PlannedBuild): ClassicStep[] {
  const { stages } = parseDockerfile({ name: file, text });
  const byLine = new Map<number, VertexId[]>();
  const images = new Map<VertexId, string>();
  for (const { id, operation, source } of graph.vertices) {
    if (operation.kind === "image") images.set(id, operation.id.replace(/^sha256:/, "").slice(0, 12));
    if (source?.file !== file) continue;
    const same = byLine.get(source.start);
    if (same === undefined) byLine.set(source.start, [id]);
    else same.push(id);
  }
  const steps: ClassicStep[] = [];
  for (const stage of needed(stages, graph)) {
    const rows = [stage, ...stage.instructions];
    let id = "";
    for (const [index, row] of rows.entries()) {
      const vertices = byLine.get(row.range.start) ?? [];
      id = shortId([id, row.code, ...vertices]);
      const image = vertices.map((vertex) => images.get(vertex)).find((each) => each !== undefined);
      const isScratch = index === 0 && stage.base === "scratch";
      steps.push({
        code: row.code,
        vertices,
        isFrom: index === 0,
        isRun: index > 0 && "kind" in row && row.kind === "run",
        id: isScratch ? "" : index === 0 && image !== undefined ? image : id,
      });
    }
  }
  return steps;
}

/** Stages with something to do, and those that they stand on. */
function needed(stages: readonly Stage[], graph: PlannedBuild["graph"]): Stage[] {
  const working = new Set(graph.vertices.map(({ stage }) => stage.toLowerCase()));
  const found = new Set<Stage>();
  for (const [index, stage] of stages.entries()) {
    const names = stage.name === "" ? [String(index), `stage-${index}`] : [stage.name, String(index)];
    if (!names.some((name) => working.has(name))) continue;
    for (let below: Stage | undefined = stage; below !== undefined && !found.has(below); ) {
      found.add(below);
      below = stageBelow(stages, below);
    }
  }
  // Nothing but configuration: it is the last one.
  if (found.size === 0) return stages.slice(-1);
  return stages.filter((stage) => found.has(stage));
}

function stageBelow(stages: readonly Stage[], { base, range }: Stage): Stage | undefined {
  const name = base.toLowerCase();
  return stages.findLast((stage) => stage.range.start < range.start && stage.name !== "" && stage.name === name);
}

function shortId(parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 12);
}
