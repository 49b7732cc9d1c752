import { GantryError } from "../../base/errors.ts";
import type { ResultOperation } from "../graph.ts";
import type { OperatorContext, ResolvedSource } from "../operator.ts";

/** What another build made, as a source of this one. */
export async function resolveResult(
  { input, platform }: ResultOperation,
  { request, signal }: OperatorContext,
): Promise<ResolvedSource> {
  const build = request.inputs?.get(input);
  if (build === undefined) throw new GantryError("internal", `no build makes the context ${input}`);
  const { key, root, sources } = await build.made(platform, signal);
  return { key, sources, root: async () => root?.share() };
}
