import { parseBool } from "../../base/parse-bool.ts";
import type { DraftVertex } from "./draft-graph.ts";
import { type Origin, type PlannedStage, stagesFrom } from "./stage-state.ts";

/** A root that a bill of materials is to be made of besides the target's, and what that is called. */
export interface DraftScan {
  readonly name: string;
  readonly root: DraftVertex | undefined;
}

const CONTEXT = "BUILDKIT_SBOM_SCAN_CONTEXT";
const STAGE = "BUILDKIT_SBOM_SCAN_STAGE";

/**
 * What a Dockerfile asks to be scanned: the context, if the target says so, and each stage that the target needs and
 * that says so of itself. They say it by arguments that must be declared, for all stages or by one's own.
 */
export async function scansOf(target: PlannedStage, context: () => Promise<Origin>): Promise<readonly DraftScan[]> {
  // The last of a name takes the place of others, a stage that of the context: they are files beside each other.
  const found = new Map<string, DraftScan>();
  if (asksFor(target, CONTEXT)) found.set("context", { name: "context", root: (await context()).root });
  const needed = [...stagesFrom(target.state)].sort((a, b) => a.position - b.position);
  for (const state of needed) {
    if (state === target.state) continue;
    const stage = await state.planning;
    if (stage === undefined || state.replacedBy !== undefined || !asksFor(stage, STAGE)) continue;
    const name = state.label || "stage-0";
    found.set(name, { name, root: stage.root });
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** A truth value, or names of stages between commas. */
function asksFor({ declared, state }: PlannedStage, name: string): boolean {
  const own = declared.findLast((row) => row.name === name && row.value !== undefined)?.value;
  const value = own ?? state.scope.globals.get(name) ?? "";
  return parseBool(value) ?? (value !== "" && value.split(",").includes(state.label));
}
